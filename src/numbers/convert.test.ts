import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { SmallDtype } from "./convert.js";
import { change, narrow, narrowEntry, nextAbove, widen, widenEntry } from "./convert.js";

/**
 * The reference works on exact integers: a magnitude in units of 2^-149, f32's smallest subnormal, which divides every
 * value of every format here.
 */
interface Format {
  readonly dtype: SmallDtype;
  readonly bytes: 1 | 2;
  readonly mantissaBits: number;
  readonly bias: number;
  /** The first magnitude pattern beyond the finite ones, taken as if the grid went on. */
  readonly overflow: number;
  readonly hasInfinity: boolean;
  readonly nan: number;
}

const FORMATS: readonly Format[] = [
  { dtype: "F16", bytes: 2, mantissaBits: 10, bias: 15, overflow: 0x7c00, hasInfinity: true, nan: 0x7e00 },
  { dtype: "BF16", bytes: 2, mantissaBits: 7, bias: 127, overflow: 0x7f80, hasInfinity: true, nan: 0x7fc0 },
  { dtype: "F8_E5M2", bytes: 1, mantissaBits: 2, bias: 15, overflow: 0x7c, hasInfinity: true, nan: 0x7f },
  { dtype: "F8_E4M3", bytes: 1, mantissaBits: 3, bias: 7, overflow: 0x7f, hasInfinity: false, nan: 0x7f },
];

const NAN_PATTERNS = [0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fbfffff, 0x7f808000];

function units(magnitude: number, { mantissaBits, bias }: Pick<Format, "mantissaBits" | "bias">): bigint {
  const exponent = magnitude >> mantissaBits;
  const fraction = magnitude % 2 ** mantissaBits;
  const significand = BigInt(exponent === 0 ? fraction : fraction + 2 ** mantissaBits);
  return significand << BigInt(149 - bias - mantissaBits + Math.max(exponent, 1));
}

const F32 = { mantissaBits: 23, bias: 127 };

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

function fromBits(...bits: number[]): Float32Array {
  return new Float32Array(Uint32Array.from(bits).buffer);
}

/** Every magnitude pattern of a format up to and including `overflow`, as exact integers, ascending. */
const grids = new Map(
  FORMATS.map((format) => [
    format.dtype,
    Array.from({ length: format.overflow + 1 }, (_, magnitude) => units(magnitude, format)),
  ]),
);

/** Nearest on the grid by exact comparison, ties to the even pattern. */
function referenceNarrow(format: Format, bits: number): number {
  const sign = bits > 0x7fffffff ? 2 ** (8 * format.bytes - 1) : 0;
  const magnitude = bits % 2 ** 31;
  if (magnitude > 0x7f800000) return format.nan;
  const grid = grids.get(format.dtype)!;
  const value = units(magnitude, F32);
  let low = 0;
  let high = grid.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (grid[middle]! <= value) low = middle;
    else high = middle;
  }
  if (low + 1 < grid.length) {
    const below = value - grid[low]!;
    const above = grid[low + 1]! - value;
    if (above < below || (above === below && low % 2 === 1)) low++;
  }
  if (low < format.overflow) return sign + low;
  return format.hasInfinity ? sign + format.overflow : format.nan;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

for (const format of FORMATS) {
  const { dtype, bytes, mantissaBits, overflow, nan } = format;
  const signBit = 2 ** (8 * bytes - 1);
  const grid = grids.get(dtype)!;

  describe(dtype, () => {
    it("widens every pattern exactly and narrows it back to itself", () => {
      for (let bits = 0; bits < 2 * signBit; bits++) {
        const magnitude = bits % signBit;
        const value = widenEntry(dtype, bits);
        if (magnitude < overflow) {
          assert.equal(Math.fround(value), value);
          assert.equal(units(bitsOf(Math.abs(value)), F32), grid[magnitude], hex(bits));
          assert.equal(Object.is(value, -0) || value < 0, bits >= signBit, hex(bits));
          assert.equal(narrowEntry(dtype, value), bits);
        } else if (magnitude === overflow && format.hasInfinity) {
          assert.equal(value, bits >= signBit ? -Infinity : Infinity);
          assert.equal(narrowEntry(dtype, value), bits);
        } else {
          assert.ok(Number.isNaN(value), hex(bits));
          assert.equal(narrowEntry(dtype, value), nan);
        }
      }
    });

    it("rounds to nearest even next to every value and every midpoint", () => {
      let checked = 0;
      const check = (bits: number): void => {
        for (const signed of [bits, bits + 2 ** 31]) {
          const found = narrowEntry(dtype, fromBits(signed)[0]!);
          if (found !== referenceNarrow(format, signed)) assert.fail(`${hex(signed)} became ${hex(found)}`);
          checked++;
        }
      };
      for (let magnitude = 0; magnitude < overflow; magnitude++) {
        const here = bitsOf(widenEntry(dtype, magnitude));
        const next =
          magnitude + 1 < overflow ? bitsOf(widenEntry(dtype, magnitude + 1)) : here + 2 ** (23 - mantissaBits);
        // the midpoint of the values, which within a power of two is the midpoint of the patterns; 2^127 has a neighbour
        // that f32 lacks (2^128), whose midpoint it has
        const value = fromBits(here)[0]!;
        const middle = bitsOf(
          value + (Number.isFinite(fromBits(next)[0]!) ? (fromBits(next)[0]! - value) / 2 : 2 ** 119),
        );
        for (const bits of [here, middle]) {
          for (const offset of [-1, 0, 1]) if (bits + offset >= 0) check(bits + offset);
        }
      }
      for (const bits of [0, 1, 2, 0x7fffff, 0x800000, 0x7f7fffff, 0x7f800000, ...NAN_PATTERNS]) check(bits % 2 ** 31);
      assert.ok(checked > 10 * overflow);
    });

    it("rounds any f32 to nearest even", () => {
      const pattern = fc.oneof(
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.integer({ min: 0x33000000, max: 0x48000000 }),
      );
      fc.assert(
        fc.property(pattern, (bits) => {
          const value = fromBits(bits)[0]!;
          return narrowEntry(dtype, value) === referenceNarrow(format, bits);
        }),
        { numRuns: 20_000 },
      );
    });

    it("rounds beyond its largest value as documented", () => {
      const largest = widenEntry(dtype, overflow - 1);
      const halfWay = largest + (largest - widenEntry(dtype, overflow - 2)) / 2;
      const beyond = format.hasInfinity ? overflow : nan;
      const above = fromBits(bitsOf(halfWay) + 1)[0]!;
      const below = fromBits(bitsOf(halfWay) - 1)[0]!;
      assert.equal(narrowEntry(dtype, below), overflow - 1);
      assert.equal(narrowEntry(dtype, halfWay), (overflow - 1) % 2 === 0 ? overflow - 1 : beyond);
      assert.equal(narrowEntry(dtype, above), beyond);
      assert.equal(narrowEntry(dtype, -above), format.hasInfinity ? signBit + beyond : nan);
      assert.equal(narrowEntry(dtype, -Infinity), format.hasInfinity ? signBit + beyond : nan);
    });

    it("converts arrays at any alignment as it converts entries", () => {
      const patterns = Array.from({ length: 2 * signBit }, (_, bits) => bits);
      const stored = new Uint8Array(1 + patterns.length * bytes).subarray(1);
      patterns.forEach((bits, i) => {
        stored[bytes * i] = bits % 256;
        if (bytes === 2) stored[2 * i + 1] = bits >> 8;
      });
      const values = new Float32Array(patterns.length);
      widen(dtype, stored, values);
      for (const bits of patterns) assert.ok(Object.is(values[bits], widenEntry(dtype, bits)), hex(bits));

      const written = new Uint8Array(3 + stored.length).subarray(3);
      const nonFinite = narrow(dtype, values, written);
      const expected = patterns.map((bits) => (Number.isNaN(widenEntry(dtype, bits)) ? nan : bits));
      const found = patterns.map((i) => (bytes === 2 ? written[2 * i]! + 256 * written[2 * i + 1]! : written[i]!));
      assert.deepEqual(found, expected);
      assert.equal(nonFinite, patterns.filter((bits) => bits % signBit >= overflow).length);
    });
  });
}

describe("NaN", () => {
  it("is written as one positive quiet pattern, whatever its payload and sign", () => {
    const values = fromBits(...NAN_PATTERNS);
    const expected = {
      BF16: "c07f",
      F16: "007e",
      F32: "0000c07f",
      F64: "000000000000f87f",
      F8_E5M2: "7f",
      F8_E4M3: "7f",
    };
    for (const dtype of ["BF16", "F16", "F32", "F64", "F8_E5M2", "F8_E4M3"] as const) {
      const out = Buffer.alloc((values.length * expected[dtype].length) / 2);
      assert.equal(narrow(dtype, values, out), values.length);
      assert.equal(out.toString("hex"), expected[dtype].repeat(values.length));
    }
  });
});

describe("F32 and F64", () => {
  const bits = [0, 0x80000000, 1, 0x80000001, 0x7fffff, 0x800000, 0x3f800001, 0x7f7fffff, 0x7f800000, 0xff800000];

  it("keep every f32 that is a number", () => {
    const values = fromBits(...bits);
    for (const [dtype, size] of [
      ["F32", 4],
      ["F64", 8],
    ] as const) {
      const stored = new Uint8Array(1 + size * bits.length).subarray(1);
      assert.equal(narrow(dtype, values, stored), 2);
      const back = new Float32Array(bits.length);
      widen(dtype, stored, back);
      assert.deepEqual(Array.from(new Uint32Array(back.buffer)), bits);
    }
  });

  it("round an F64 that is read to the nearest f32", () => {
    const halfWay = 1 + 2 ** -24;
    const wide = Float64Array.of(halfWay, halfWay + 2 ** -52, 1e300, -1e-300, 2 ** -149 / 2, NaN, -Infinity);
    const out = new Float32Array(wide.length);
    widen("F64", new Uint8Array(wide.buffer), out);
    assert.deepEqual(Array.from(out), [1, 1 + 2 ** -23, Infinity, -0, 0, NaN, -Infinity]);
  });
});

describe("lengths", () => {
  it("must agree", () => {
    assert.throws(() => widen("BF16", new Uint8Array(5), new Float32Array(2)), /5 bytes are not 2 entries of BF16/);
    assert.throws(() => narrow("F64", new Float32Array(2), new Uint8Array(15)), /15 bytes are not 2 entries of F64/);
  });

  it("may be zero", () => {
    widen("F16", new Uint8Array(0), new Float32Array(0));
    assert.equal(narrow("F32", new Float32Array(0), new Uint8Array(0)), 0);
  });
});

describe("change", () => {
  it("subtracts in f32 and may overwrite an input", () => {
    const model = Float32Array.of(1, 2 ** 24, -0, Infinity, 3e38);
    const base = Float32Array.of(0.1, -1, 0, Infinity, -3e38);
    change(model, base, model);
    assert.deepEqual(Array.from(model), [Math.fround(1 - Math.fround(0.1)), 2 ** 24, -0, NaN, Infinity]);
  });
});

describe("nextAbove", () => {
  it("is the next f32, across powers of two and into infinity", () => {
    assert.equal(nextAbove(0), 2 ** -149);
    assert.equal(nextAbove(1), 1 + 2 ** -23);
    assert.equal(nextAbove(2 - 2 ** -23), 2);
    assert.equal(nextAbove(fromBits(0x7f7fffff)[0]!), Infinity);
  });
});

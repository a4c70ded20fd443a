import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { patterns } from "../../../test/laws/support/random.js";
import { drawStreams, FORMATS, KINDS } from "../../../test/laws/support/twin.js";
import { change, widen } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { contextBytes, KernelContext } from "../context.js";
import type { KernelDtype } from "../convert/binding.js";
import { createMemory, loadKernels } from "../load.js";

const MODELS = 9;
const CONTEXT = 65_536;
const SCRATCH = CONTEXT + 4096;
const STREAMS = SCRATCH + 8192;
const STREAM_BYTES = 4 * 4096 + 256;
const BINS = STREAMS + (MODELS + 1) * STREAM_BYTES;
const MOST_BINS = 4096;

/** The open interval (low, high), which holds the guess or ends with it; low may be −1. */
interface Row {
  readonly low: number;
  readonly guess: number;
  readonly high: number;
  readonly shift: number;
  readonly vote: number;
}

interface Counts {
  readonly rows: readonly { above: readonly number[]; bins: readonly number[] }[];
  readonly positive: number;
  readonly negative: number;
}

const magnitudesOf = (values: Float32Array) =>
  new Uint32Array(values.buffer, values.byteOffset, values.length).map((bits) => bits & 0x7fffffff);

const binsOf = ({ low, high, shift }: Row) => Math.floor((high - low) / 2 ** shift) + 1;

/** The definition: one entry after the other. */
function count(changes: readonly Float32Array[], rows: readonly Row[], votes: boolean): Counts {
  const counted = changes.map((values, model) => {
    const { low, guess, high, shift } = rows[model]!;
    const above = [0, 0, 0];
    const bins = Array.from({ length: binsOf(rows[model]!) }, () => 0);
    for (const magnitude of magnitudesOf(values)) {
      if (magnitude >= high) above[0]!++;
      if (magnitude > guess) above[1]!++;
      if (magnitude >= guess) above[2]!++;
      if (magnitude > low && magnitude < high && magnitude !== guess) bins[(magnitude - low) >>> shift]!++;
    }
    return { above, bins };
  });
  let positive = 0;
  let negative = 0;
  const kept = changes.map((values, model) =>
    magnitudesOf(values).map((magnitude) => (magnitude >= rows[model]!.guess ? 1 : 0)),
  );
  for (let p = 0; votes && p < changes[0]!.length; p++) {
    let sum = 0;
    for (const [model, { vote }] of rows.entries()) {
      const x = kept[model]![p] === 1 ? changes[model]![p]! : 0;
      sum = Math.fround(sum + Math.fround(x * Math.fround(vote)));
    }
    if (sum > 0) positive++;
    if (sum < 0) negative++;
  }
  return { rows: counted, positive, negative };
}

/** @param runs how often the same tile is counted: counters add up. */
function survey(
  { memory, kernels, context }: Setting,
  format: KernelDtype,
  { streams, rows, votes, offset, runs }: { streams: readonly Uint8Array[]; rows: readonly Row[]; votes: boolean; offset: number; runs: number },
): Counts {
  const at = (address: number, length: number) => new Uint8Array(memory.buffer, address, length);
  const bins = (model: number) => new Uint32Array(memory.buffer, BINS + model * (MOST_BINS + 1) * 4, binsOf(rows[model]!) + 1);
  streams.forEach((bytes, index) => at(STREAMS + index * STREAM_BYTES + offset, bytes.length).set(bytes));
  at(SCRATCH, 4096 + 64).fill(0x5a);
  context.setRows(rows.length);
  context.setScalar(0, votes ? 1 : 0);
  context.clearCounters(rows.length);
  for (const [row, { low, guess, high, shift, vote }] of rows.entries()) {
    bins(row).fill(0);
    context.setPointer(row, STREAMS + row * STREAM_BYTES + offset);
    [high, guess, low, bins(row).byteOffset, shift].forEach((bits, column) => context.setColumnBits(row, column, bits));
    context.setColumn(row, 5, vote);
  }
  const entries = streams[0]!.length / DTYPE_BYTES[format];
  context.setTile(entries, 0, STREAMS + rows.length * STREAM_BYTES + offset, 0, SCRATCH);
  for (let run = 0; run < runs; run++) kernels.get(`survey_${format}`)(context.address);
  assert.ok(
    at(SCRATCH + 4096, 64).every((byte) => byte === 0x5a),
    "wrote beyond its scratch",
  );
  return {
    rows: rows.map((_, row) => {
      const found = [...bins(row)];
      assert.equal(found.pop(), 0, "counted beyond the last bin");
      return { above: [0, 1, 2].map((index) => context.rowCounter(row, index)), bins: found };
    }),
    positive: context.counter(0),
    negative: context.counter(1),
  };
}

const memories = [true, false].map((shared) => {
  const memory = createMemory(BINS + MODELS * (MOST_BINS + 1) * 4, shared);
  assert.ok(contextBytes(MODELS) <= SCRATCH - CONTEXT);
  return { memory, kernels: loadKernels(memory), context: new KernelContext(memory, CONTEXT, MODELS) };
});
type Setting = (typeof memories)[number];

const INFINITY = 0x7f800000;

/** Magnitudes, each one that an entry has, or its neighbour, or any. */
const place = fc.oneof(
  fc.record({ entry: fc.nat(), off: fc.integer({ min: -1, max: 1 }) }),
  fc.record({ bits: fc.oneof(fc.constantFrom(0, 1, INFINITY - 1, INFINITY, INFINITY + 1), fc.nat(INFINITY)) }),
);

/** A bracket never ends among the NaN, whose payloads mean nothing: it holds all of them, or none. */
function rowOf(
  places: readonly ({ entry: number; off: number } | { bits: number })[],
  values: Float32Array,
  vote: number,
  hasNaN: boolean,
): Row {
  const magnitudes = patterns(values).map((bits) => bits & 0x7fffffff);
  const bits = places.map((at) => {
    if ("bits" in at) return at.bits;
    return Math.max(0, Math.min(INFINITY + 1, magnitudes[at.entry % magnitudes.length]! + at.off));
  });
  const [lowest, middle, highest] = bits.sort((a, b) => a - b) as [number, number, number];
  const guess = Math.min(middle, INFINITY);
  const low = Math.min(lowest, guess - 1);
  const high = highest > INFINITY && !hasNaN ? 0x80000000 : highest;
  let shift = 0;
  while ((high - low) / 2 ** shift >= MOST_BINS) shift++;
  return { low, guess, high, shift, vote };
}

describe("the survey kernel equals a plain count", () => {
  for (const format of FORMATS) {
    it(format, () => {
      const property = fc.property(
        fc.record({
          kind: fc.constantFrom(...KINDS),
          models: fc.integer({ min: 1, max: MODELS }),
          // Beyond 1024 entries the kernel works in several runs.
          entries: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(127, 128, 129, 256, 300)).map((n) => 8 * n),
          seed: fc.integer(),
          shared: fc.boolean(),
          offset: fc.integer({ min: 0, max: 31 }).map((n) => 2 * n),
          runs: fc.integer({ min: 1, max: 3 }),
          votes: fc.boolean(),
        }),
        fc.array(fc.tuple(place, place, place), { minLength: MODELS, maxLength: MODELS }),
        fc.array(fc.constantFrom(1, 1, -1, 0.5, 0, 3), { minLength: MODELS, maxLength: MODELS }),
        ({ kind, models, entries, seed, shared, ...rest }, places, weights) => {
          const streams = drawStreams(kind, format, models + 1, entries, seed);
          const floats = streams.map((bytes) => {
            const values = new Float32Array(entries);
            widen(format, bytes, values);
            return values;
          });
          const base = floats.pop()!;
          for (const values of floats) change(values, base, values);
          const rows = floats.map((values, model) => rowOf(places[model]!, values, weights[model]!, kind === "any"));
          const once = count(floats, rows, rest.votes);
          const times = (value: number) => value * rest.runs;
          const expected: Counts = {
            rows: once.rows.map(({ above, bins }) => ({ above: above.map(times), bins: bins.map(times) })),
            positive: times(once.positive),
            negative: times(once.negative),
          };
          assert.deepEqual(survey(memories[shared ? 0 : 1]!, format, { streams, rows, ...rest }), expected);
        },
      );
      fc.assert(property, { seed: 4, numRuns: 120 });
    });
  }

  it("NaN is the largest magnitude, and minus zero has none", () => {
    const values = Uint32Array.of(0x7fc00000, 0x7f800000, 0xff800000, 0x3f800000, 0xbf800000, 0x80000000, 0, 0xffffffff);
    const stored = new Uint8Array(values.buffer);
    const zeros = new Uint8Array(32);
    const infinite: Row = { low: 0x7f7fffff, guess: 0x7f800000, high: 0x7f800001, shift: 0, vote: 1 };
    const zero: Row = { low: -1, guess: 0, high: 1, shift: 0, vote: 1 };
    const counts = survey(memories[0]!, "F32", {
      ...{ streams: [stored, stored, zeros], rows: [infinite, zero], votes: true, offset: 0, runs: 1 },
    });
    assert.deepEqual(
      counts.rows.map(({ above }) => above),
      [
        [2, 2, 4],
        [6, 6, 8],
      ],
    );
    assert.deepEqual([counts.positive, counts.negative], [2, 2]);
  });
});

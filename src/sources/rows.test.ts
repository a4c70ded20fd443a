import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { MergewrightError } from "../errors.js";
import { narrow, widen } from "../numbers/convert.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { memorySource } from "./memory.js";
import { packRuns, rowSource, sharedInts } from "./rows.js";
import type { RowOrigin, RowPart, RowTable } from "./rows.js";
import type { ByteSource } from "./source.js";

interface Part {
  readonly dtype: FloatDtype;
  readonly values: Float32Array;
}

/** Rows at the front that some are the average of. */
const AVERAGED = 7;

/** A part lies behind a few bytes of something else. */
const LEAD = 5;

function bytesOf({ dtype, values }: Part): Uint8Array {
  const bytes = new Uint8Array(LEAD + values.length * DTYPE_BYTES[dtype]);
  narrow(dtype, values, bytes.subarray(LEAD));
  return bytes;
}

function tableFrom(
  parts: readonly Part[],
  width: number,
  dtype: FloatDtype,
  rows: readonly { readonly origin: number; readonly row: number }[],
  origins: readonly RowOrigin[],
  meanRows: readonly number[],
): RowTable {
  return {
    width,
    rows: rows.length,
    dtype,
    parts: parts.map((part, index): RowPart => {
      const stamp = { size: bytesOf(part).length, version: "" };
      const count = part.values.length / width;
      return { label: String(index), address: null, stamp, offset: LEAD, dtype: part.dtype, rows: count };
    }),
    origins,
    runs: packRuns(
      origins,
      Int32Array.from(rows, ({ origin }) => origin),
      Int32Array.from(rows, ({ row }) => row),
    ),
    meanRows: sharedInts(meanRows),
    averaged: AVERAGED,
  };
}

/** Every third source answers with a promise, as Blobs and servers do. */
function opener(parts: readonly Part[]): (part: RowPart) => ByteSource {
  return ({ label }) => {
    const source = memorySource(bytesOf(parts[Number(label)]!), label);
    if (Number(label) % 3 !== 2) return source;
    return { ...source, read: async (offset, into) => source.read(offset, into) };
  };
}

function open(table: RowTable, parts: readonly Part[]): ByteSource {
  const size = table.rows * table.width * DTYPE_BYTES[table.dtype];
  return rowSource("table", table, { size, version: "" }, opener(parts));
}

/** The rows of the table, entry by entry. */
function expected(table: RowTable, parts: readonly Part[]): Uint8Array {
  const { width, runs, origins, dtype, meanRows } = table;
  const rows: (number[] | null)[] = [];
  for (let at = 0; at < runs.length; at += 3) {
    const origin = origins[runs[at + 1]!]!;
    for (let row = runs[at]!; row < (runs[at + 3] ?? table.rows); row++) {
      const there = runs[at + 2]! + row - runs[at]!;
      rows.push(
        origin.kind === "mean-of-all" ? null : Array.from({ length: width }, (_, i) => entry(origin, there, i)),
      );
    }
  }
  const front = rows.slice(0, AVERAGED).filter((row) => row !== null);
  const average = Array.from({ length: width }, (_, i) => {
    return front.reduce((sum, row) => sum + rounded(row[i]!), 0) / Math.max(front.length, 1);
  });
  const values = Float32Array.from(rows.flatMap((row) => row ?? average));
  const out = new Uint8Array(values.length * DTYPE_BYTES[dtype]);
  narrow(dtype, values, out);
  return out;

  /** Averages are of rows as they stand in the table. */
  function rounded(value: number): number {
    const bytes = new Uint8Array(DTYPE_BYTES[dtype]);
    narrow(dtype, Float32Array.of(value), bytes);
    const back = new Float32Array(1);
    widen(dtype, bytes, back);
    return back[0]!;
  }

  function entry(origin: RowOrigin, there: number, i: number): number {
    if (origin.kind === "stored") return parts[origin.part]!.values[there * width + i]!;
    if (origin.kind !== "mean") return 0;
    const sum = origin.parts.reduce((part, of, k) => part + parts[of]!.values[meanRows[there + k]! * width + i]!, 0);
    return sum / origin.parts.length;
  }
}

const PART_ROWS = 6;
const FORMATS: readonly FloatDtype[] = ["F32", "BF16", "F16"];

const tables = fc
  .record({
    width: fc.integer({ min: 1, max: 5 }),
    formats: fc.array(fc.constantFrom(...FORMATS), { minLength: 3, maxLength: 4 }),
    picks: fc.array(fc.tuple(fc.nat(6), fc.nat(PART_ROWS - 1)), { minLength: 1, maxLength: 30 }),
    seed: fc.nat(1000),
  })
  .map(({ width, formats, picks, seed }) => {
    const parts = formats.map((dtype, part): Part => {
      const values = Float32Array.from(
        { length: PART_ROWS * width },
        (_, i) => (((seed + part * 31 + i * 17) % 64) - 32) / 8,
      );
      return { dtype, values };
    });
    const stored = parts.map((_, part): RowOrigin => ({ kind: "stored", part }));
    const origins: RowOrigin[] = [
      { kind: "zero" },
      { kind: "mean", parts: [0, 1, 2] },
      { kind: "mean-of-all" },
      ...stored,
    ];
    const meanRows: number[] = [];
    const rows = picks.map(([pick, row]) => {
      const origin = pick % origins.length;
      if (origins[origin]!.kind !== "mean") return { origin, row: origins[origin]!.kind === "stored" ? row : 0 };
      meanRows.push(row, (row + 1) % PART_ROWS, (row + 2) % PART_ROWS);
      return { origin, row: meanRows.length - 3 };
    });
    const dtype: FloatDtype = new Set(formats).size === 1 ? formats[0]! : "F32";
    return { parts, table: tableFrom(parts, width, dtype, rows, origins, meanRows) };
  });

describe("a table of rows from elsewhere", () => {
  it("reads as if its rows stood there, in any pieces", async () => {
    await fc.assert(
      fc.asyncProperty(tables, fc.array(fc.nat(400), { maxLength: 6 }), async ({ table, parts }, cuts) => {
        const want = expected(table, parts);
        const source = open(table, parts);
        const places = [0, ...cuts.map((cut) => cut % (want.length + 1)).sort((a, b) => a - b), want.length];
        const got = new Uint8Array(want.length);
        for (let i = 0; i + 1 < places.length; i++) {
          await source.read(places[i]!, got.subarray(places[i], places[i + 1]));
        }
        assert.deepEqual(got, want);
        await source.close();
      }),
      { numRuns: 300 },
    );
  });

  it("reads a run of neighbouring rows at once, without a promise once its part is open", async () => {
    const width = 64;
    const rows = 8192;
    const part: Part = { dtype: "F32", values: Float32Array.from({ length: rows * width }, (_, i) => i % 251) };
    const picks = Array.from({ length: rows }, (_, row) => ({ origin: 0, row }));
    const table = tableFrom([part], width, "F32", picks, [{ kind: "stored", part: 0 }], []);
    assert.equal(table.runs.length, 3);
    let reads = 0;
    const bytes = memorySource(bytesOf(part));
    const counted: ByteSource = {
      ...bytes,
      read(offset, into) {
        reads++;
        return bytes.read(offset, into);
      },
    };
    const source = rowSource("t", table, { size: rows * width * 4, version: "" }, () => counted);
    const into = new Uint8Array(rows * width * 4);
    await source.read(0, into);
    assert.equal(reads, 1);
    assert.equal(source.read(128, into.subarray(0, 4096)), undefined);
    const floats = new Float32Array(1024);
    widen("F32", into.subarray(0, 4096), floats);
    assert.deepEqual([...floats.slice(0, 3)], [32, 33, 34]);
  });

  it("keeps 64-bit rows as they are", async () => {
    const bytes = new Uint8Array(new Float64Array([Math.PI, Math.E, Math.SQRT2, -1 / 3]).buffer);
    const table: RowTable = {
      width: 2,
      rows: 2,
      dtype: "F64",
      parts: [{ label: "p", address: null, stamp: { size: 32, version: "" }, offset: 0, dtype: "F64", rows: 2 }],
      origins: [{ kind: "stored", part: 0 }],
      runs: sharedInts([0, 0, 1, 1, 0, 0]),
      meanRows: sharedInts([]),
      averaged: 0,
    };
    const source = rowSource("t", table, { size: 32, version: "" }, () => memorySource(bytes));
    const into = new Uint8Array(32);
    await source.read(0, into);
    assert.deepEqual([...new Float64Array(into.buffer)], [Math.SQRT2, -1 / 3, Math.PI, Math.E]);
  });

  it("refuses a read beyond its end, and any after it is closed", async () => {
    const part: Part = { dtype: "F32", values: new Float32Array(4) };
    const table = tableFrom([part], 2, "F32", [{ origin: 0, row: 1 }], [{ kind: "stored", part: 0 }], []);
    const source = open(table, [part]);
    assert.throws(() => source.read(4, new Uint8Array(8)), MergewrightError);
    await source.close();
    assert.throws(() => source.read(0, new Uint8Array(4)), /after it was closed/);
  });
});

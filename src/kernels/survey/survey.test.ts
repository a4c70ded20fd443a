import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { bytesOf, dice, patterns } from "../../../test/laws/support/random.js";
import { drawStreams, FORMATS, KINDS, putStreams, widened } from "../../../test/laws/support/twin.js";
import { change } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { contextBytes, KernelContext } from "../context.js";
import type { KernelDtype } from "../convert/binding.js";
import { LOG_ENTRIES } from "../../statistics/threshold.js";
import { createMemory, loadKernels } from "../load.js";

const MODELS = 9;
const CONTEXT = 65_536;
const SCRATCH = CONTEXT + 2048;
const STREAMS = CONTEXT + 4096;
const STREAM_BYTES = 4 * 4096 + 256;
const BINS = STREAMS + (MODELS + 1) * STREAM_BYTES;
const MOST_BINS = 4096;
/** Words per model: its bins, what was seen in them, and one behind each that must stay as it is. */
const WORDS = 2 * (MOST_BINS + 1);
const LOGS = BINS + MODELS * WORDS * 4;
/** Words per model: a log, and one behind it that must stay as it is. */
const LOG_WORDS = LOG_ENTRIES + 1;

/** The open interval (low, high), which holds the guess or ends with it; low may be −1. */
interface Row {
  readonly low: number;
  readonly guess: number;
  readonly high: number;
  readonly shift: number;
  /** Whether to note which values were seen; only where a bin has 32 of them at most. */
  readonly seen: boolean;
}

interface Counts {
  /** At or above high, above the guess, at or above the guess. */
  readonly above: readonly number[];
  readonly bins: readonly number[];
  readonly seen: readonly number[] | null;
  /** In ascending order. */
  readonly logged: readonly number[];
}

const binsOf = ({ low, high, shift }: Row) => Math.floor((high - low) / 2 ** shift) + 1;

/** The definition: one entry after the other. */
function count(changes: Float32Array, row: Row): Counts {
  const { low, guess, high, shift } = row;
  const above = [0, 0, 0];
  const bins = Array.from({ length: binsOf(row) }, () => 0);
  const seen = bins.map(() => 0);
  const logged: number[] = [];
  for (const bits of new Uint32Array(changes.buffer)) {
    const magnitude = bits & 0x7fffffff;
    if (magnitude >= high) above[0]!++;
    if (magnitude > guess) above[1]!++;
    if (magnitude >= guess) above[2]!++;
    if (magnitude <= low || magnitude >= high || magnitude === guess) continue;
    const bin = Math.floor((magnitude - low) / 2 ** shift);
    bins[bin]!++;
    logged.push(magnitude);
    seen[bin] = (seen[bin]! | (1 << ((magnitude - low) % 2 ** shift))) >>> 0;
  }
  return { above, bins, seen: row.seen ? seen : null, logged: logged.sort((a, b) => a - b) };
}

interface Job {
  readonly streams: readonly Uint8Array[];
  readonly rows: readonly Row[];
  readonly offset: number;
  /** How often the same tile is counted: counters add up. */
  readonly runs: number;
}

function survey(
  { memory, kernels, context }: Setting,
  format: KernelDtype,
  { streams, rows, offset, runs }: Job,
): Counts[] {
  const addressOf = (stream: number) => STREAMS + stream * STREAM_BYTES + offset;
  const words = (row: number, at: number) =>
    new Uint32Array(memory.buffer, BINS + (row * WORDS + at) * 4, binsOf(rows[row]!) + 1);
  const logOf = (row: number) => new Uint32Array(memory.buffer, LOGS + row * LOG_WORDS * 4, LOG_WORDS).fill(0);
  const logs = rows.map((_, row) => logOf(row));
  streams.forEach((bytes, index) => new Uint8Array(memory.buffer, addressOf(index), bytes.length).set(bytes));
  context.setRows(rows.length);
  context.clearCounters(rows.length);
  for (const [index, { low, guess, high, shift, seen }] of rows.entries()) {
    const [bins, values] = [words(index, 0), words(index, MOST_BINS + 1)];
    bins.fill(0);
    values.fill(0);
    context.setPointer(index, addressOf(index));
    const columns = [high, guess, low, bins.byteOffset, shift, seen ? values.byteOffset : 0, logs[index]!.byteOffset];
    columns.forEach((bits, column) => context.setColumnBits(index, column, bits));
  }
  context.setTile(streams[0]!.length / DTYPE_BYTES[format], 0, addressOf(rows.length), 0, SCRATCH);
  for (let run = 0; run < runs; run++) kernels.get(`survey_${format}`)(context.address);
  return rows.map(({ seen }, index) => {
    const [bins, values] = [[...words(index, 0)], [...words(index, MOST_BINS + 1)]];
    assert.deepEqual([bins.pop(), values.pop()], [0, 0], "counted beyond the last bin");
    const above = [0, 1, 2].map((counter) => context.rowCounter(index, counter));
    const count = context.rowCounter(index, 3);
    assert.equal(logs[index]![LOG_ENTRIES], 0, "logged beyond the log");
    const logged = [...logs[index]!.subarray(0, Math.min(count, LOG_ENTRIES))].sort((a, b) => a - b);
    return { above, bins, seen: seen ? values : null, logged };
  });
}

const memories = [true, false].map((shared) => {
  const memory = createMemory(LOGS + MODELS * LOG_WORDS * 4, shared);
  assert.ok(contextBytes(MODELS) <= STREAMS - CONTEXT);
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
  seen: boolean,
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
  // A short bracket can drop bits, too.
  if (shift === 0 && seen) shift = places.length + (guess & 1);
  return { low, guess, high, shift, seen: seen && shift <= 5 };
}

/** Changes whose patterns lie close together, against a base of zeros: brackets hold many of them. */
function closeStreams(format: KernelDtype, models: number, entries: number, seed: number): Uint8Array[] {
  const roll = dice(seed);
  const start = roll(2 ** 14) + 2 ** 12;
  const streams = Array.from({ length: models }, () => {
    const patterns = Array.from({ length: entries }, () =>
      format === "F32" ? start * 2 ** 15 + roll(70_000) : start + roll(60),
    );
    return bytesOf(format === "F32" ? Uint32Array.from(patterns) : Uint16Array.from(patterns));
  });
  return [...streams, new Uint8Array(entries * DTYPE_BYTES[format])];
}

describe("the survey kernel equals a plain count", () => {
  for (const format of FORMATS) {
    it(format, () => {
      const property = fc.property(
        fc.record({
          kind: fc.constantFrom(...KINDS),
          models: fc.integer({ min: 1, max: MODELS }),
          entries: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(128, 129, 300)).map((n) => 8 * n),
          seed: fc.integer(),
          shared: fc.boolean(),
          offset: fc.integer({ min: 0, max: 31 }).map((n) => 2 * n),
          runs: fc.integer({ min: 1, max: 3 }),
        }),
        fc.array(fc.tuple(place, place, place), { minLength: MODELS, maxLength: MODELS }),
        fc.array(fc.boolean(), { minLength: MODELS, maxLength: MODELS }),
        ({ kind, models, entries, seed, shared, ...rest }, places, notes) => {
          const streams =
            seed % 3 === 0
              ? closeStreams(format, models, entries, seed)
              : drawStreams(kind, format, models + 1, entries, seed);
          const floats = widened(format, streams);
          const base = floats.pop()!;
          for (const values of floats) change(values, base, values);
          const rows = floats.map((values, model) => rowOf(places[model]!, values, notes[model]!, kind === "any"));
          const times = (value: number) => value * rest.runs;
          const expected = rows.map((row, model): Counts => {
            const { above, bins, seen, logged } = count(floats[model]!, row);
            const again = logged.flatMap((bits) => Array.from({ length: rest.runs }, () => bits));
            return { above: above.map(times), bins: bins.map(times), seen, logged: again };
          });
          assert.deepEqual(survey(memories[shared ? 0 : 1]!, format, { streams, rows, ...rest }), expected);
        },
      );
      fc.assert(property, { seed: 4, numRuns: 80 });
    });
  }

  it("NaN is the largest magnitude, and minus zero has none", () => {
    const values = Uint32Array.of(
      0x7fc00000,
      0x7f800000,
      0xff800000,
      0x3f800000,
      0xbf800000,
      0x80000000,
      0,
      0xffffffff,
    );
    const stored = new Uint8Array(values.buffer);
    const infinite: Row = { low: 0x7f7fffff, guess: 0x7f800000, high: 0x7f800001, shift: 0, seen: false };
    const zero: Row = { low: -1, guess: 0, high: 1, shift: 0, seen: false };
    const job = { streams: [stored, stored, new Uint8Array(32)], rows: [infinite, zero], offset: 0, runs: 1 };
    const above = survey(memories[0]!, "F32", job).map((counts) => counts.above);
    assert.deepEqual(above, [
      [2, 2, 4],
      [6, 6, 8],
    ]);
  });

  it("a full log takes no more, and goes on counting", () => {
    const values = Uint32Array.from({ length: 4096 }, (_, index) => 0x100 + (index % 3));
    const row: Row = { low: 0xff, guess: 0x102, high: 0x103, shift: 0, seen: false };
    const streams = [new Uint8Array(values.buffer), new Uint8Array(values.byteLength)];
    const [counts] = survey(memories[0]!, "F32", { streams, rows: [row], offset: 0, runs: 4 });
    assert.equal(counts!.logged.length, LOG_ENTRIES);
    assert.equal(memories[0]!.context.rowCounter(0, 3), 4 * 2731);
  });

  it("the values of a bin are told apart", () => {
    const values = Uint32Array.of(0x100, 0x101, 0x80000101, 0x11f, 0x120, 0x13f, 0x13f, 0x140);
    const row: Row = { low: 0xff, guess: 0x100, high: 0x140, shift: 5, seen: true };
    const job = { streams: [new Uint8Array(values.buffer), new Uint8Array(32)], rows: [row], offset: 0, runs: 2 };
    const [counts] = survey(memories[1]!, "F32", job);
    assert.deepEqual(counts!.above, [2, 14, 16]);
    assert.deepEqual(counts!.bins, [4, 4, 4]);
    assert.deepEqual(counts!.seen, [1 << 2, 3, 1]);
  });
});

describe("the count kernel equals a plain count", () => {
  for (const format of FORMATS) {
    it(format, () => {
      const property = fc.property(
        fc.constantFrom(...KINDS),
        fc.integer({ min: 1, max: MODELS }),
        fc.integer({ min: 1, max: 40 }).map((n) => 8 * n),
        fc.integer(),
        fc.array(place, { minLength: MODELS, maxLength: MODELS }),
        (kind, models, entries, seed, places) => {
          const { memory, kernels, context } = memories[seed & 1]!;
          const streams = drawStreams(kind, format, models + 1, entries, seed);
          const floats = putStreams(memory, format, streams, (stream) => STREAMS + stream * STREAM_BYTES);
          const base = floats.pop()!;
          context.setRows(models);
          context.clearCounters(models);
          const expected = floats.map((values, row) => {
            change(values, base, values);
            const { guess } = rowOf([places[row]!, places[row]!, places[row]!], values, false, true);
            context.setPointer(row, STREAMS + row * STREAM_BYTES);
            context.setColumnBits(row, 0, guess);
            const magnitudes = patterns(values).map((bits) => bits & 0x7fffffff);
            return [
              magnitudes.filter((bits) => bits > guess).length,
              magnitudes.filter((bits) => bits >= guess).length,
            ];
          });
          context.setTile(entries, 0, STREAMS + models * STREAM_BYTES, 0, SCRATCH);
          kernels.get(`count_${format}`)(context.address);
          assert.deepEqual(
            expected.map((_, row) => [context.rowCounter(row, 0), context.rowCounter(row, 1)]),
            expected,
          );
        },
      );
      fc.assert(property, { seed: 9, numRuns: 80 });
    });
  }
});

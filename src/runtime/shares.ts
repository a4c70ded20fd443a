/**
 * How a kernel's call is divided among threads: each share writes entries of its own, and no sum is divided, so the bits
 * are those of the whole call. A call that is too small, or whose sums run across everything, is one thread's.
 */

import type { KernelName } from "./kernels/definitions.js";
import type { Place, Step } from "./program.js";

type Operands = Step["args"];
type Numbers = Readonly<Record<number, number>>;

/** What one of several threads does. */
export interface Share {
  readonly index: number;
  readonly count: number;
  /** Entries, or a 16th of the multiplications, below which a call is not divided. */
  readonly least: number;
}

/** The calls of the same kernel that a share makes of a call. */
type Division = (operands: Operands, share: Share) => readonly Operands[];

/** About a microsecond's work. */
const LEAST = 4096;

/** The steps of one of `count` threads; a thread that has no part in a step makes no calls. */
export function sharesOf(steps: readonly Step[], index: number, count: number): readonly (readonly Step[])[] {
  return steps.map((step) => callsOf(step, { index, count, least: LEAST }));
}

/** The calls that a share makes of a step. */
export function callsOf({ kernel, args }: Step, share: Share): readonly Step[] {
  const divide = DIVISIONS[kernel] ?? whole;
  return divide(args, share).map((operands) => ({ kernel, args: operands }));
}

const whole: Division = (operands, { index }) => (index === 0 ? [operands] : []);

/** A share of `total`, in runs of `grain`. */
function span(total: number, grain: number, { index, count }: Omit<Share, "least">): Run {
  const grains = Math.ceil(total / grain);
  const end = (share: number) => Math.min(total, grain * Math.floor((grains * share) / count));
  return { from: end(index), to: end(index + 1) };
}

interface Run {
  readonly from: number;
  readonly to: number;
}

/** Operands of which some numbers are others and places lie so many entries further on. */
function changed(operands: Operands, numbers: Numbers, moves: Numbers): Operands {
  return operands.map((operand, at): number | Place => {
    if (typeof operand === "number") return numbers[at] ?? operand;
    return { ...operand, at: operand.at + (moves[at] ?? 0) };
  });
}

const numberAt = (operands: Operands, at: number) => operands[at] as number;

/** Entries per row of places, by operand. */
type Strides = Readonly<Record<number, (operands: Operands) => number>>;

const is = (at: number) => (operands: Operands) => numberAt(operands, at);
const times =
  (...factors: readonly (number | ((operands: Operands) => number))[]) =>
  (operands: Operands) =>
    factors.reduce<number>((all, factor) => all * (typeof factor === "number" ? factor : factor(operands)), 1);
const one = () => 1;

/** Rows `from` to `to` of a call whose operand `count` says how many there are. */
function rowsOf(operands: Operands, count: number, strides: Strides, { from, to }: Run): Operands {
  const moves = Object.fromEntries(Object.entries(strides).map(([at, stride]) => [at, from * stride(operands)]));
  return changed(operands, { [count]: to - from }, moves);
}

/** A share's rows; all of them are one thread's where they are few. */
function runOf(operands: Operands, count: number, strides: Strides, grain: number, share: Share): Run {
  const total = numberAt(operands, count);
  const longest = Math.max(...Object.values(strides).map((stride) => stride(operands)));
  if (total * longest < share.least) return { from: 0, to: share.index === 0 ? total : 0 };
  return span(total, grain, share);
}

/** Rows that know nothing of each other. @param count the operand that has their number. */
function rows(count: number, strides: Strides, grain = 1): Division {
  return (operands, share) => {
    const run = runOf(operands, count, strides, grain, share);
    return run.from === run.to ? [] : [rowsOf(operands, count, strides, run)];
  };
}

const entries = (count: number, ...places: readonly number[]) =>
  rows(count, Object.fromEntries(places.map((at) => [at, one])), 4);

/** The same where row r goes with row r mod `period` of a table: what is left of a period is a call of its own. */
function periodic(count: number, period: number, table: number, width: number, strides: Strides): Division {
  return (operands, share) => {
    const { from, to } = runOf(operands, count, strides, 1, share);
    const length = numberAt(operands, period);
    const next = Math.min(to, Math.ceil(from / length) * length);
    return [
      { from, to: next },
      { from: next, to },
    ]
      .filter((run) => run.from < run.to)
      .map((run) => {
        const offset = (run.from % length) * numberAt(operands, width);
        return changed(rowsOf(operands, count, strides, run), {}, { [table]: offset });
      });
  };
}

/** Rows of the result, or its columns where it has many more. */
const gemm: Division = (operands, share) => {
  const [m, n, k, , aStride, aTransposed, , bStride, bTransposed, , cStride] = operands as readonly number[] as [
    number,
    number,
    number,
    unknown,
    number,
    number,
    unknown,
    number,
    number,
    unknown,
    number,
  ];
  if ((m * n * k) / 16 < share.least) return whole(operands, share);
  const byRows = n <= 2 * m;
  const { from, to } = byRows ? span(m, 4, share) : span(n, 8, share);
  if (from === to) return [];
  if (byRows) {
    const a = from * (aTransposed === 0 ? aStride : 1);
    return [changed(operands, { 0: to - from }, { 3: a, 9: from * cStride })];
  }
  const b = from * (bTransposed === 0 ? 1 : bStride);
  return [changed(operands, { 1: to - from }, { 6: b, 9: from, 12: from })];
};

/** Sums over rows, column by column. */
const sum_rows: Division = (operands, share) => {
  const [, , count, columns, , period] = operands as readonly number[] as [
    unknown,
    unknown,
    number,
    number,
    number,
    number,
  ];
  if (period > 1 || count * columns < share.least) return whole(operands, share);
  const { from, to } = span(columns, 4, share);
  return from === to ? [] : [changed(operands, { 3: to - from }, { 0: from, 1: from })];
};

interface Slice extends Run {
  readonly block: number;
}

/**
 * Rows `[blocks, length]` of attention: whole blocks where they can be dealt out evenly, else a run from the front and
 * one from the back of each, as later rows of a text that does not look ahead cost more.
 */
function slices(blocks: number, length: number, share: Share): readonly Slice[] {
  const { index, count } = share;
  if (blocks % count === 0 || blocks >= 8 * count) {
    const { from, to } = span(blocks, 1, share);
    return Array.from({ length: to - from }, (_, at) => ({ block: from + at, from: 0, to: length }));
  }
  return Array.from({ length: blocks }, (_, block) =>
    [index, 2 * count - 1 - index].map((piece) => ({ block, ...span(length, 4, { index: piece, count: 2 * count }) })),
  )
    .flat()
    .filter(({ from, to }) => from < to);
}

type HeadSizes = readonly [batch: number, heads: number, keyHeads: number, queries: number, keys: number, size: number];

/** Products with a row per query: blocks are heads. @param places the operands of scores, of queries and of keys. */
function byQueries(places: { readonly scores: number; readonly queries: number; readonly keys: number }): Division {
  return (operands, share) => {
    const [batch, heads, keyHeads, queries, keys, size] = operands as readonly number[] as HeadSizes;
    const stride = (place: number) => numberAt(operands, place + 1);
    if ((batch * heads * queries * keys * size) / 16 < share.least) return whole(operands, share);
    return slices(batch * heads, queries, share).map(({ block, from, to }) => {
      const [example, head] = [Math.floor(block / heads), block % heads];
      const keyHead = Math.floor((head * keyHeads) / heads);
      const moves = {
        [places.scores]: (block * queries + from) * stride(places.scores),
        [places.queries]: (example * queries + from) * stride(places.queries) + head * size,
        [places.keys]: example * keys * stride(places.keys) + keyHead * size,
      };
      const numbers = { 0: 1, 1: 1, 2: 1, 3: to - from, 14: numberAt(operands, 14) + from };
      return changed(operands, numbers, moves);
    });
  };
}

/** The product with a row per key, summed over a group of heads: blocks are key heads. */
const heads_mix_t: Division = (operands, share) => {
  const [batch, heads, keyHeads, queries, keys, size] = operands as readonly number[] as HeadSizes;
  const [scores, y, v] = [7, 9, 11].map((at) => numberAt(operands, at)) as [number, number, number];
  const group = heads / keyHeads;
  if ((batch * heads * queries * keys * size) / 16 < share.least) return whole(operands, share);
  return slices(batch * keyHeads, keys, share).map(({ block, from, to }) => {
    const [example, keyHead] = [Math.floor(block / keyHeads), block % keyHeads];
    const moves = {
      6: block * group * queries * scores + from,
      8: example * queries * y + keyHead * group * size,
      10: (example * keys + from) * v + keyHead * size,
    };
    return changed(operands, { 0: 1, 1: group, 2: 1, 4: to - from, 14: numberAt(operands, 14) - from }, moves);
  });
};

const softmax: Division = (operands, share) => {
  const [batch, heads, queries, , stride] = operands.slice(4) as [number, number, number, number, number];
  if (batch * heads * queries * stride < share.least) return whole(operands, share);
  return slices(batch * heads, queries, share).map(({ block, from, to }) => {
    const at = (block * queries + from) * stride;
    const bias = ((block % heads) * queries + from) * stride;
    const moves = { 0: at, 1: at, 2: bias, 3: Math.floor(block / heads) };
    return changed(operands, { 4: 1, 5: 1, 6: to - from, 11: numberAt(operands, 11) + from }, moves);
  });
};

const softmax_vjp: Division = (operands, share) => {
  const [blocks, queries, , stride] = operands.slice(3) as [number, number, number, number];
  if (blocks * queries * stride < share.least) return whole(operands, share);
  return slices(blocks, queries, share).map(({ block, from, to }) => {
    const at = (block * queries + from) * stride;
    return changed(operands, { 3: 1, 4: to - from, 8: numberAt(operands, 8) + from }, { 0: at, 1: at, 2: at });
  });
};

/** Only where no gains are wanted, which are sums over rows. */
function normVjp(gains: readonly number[], count: number, strides: Strides): Division {
  const divide = rows(count, strides);
  return (operands, share) => (gains.every((at) => operands[at] === 0) ? divide : whole)(operands, share);
}

/** The others are whole: sums into rows that indices name, and what is small or rare. */
const DIVISIONS: Readonly<Partial<Record<KernelName, Division>>> = {
  gemm,
  sum_rows,
  softmax,
  softmax_vjp,
  heads_scores: byQueries({ queries: 6, keys: 8, scores: 10 }),
  heads_mix: byQueries({ scores: 6, keys: 8, queries: 10 }),
  heads_mix_t,
  add: entries(3, 0, 1, 2),
  multiply: entries(3, 0, 1, 2),
  fill: entries(1, 0),
  square_sum: entries(2, 0, 1),
  activate: entries(3, 1, 2),
  activate_vjp: entries(4, 1, 2, 3),
  copy_columns: rows(4, { 0: is(1), 2: is(3) }),
  take: rows(3, { 0: one, 2: is(4) }),
  add_rows: periodic(3, 5, 1, 4, { 0: is(4), 2: is(4) }),
  rope: periodic(3, 6, 2, 5, { 0: times(is(4), is(5)), 1: times(is(4), is(5)) }),
  layer_norm: rows(5, { 0: is(6), 1: is(6), 2: times(2) }),
  layer_norm_vjp: normVjp([5, 6], 7, { 0: is(8), 1: is(8), 2: times(2), 4: is(8) }),
  rms_norm: rows(4, { 0: is(5), 1: is(5), 2: one }),
  rms_norm_vjp: normVjp([5], 6, { 0: is(7), 1: is(7), 2: one, 4: is(7) }),
  row_stats: rows(3, { 0: is(4), 1: one, 2: times(4) }),
  cross_entropy_vjp: rows(5, { 0: is(6), 1: times(4), 2: one, 3: one, 4: is(6) }),
  entropy_vjp: rows(4, { 0: is(5), 1: times(4), 2: one, 3: is(5) }),
  prepend: rows(3, { 1: times(is(4), is(5)), 2: (all) => (numberAt(all, 4) + 1) * numberAt(all, 5) }),
  drop_first: rows(2, { 0: (all) => (numberAt(all, 3) + 1) * numberAt(all, 4), 1: times(is(3), is(4)) }),
  patches: rows(2, { 0: times(is(3), is(4), is(5)), 1: patchEntries }),
  gate: rows(4, { 0: times(is(5), is(6)), 1: is(5), 2: is(7), 3: is(7) }),
  experts: rows(10, { 0: is(11), 1: is(15), 2: is(15), 6: is(11), 7: is(13), 8: is(12), 9: is(12) }),
};

/** Entries of an image's patches: what does not fill a patch is left out. */
function patchEntries(operands: Operands): number {
  const [channels, height, width, size] = operands.slice(3) as [number, number, number, number];
  return channels * Math.floor(height / size) * Math.floor(width / size) * size * size;
}

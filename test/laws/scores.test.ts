/** Methods that rank scores, held to naive computations in f64 over whole vectors, from files to files. */

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { Folder, merge, tensor, valuesOf } from "./support/family.js";
import { dice, normals } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

interface Inputs {
  readonly paths: { readonly base: string; readonly models: readonly string[] };
  /** Per tensor, widened. */
  readonly base: readonly Float32Array[];
  /** Per tensor and model: entry − base, rounded to f32. */
  readonly changes: readonly (readonly Float32Array[])[];
}

let written = 0;

/** @param entry of checkpoint (0 is the base), tensor and place. */
function write(
  sizes: readonly number[],
  models: number,
  dtype: FloatDtype,
  entries: (checkpoint: number, tensor: number, size: number) => Float32Array,
): Inputs {
  const id = written++;
  const checkpoints = Array.from({ length: models + 1 }, (_, checkpoint) =>
    sizes.map((size, index) => tensor(`t${index}`, entries(checkpoint, index, size), dtype)),
  );
  const paths = checkpoints.map((tensors, index) => folder.write(`scores${id}-${index}`, tensors));
  const values = checkpoints.map((tensors) => tensors.map(valuesOf));
  const base = values[0]!;
  const changes = sizes.map((_, index) =>
    values.slice(1).map((all) => all[index]!.map((x, p) => x - base[index]![p]!)),
  );
  return { paths: { base: paths[0]!, models: paths.slice(1) }, base, changes };
}

/** Random weights and changes; a fifth of a model's changes is zero. */
const ordinary = (checkpoint: number, index: number, size: number) => {
  const values = normals(size, index, 0.05);
  if (checkpoint === 0) return values;
  const moves = normals(size, 100 * checkpoint + index, 0.01 * checkpoint);
  return values.map((x, p) => x + (p % 5 === checkpoint ? 0 : moves[p]!));
};

/** Few distinct values, so that many scores are equal. */
const coarse = (checkpoint: number, index: number, size: number) => {
  const roll = dice(100 * checkpoint + index);
  return Float32Array.from({ length: size }, () => (checkpoint === 0 ? roll(8) / 4 : roll(3) / 8));
};

const big = [BLOCK_ENTRIES + 5003, 1, 7, 3001];
const SETS: Readonly<Record<string, () => Inputs>> = {
  "large, F32": () => write(big, 3, "F32", ordinary),
  "large, BF16": () => write(big, 2, "BF16", ordinary),
  "large and coarse, F16": () => write(big, 3, "F16", coarse),
  "one entry": () => write([1, 1], 3, "F32", ordinary),
  "one model": () => write([50, 9], 1, "F32", ordinary),
  "equal models": () => write([300], 3, "F32", (checkpoint, index, size) => ordinary(checkpoint && 1, index, size)),
  "models equal to the base": () => write([300], 2, "F32", (_, index, size) => ordinary(0, index, size)),
  "two of eight": () => write([4096, 17], 8, "BF16", ordinary),
};
const made = new Map<string, Inputs>();
function inputsOf(name: string): Inputs {
  if (!made.has(name)) made.set(name, SETS[name]!());
  return made.get(name)!;
}

interface Naive {
  readonly out: readonly number[];
  /** Entries that lie so near to a threshold that rounding decides. */
  readonly unsure: readonly boolean[];
  /** How much more an entry may be off than rounding to f32 explains. */
  readonly slack?: readonly number[];
}

function close(found: Float32Array, { out: expected, unsure, slack }: Naive, what: string): void {
  assert.equal(found.length, expected.length);
  let differing = 0;
  for (const [p, value] of expected.entries()) {
    if (Math.abs(found[p]! - value) <= 2e-6 + 2e-5 * Math.abs(value) + (slack?.[p] ?? 0)) continue;
    assert.ok(unsure[p]!, `${what}[${p}]: ${found[p]}, not ${value}`);
    differing++;
  }
  assert.ok(differing <= 3 + found.length / 100, `${differing} of ${found.length} differ`);
}

function naiveSce(base: Float32Array, changes: readonly Float32Array[], share: number): Naive {
  const columns = [...base].map((_, p) => changes.map((values) => values[p]!));
  const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
  const variances = columns.map((column) => {
    const shifted = column.map((x) => x - column[0]!);
    return mean(shifted.map((x) => (x - mean(shifted)) ** 2));
  });
  const k = Math.floor(share * variances.filter((v) => v > 0).length);
  const threshold = share >= 1 ? 0 : k === 0 ? Infinity : [...variances].sort((a, b) => b - a)[k - 1]!;
  const selected = columns.map((column, p) =>
    variances[p]! >= threshold * (1 - 1e-12) ? column : column.map(() => 0),
  );
  const squares = changes.map((_, i) => mean(selected.map((column) => column[i]! ** 2)));
  const total = squares.reduce((sum, square) => sum + square, 0);
  const out = selected.map((column, p) => {
    const sign = column.reduce((sum, x) => sum + x, 0) >= 0 ? 1 : -1;
    let above = 0;
    let below = 0;
    for (const [i, x] of column.entries()) {
      if (Math.sign(x) !== sign) continue;
      above += (squares[i]! / total) * x;
      below += squares[i]! / total;
    }
    return base[p]! + (below === 0 ? 0 : above / below);
  });
  // A sum of signs that cancel is decided by rounding, too.
  const unsure = columns.map((column, p) => {
    const near = Math.abs(variances[p]! - threshold) < 1e-5 * threshold;
    const mass = column.reduce((sum, x) => sum + Math.abs(x), 0);
    return near || Math.abs(column.reduce((sum, x) => sum + x, 0)) < 1e-6 * mass;
  });
  return { out, unsure };
}

describe("sce", () => {
  for (const name of Object.keys(SETS)) {
    for (const share of [1, 0.5, 0.1]) {
      it(`${name}, ${share} selected`, async () => {
        const { paths, base, changes } = inputsOf(name);
        const recipe = { method: "sce", parameters: { select_topk: share }, output: { dtype: "float32" }, ...paths };
        const merged = await merge(recipe, { out: folder.fresh(), threads: 2 });
        for (const [index, values] of base.entries()) {
          close(merged.values(`t${index}`), naiveSce(values, changes[index]!, share), `t${index}`);
        }
      });
    }
  }
});

const ascending = (values: readonly number[]) => Float64Array.from(values).sort();
const norm = (values: readonly number[], from?: number) => {
  const sorted = ascending(values);
  const least = from ?? sorted[0]!;
  const range = sorted.at(-1)! - least;
  return values.map((x) => (range > 0 ? (x - least) / range : 0));
};

/** Per model: the changes to be averaged, their weights, and the places where rounding decides. */
type Weighing = readonly {
  readonly changes: readonly number[];
  readonly weights: number[];
  readonly unsure: boolean[];
}[];

function released(tau: readonly (readonly number[])[], variant: string, ratio: number, clip: number): Weighing {
  const [n, d] = [tau.length, tau[0]!.length];
  const magnitudes = tau.map((values) => {
    const sorted = ascending(values.map(Math.abs));
    const [low, high] = [sorted[Math.trunc(d * clip)]!, sorted[Math.trunc(d * (1 - clip) - 1)]!];
    return values.map((x) => Math.min(Math.max(Math.abs(x), low), high));
  });
  const normal = magnitudes.map((values) => norm(values));
  const signed = normal.map((values, i) => values.map((x, p) => Math.sign(tau[i]![p]!) * x));
  const total = (rows: readonly (readonly number[])[], p: number) => rows.reduce((sum, row) => sum + row[p]!, 0);
  return tau.map((values, i) => {
    const scores = values.map((x, p) => {
      const inter =
        variant === "es"
          ? signed.reduce((sum, row) => sum + Math.tanh(signed[i]![p]! * row[p]!), 0)
          : Math.tanh(x * total(variant === "readme" ? tau : signed, p));
      return Math.exp(n * normal[i]![p]! ** 2) * inter;
    });
    const sorted = ascending(scores);
    const cut = sorted[Math.trunc(d * (1 - ratio))]!;
    const largest = Math.max(Math.abs(sorted[0]!), Math.abs(sorted.at(-1)!));
    return {
      changes: values.map((x, p) => Math.sign(x) * magnitudes[i]![p]!),
      weights: norm(scores.map((x) => Math.max(x, cut))),
      unsure: scores.map((x) => Math.abs(x - cut) < 3e-6 * largest),
    };
  });
}

function printed(tau: readonly (readonly number[])[], ratio: number): Weighing {
  const [n, d] = [tau.length, tau[0]!.length];
  const softmax = (values: readonly number[]) => {
    const powers = values.map((x) => Math.exp(x));
    const sum = powers.reduce((total, x) => total + x, 0);
    return powers.map((x) => x / sum);
  };
  return tau.map((values) => {
    const intra = softmax(norm(values.map((x) => x * x)).map((x) => n * x));
    const inter = tau.map((row) => softmax(norm(values.map((x, p) => x * row[p]!))));
    const balance = intra.map((x, p) => x * inter.reduce((sum, row) => sum + row[p]!, 0));
    const cut = ascending(balance)[Math.trunc((1 - ratio) * d)]!;
    const kept = balance.map((x) => (x >= cut * (1 - 1e-12) ? x : 0));
    return {
      changes: values,
      weights: norm(kept),
      unsure: balance.map((x) => Math.abs(x - cut) < 3e-6 * cut),
    };
  });
}

function naivePcb(base: readonly number[], tau: readonly (readonly number[])[], variant: string): Naive {
  const weighing = variant === "paper" ? printed(tau, 0.2) : released(tau, variant, 0.2, 0.01);
  const sums = base.map((_, p) => weighing.reduce((sum, { weights }) => sum + weights[p]!, 0));
  const mass = base.map((_, p) => weighing.reduce((sum, { changes }) => sum + Math.abs(changes[p]!), 0));
  return {
    out: base.map((x, p) => {
      const sum = weighing.reduce((total, { weights, changes }) => total + weights[p]! * changes[p]!, 0);
      return x + sum / Math.max(sums[p]!, 1e-12);
    }),
    unsure: base.map((_, p) => weighing.some(({ unsure }) => unsure[p])),
    // Weights are off by a few units of 1: a mean by small ones is off by more.
    slack: sums.map((sum, p) => (sum > 0 ? (3e-6 * mass[p]!) / sum : 0)),
  };
}

describe("pcb", () => {
  for (const name of Object.keys(SETS)) {
    for (const variant of ["es", "vision", "readme", "paper"]) {
      it(`${name}, ${variant}`, async () => {
        const { paths, base, changes } = inputsOf(name);
        const recipe = { method: "pcb", parameters: { variant }, output: { dtype: "float32" }, ...paths };
        const merged = await merge(recipe, { out: folder.fresh(), threads: 2 });
        const joined = changes[0]!.map((_, model) => changes.flatMap((tensor) => [...tensor[model]!]));
        const found = Float32Array.from(base.flatMap((_, index) => [...merged.values(`t${index}`)]));
        const naive = naivePcb(
          base.flatMap((values) => [...values]),
          joined,
          variant,
        );
        close(found, naive, "entries");
      });
    }
  }
});

/** Last axes of every kind: longer than a block, ending anywhere in it, single entries. */
const SHAPES = [[70, 4099], [BLOCK_ENTRIES + 9001], [64, 3], [7, 1], [1], [4, 3, 3, 5], [3, 20_000]];

function fusionInputs(dtype: FloatDtype, change: (place: number, tensor: number) => number) {
  const id = written++;
  const base = SHAPES.map((shape, index) =>
    normals(
      shape.reduce((product, size) => product * size, 1),
      index,
      0.05,
    ),
  );
  const model = base.map((values, index) => values.map((x, p) => x + change(p, index)));
  const put = (name: string, all: readonly Float32Array[]) => {
    const tensors = all.map((values, index) => tensor(`t${index}`, values, dtype, SHAPES[index]));
    return { path: folder.write(`${name}${id}`, tensors), values: tensors.map(valuesOf) };
  };
  return { base: put("base", base), model: put("model", model) };
}

function naiveFusion(base: Float32Array, model: Float32Array, row: number, epsilon: number): Naive {
  const importance = new Float64Array(base.length);
  for (let start = 0; start < base.length; start += row) {
    const places = Array.from({ length: row }, (_, i) => start + i);
    const softmax = (values: Float32Array) => {
      const powers = places.map((p) => Math.exp(values[p]!));
      const sum = powers.reduce((total, x) => total + x, 0);
      return powers.map((x) => x / sum + epsilon);
    };
    const [p, q] = [softmax(model), softmax(base)];
    const divergence = p.reduce((sum, x, i) => sum + x * Math.log1p((x - q[i]!) / q[i]!) - (x - q[i]!), 0);
    for (const place of places) importance[place] = Math.abs(model[place]! - base[place]!) * (row > 1 ? divergence : 0);
  }
  const sorted = importance.slice().sort();
  const [first, median, third] = [0.25, 0.5, 0.75].map((share) => sorted[Math.floor(share * (base.length - 1))]!);
  const threshold = median! + 1.5 * (third! - first!);
  return {
    out: [...base].map((x, p) => (importance[p]! >= threshold ? model[p]! : x)),
    unsure: [...importance].map((x) => Math.abs(x - threshold) <= 1e-5 * threshold),
  };
}

describe("arcee_fusion", () => {
  const roll = dice(21);
  const sets: Readonly<Record<string, () => ReturnType<typeof fusionInputs>>> = {
    "small changes, F32": () => fusionInputs("F32", () => (roll(2 ** 20) / 2 ** 19 - 1) ** 5 * 1e-3),
    "large changes of a quarter, F32": () => fusionInputs("F32", (p) => (p % 4 === 0 ? (roll(200) - 100) / 25 : 0)),
    "changes of BF16, rows of different strength": () =>
      fusionInputs("BF16", (p) => ((roll(2 ** 20) / 2 ** 19 - 1) ** 3 * (1 + Math.floor(p / 4099))) / 500),
  };
  for (const [name, make] of Object.entries(sets)) {
    for (const dialect of ["exact", "mergekit"]) {
      it(`${name}, ${dialect}`, async () => {
        const { base, model } = make();
        const recipe = { method: "arcee_fusion", dialect, base: base.path, models: [model.path] };
        const merged = await merge({ ...recipe, output: { dtype: "float32" } }, { out: folder.fresh(), threads: 2 });
        for (const [index, shape] of SHAPES.entries()) {
          const row = shape.at(-1)!;
          const naive = naiveFusion(base.values[index]!, model.values[index]!, row, dialect === "mergekit" ? 1e-8 : 0);
          const found = merged.values(`t${index}`);
          close(found, naive, `t${index}`);
          const taken = found.filter((x, p) => x !== base.values[index]![p]).length;
          if (row > 1000) assert.ok(taken > 0 && taken < found.length / 2, `${taken} of ${found.length} taken`);
        }
      });
    }
  }

  it("rows for any number of threads and any tile", async () => {
    const { base, model } = sets["small changes, F32"]!();
    const recipe = { method: "arcee_fusion", base: base.path, models: [model.path] };
    const first = await merge(recipe, { out: folder.fresh() });
    for (const tuning of [
      { tileEntries: 1000, chunkEntries: 8000 },
      { tileEntries: 65_536, chunkEntries: 65_536 },
    ]) {
      const other = await merge(recipe, { out: folder.fresh(), threads: 2, tuning });
      assert.deepEqual(other.prints, first.prints, JSON.stringify(tuning));
      assert.deepEqual(other.result.result, first.result.result);
    }
  });
});

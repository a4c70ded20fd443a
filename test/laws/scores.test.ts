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

/** @param unsure entries that lie so near to a threshold that rounding decides. */
function close(found: Float32Array, expected: readonly number[], unsure: readonly boolean[], what: string): void {
  assert.equal(found.length, expected.length);
  let differing = 0;
  for (const [p, value] of expected.entries()) {
    if (Math.abs(found[p]! - value) <= 2e-6 + 2e-5 * Math.abs(value)) continue;
    assert.ok(unsure[p]!, `${what}[${p}]: ${found[p]}, not ${value}`);
    differing++;
  }
  assert.ok(differing <= 3 + found.length / 1000, `${differing} of ${found.length} differ`);
}

function naiveSce(base: Float32Array, changes: readonly Float32Array[], share: number) {
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
          const { out, unsure } = naiveSce(values, changes[index]!, share);
          close(merged.values(`t${index}`), out, unsure, `t${index}`);
        }
      });
    }
  }
});

/** A LoRA out of a fine-tune: files in, folder out. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { kneeOf, threshold } from "../../src/lora/knee.js";
import { openAdapterAt } from "../../src/platform/node/adapters.js";
import { extractAt } from "../../src/platform/node/lora.js";
import { numbersOf, rejects, safetensors } from "../adapters/support.js";
import type { Tensors } from "../adapters/support.js";
import { distance, updateOf } from "./support.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-"));
after(() => rmSync(folder, { recursive: true }));

const BASE: Record<string, readonly number[]> = {
  "m.layers.0.q.weight": [40, 30],
  "m.layers.0.q.bias": [40],
  "m.layers.0.norm.weight": [30],
  "m.layers.0.conv.weight": [8, 3, 2, 2],
  "m.embed_tokens.weight": [16, 30],
  "m.layers.0.same.weight": [5, 5],
};

/** @param change of a tensor, by name. */
function model(name: string, change: (tensor: string, count: number) => ArrayLike<number> = () => []): string {
  const tensors = Object.entries(BASE).map(([key, shape]): [string, Tensors[string]] => {
    const count = shape.reduce((product, size) => product * size, 1);
    const moved = change(key, count);
    return [key, { shape, values: numbersOf(key, count).map((value, i) => value + (moved[i] ?? 0)) }];
  });
  const file = path.join(folder, `${name}.safetensors`);
  writeFileSync(file, safetensors(Object.fromEntries(tensors)));
  return file;
}

/** A matrix of rank 3, and noise. */
function lowRank(rows: number, columns: number, noise: number): Float32Array {
  const [a, b, n] = [numbersOf("a", 3 * columns), numbersOf("b", rows * 3), numbersOf("n", rows * columns)];
  return Float32Array.from({ length: rows * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    return [0, 1, 2].reduce((sum, k) => sum + b[row * 3 + k]! * a[k * columns + column]!, noise * n[at]!);
  });
}

const base = model("base");
const wish = {
  rank: null,
  energy: null,
  auto: false,
  include: [],
  exclude: [],
  rest: "save",
  dtype: "F32",
  threads: 1,
  force: true,
} as const;
const out = path.join(folder, "out");

describe("extracting a LoRA", () => {
  const tuned = model("tuned", (name, count) => {
    if (name.endsWith("q.weight")) return lowRank(40, 30, 0);
    if (name.endsWith("conv.weight")) return numbersOf("conv", count);
    return name.endsWith("same.weight") ? [] : numbersOf(`${name} change`, count).map((value) => value / 4);
  });

  it("gives back a change of low rank, as linear layer and as convolution, and the bias with it", async () => {
    const report = await extractAt(tuned, base, { ...wish, rank: 8, out });
    const adapter = await openAdapterAt(out);
    const q = adapter.lora.get("m.layers.0.q")!;
    // Rounding of the weights is a change, too.
    assert.equal(q.rank, 8);
    assert.ok(distance(await updateOf(adapter, "m.layers.0.q"), [lowRank(40, 30, 0)]) < 1e-6);
    assert.deepEqual(q.bias?.shape, [40]);
    const conv = adapter.lora.get("m.layers.0.conv")!;
    assert.deepEqual(
      [conv.a.shape, conv.b.shape],
      [
        [8, 3, 2, 2],
        [8, 8, 1, 1],
      ],
    );
    assert.ok(distance(await updateOf(adapter, "m.layers.0.conv"), [numbersOf("conv", 96)]) < 1e-6);
    assert.deepEqual([...adapter.whole.keys()].sort(), ["m.embed_tokens.weight", "m.layers.0.norm.weight"]);
    assert.deepEqual(adapter.config.fields.modules_to_save, ["m.embed_tokens", "m.layers.0.norm"]);
    assert.equal(report.unchanged, 1);
    assert.ok(report.error < 1e-5);
    await adapter.close();
  });

  it("tells what it left out, and counts it as lost", async () => {
    const report = await extractAt(tuned, base, { ...wish, rank: 8, rest: "skip", out });
    const left = report.rest.filter(({ saved }) => !saved).map(({ tensor }) => tensor);
    assert.deepEqual(left, ["m.embed_tokens.weight", "m.layers.0.norm.weight", "m.layers.0.q.bias"]);
    assert.match(report.warnings.join(), /left out, although changed: m\.embed_tokens\.weight/);
    assert.ok(report.error > 0.05);
  });

  it("takes tensors by pattern, and threads change no byte", async () => {
    const one = await extractAt(tuned, base, { ...wish, rank: 2, include: ["*.q.*"], out });
    assert.deepEqual(
      one.modules.map(({ module }) => module),
      ["m.layers.0.q"],
    );
    const none = await extractAt(tuned, base, { ...wish, rank: 2, exclude: ["*.q.*"], out });
    assert.deepEqual(
      none.modules.map(({ module }) => module),
      ["m.layers.0.conv"],
    );
  });

  it("finds the rank that holds an energy", async () => {
    const { modules } = await extractAt(tuned, base, { ...wish, energy: 0.5, out });
    for (const { rank, error } of modules) {
      assert.ok(1 - error ** 2 >= 0.5);
      assert.ok(rank < 8);
    }
  });

  it("finds by itself where the spectrum falls to noise", async () => {
    const noisy = model("noisy", (name) => (name.endsWith("q.weight") ? lowRank(40, 30, 0.05) : []));
    const { modules } = await extractAt(noisy, base, { ...wish, auto: true, out });
    assert.deepEqual(
      modules.map(({ rank }) => rank),
      [3],
    );
  });

  it("refuses models that are not of one family, nothing at all, and wishes that clash", async () => {
    await rejects("plan/nothing-to-merge", () => extractAt(base, base, { ...wish, rank: 2, out }));
    await rejects("usage", () => extractAt(tuned, base, { ...wish, out }));
    await rejects("usage", () => extractAt(tuned, base, { ...wish, auto: true, energy: 0.5, out }));
    const other = path.join(folder, "other.safetensors");
    writeFileSync(other, safetensors({ "m.layers.0.q.weight": { shape: [3, 3], values: numbersOf("x", 9) } }));
    const shape = await rejects("plan/shape", () => extractAt(other, base, { ...wish, rank: 2, out }));
    assert.match(shape.message, /other\.safetensors, tensor m\./);
    const broken = model("broken", (name, count) =>
      name.endsWith("q.weight") ? new Float32Array(count).fill(Number.NaN) : [],
    );
    const nan = await rejects("values/non-finite", () => extractAt(broken, base, { ...wish, rank: 2, out }));
    assert.match(nan.message, /tensor m\.layers\.0\.q\.weight/);
  });
});

describe("the threshold of noise", () => {
  it("is 4/√3 for square matrices", () => {
    assert.ok(Math.abs(threshold(1) - 4 / Math.sqrt(3)) < 1e-12);
  });

  it("keeps what stands out of a flat spectrum, and at least one value", () => {
    const size = { rows: 100, columns: 100 };
    const flat = Array.from({ length: 20 }, (_, i) => 2 - i / 50);
    const norm = (s: readonly number[]) => Math.sqrt(s.reduce((sum, value) => sum + value * value, 0) + 80);
    assert.equal(kneeOf([30, 20, ...flat], norm([30, 20, ...flat]), size), 2);
    assert.equal(kneeOf(flat, norm(flat), size), 1);
  });
});

/** Aurora's mode approximation: the forward pass of its code, written out, and the LoRA that it is read as. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { readFactors } from "../../src/adapters/adapter.js";
import { convertAdapter, fold, unfold } from "../../src/node.js";
import { openFiles, numbersOf, rejects, safetensors, tensor } from "../adapters/support.js";
import type { Tensors } from "../adapters/support.js";
import { distance, merge, pathsOf, sumOf, updateOf } from "./support.js";

const R = 3;
const D = 8;
const MODES: Record<string, number> = {
  "visual_encoder.blocks.0.attn.CP_attention": 4,
  "visual_encoder.blocks.0.mlp.mlp_CP": 8,
  "text_encoder.encoder.layer.0.attention.self.q_CP": 1,
  "text_encoder.encoder.layer.0.crossattention.self.v_CP": 1,
};

function checkpoint(seed: string, more: Tensors = {}): Tensors {
  return {
    "CP_U.weight": tensor(`${seed} u`, R, D),
    "CP_V.weight": tensor(`${seed} v`, D, R),
    CP_C: tensor(`${seed} c`, R, R, R),
    ...Object.fromEntries(Object.entries(MODES).map(([name, count]) => [name, tensor(`${seed} ${name}`, R, count)])),
    ...more,
  };
}
const open = (tensors: Tensors) => openFiles({ "aurora.safetensors": safetensors(tensors) }, "aurora");

/** C @ P: [a, b, mode]. */
function contracted(seed: string, name: string): (a: number, b: number, mode: number) => number {
  const [c, p] = [numbersOf(`${seed} c`, R ** 3), numbersOf(`${seed} ${name}`, R * MODES[name]!)];
  return (a, b, mode) => {
    let sum = 0;
    for (let k = 0; k < R; k++) sum += c[(a * R + b) * R + k]! * p[k * MODES[name]! + mode]!;
    return sum;
  };
}
const through = (matrix: Float32Array, rows: number, x: readonly number[]) =>
  Array.from({ length: rows }, (_, row) => x.reduce((sum, value, i) => sum + matrix[row * x.length + i]! * value, 0));

/** ΔW x, by the factors. */
async function applied(
  adapter: Awaited<ReturnType<typeof open>>,
  name: string,
  x: readonly number[],
): Promise<number[]> {
  const [{ a, b, out, rank }] = (await readFactors(adapter, adapter.lora.get(name)!)) as [
    Awaited<ReturnType<typeof readFactors>>[0],
  ];
  return through(b, out, through(a, rank, x));
}

function close(found: readonly number[], wanted: readonly number[]): void {
  assert.equal(found.length, wanted.length);
  assert.ok(distance([found], [wanted]) < 1e-6, `${found.join()} is not ${wanted.join()}`);
}

describe("a checkpoint of Aurora's", () => {
  const u = numbersOf("s u", R * D);
  const v = numbersOf("s v", D * R);
  const down = (x: readonly number[]) => through(u, R, x);
  const up = (z: readonly number[]) => through(v, D, z);
  const x = [...numbersOf("x", D)];
  const wide = [...numbersOf("wide", 4 * D)];

  it("adds V(U(x) M) in attention, the three of qkv one below the other", async () => {
    const adapter = await open(checkpoint("s"));
    const name = "visual_encoder.blocks.0.attn.CP_attention";
    const m = contracted("s", name);
    const mode = (j: number) =>
      up(Array.from({ length: R }, (_, b) => down(x).reduce((sum, value, a) => sum + value * m(a, b, j), 0)));
    close(await applied(adapter, "visual_encoder.blocks.0.attn.qkv", x), [...mode(0), ...mode(1), ...mode(2)]);
    close(await applied(adapter, "visual_encoder.blocks.0.attn.proj", x), mode(3));
    const text = contracted("s", "text_encoder.encoder.layer.0.attention.self.q_CP");
    const query = up(
      Array.from({ length: R }, (_, b) => down(x).reduce((sum, value, a) => sum + value * text(a, b, 0), 0)),
    );
    close(await applied(adapter, "text_encoder.encoder.layer.0.attention.self.query", x), query);
    assert.ok(adapter.lora.has("text_encoder.encoder.layer.0.crossattention.self.value"));
  });

  it("interleaves modes in the MLP as a row-major reshape does", async () => {
    const adapter = await open(checkpoint("s"));
    const m = contracted("s", "visual_encoder.blocks.0.mlp.mlp_CP");
    /** [a, b, j] of four modes as R x 4R. */
    const reshaped = (a: number, column: number, first: number) => m(a, Math.floor(column / 4), first + (column % 4));
    const hidden = Array.from({ length: 4 * R }, (_, column) =>
      down(x).reduce((sum, value, a) => sum + value * reshaped(a, column, 0), 0),
    );
    const fc1 = [0, 1, 2, 3].flatMap((c) => up(hidden.slice(c * R, (c + 1) * R)));
    close(await applied(adapter, "visual_encoder.blocks.0.mlp.fc1", x), fc1);
    const parts = [0, 1, 2, 3].flatMap((c) => down(wide.slice(c * D, (c + 1) * D)));
    const fc2 = up(
      Array.from({ length: R }, (_, a) =>
        parts.reduce((sum, value, column) => sum + value * reshaped(a, column, 4), 0),
      ),
    );
    close(await applied(adapter, "visual_encoder.blocks.0.mlp.fc2", wide), fc2);
  });

  it("has the parameters that the paper counts: 88,832 for 12 image and 12 text layers of width 768 at R 32", () => {
    const [rank, width, layers] = [32, 768, 12];
    const image = Object.entries(MODES).filter(([name]) => name.startsWith("visual"));
    const perImageLayer = image.reduce((sum, [, modes]) => sum + rank * modes, 0);
    assert.equal(2 * rank * width + rank ** 3 + layers * (perImageLayer + 6 * rank), 88_832);
  });

  it("merges as its updates do: exactly, also where the shared factors differ", async () => {
    const adapters = [await open(checkpoint("s")), await open(checkpoint("t"))];
    const { adapter } = await merge(adapters, { weights: [0.5, 2] });
    for (const path of pathsOf(adapters)) {
      assert.ok(distance(await updateOf(adapter, path), await sumOf(adapters, [0.5, 2], path)) < 1e-6, path);
    }
  });

  it("is folded as it is by threads that open it themselves: the bytes of the LoRA that it is converted to", async () => {
    const place = mkdtempSync(path.join(os.tmpdir(), "mergewright-"));
    try {
      const [file, base] = [path.join(place, "aurora.safetensors"), path.join(place, "base.safetensors")];
      writeFileSync(file, safetensors(checkpoint("s")));
      const adapter = await open(checkpoint("s"));
      const weights = pathsOf([adapter]).map((name) => {
        const { a, b } = adapter.lora.get(name)!;
        return [`${name}.weight`, tensor(name, b.shape[0]!, a.shape[1]!)] as const;
      });
      writeFileSync(base, safetensors(Object.fromEntries(weights)));
      await convertAdapter(file, { to: "peft", out: path.join(place, "lora") });
      const folds = [];
      for (const [number, adapters] of [[file], [path.join(place, "lora")]].entries()) {
        const out = path.join(place, `folded ${number}`);
        await fold({ model: base, adapters, weights: [0.5] }, { out, threads: 2 });
        folds.push(readFileSync(path.join(out, "model.safetensors")));
      }
      assert.ok(folds[0]!.equals(folds[1]!));
      await unfold({ model: path.join(place, "folded 0"), adapters: [file] }, { out: path.join(place, "u"), base });
    } finally {
      rmSync(place, { recursive: true });
    }
  });

  it("tells what of it is no change of a weight, and leaves out averaged copies", async () => {
    const adapter = await open(
      checkpoint("s", {
        "text_encoder.encoder.layer.0.CP_scaleself": tensor("g", D),
        "visual_encoder_m.blocks.0.attn.CP_attention": tensor("m", R, 4),
        "visual_encoder.blocks.0.attn.qkv.weight": tensor("w", 3 * D, D),
      }),
    );
    assert.match(adapter.notes.join("\n"), /left out: 1 of the gated query transform/);
    assert.match(adapter.notes.join("\n"), /left out: 2 that are not the adapter's/);
    assert.equal(adapter.lora.size, 6);
  });

  it("is refused where its factors do not fit", async () => {
    await rejects("adapter/tensor", () => open(checkpoint("s", { "CP_V.weight": tensor("v", R, D) })));
    await rejects("adapter/tensor", () => open(checkpoint("s", { "x.attn.CP_attention": tensor("p", R, 3) })));
  });
});

/** Adapters of every kind folded into their base, against PEFT in float64; and the laws of a fold. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { readFactors } from "../../src/adapters/adapter.js";
import type { Factors } from "../../src/adapters/adapter.js";
import { foldedCheckpoint } from "../../src/adapters/folded.js";
import { openAdapter } from "../../src/adapters/open.js";
import { formatReference, parseReference } from "../../src/adapters/reference.js";
import { readHeader } from "../../src/formats/safetensors/header.js";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { memoryFolder } from "../../src/models/folder.js";
import type { Checkpoint } from "../../src/models/model.js";
import { widen } from "../../src/numbers/convert.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { openFolder } from "../../src/platform/node/files.js";
import { memorySource } from "../../src/sources/memory.js";
import { numbersOf, openFiles, peftFolder, rejects, safetensors, tensor } from "./support.js";
import type { Tensors } from "./support.js";

const fixtures = fileURLToPath(new URL("../../../test/adapters/fixtures", import.meta.url));
const text = (content: unknown) => new TextEncoder().encode(JSON.stringify(content));

/** A tensor of a checkpoint, read in two pieces that are cut inside an entry. */
async function valuesOf(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const stored = checkpoint.tensors.get(name);
  assert.ok(stored !== undefined, `${name} is there`);
  const bytes = new Uint8Array(stored.length);
  const { source } = checkpoint.shards[stored.shard]!;
  const cut = Math.floor(stored.length / 3);
  await source.read(stored.offset, bytes.subarray(0, cut));
  await source.read(stored.offset + cut, bytes.subarray(cut));
  const values = new Float32Array(stored.shape.reduce((all, size) => all * size, 1));
  widen(stored.dtype as FloatDtype, bytes, values);
  return values;
}

function openBase(tensors: Tensors, config: object | null = null): Promise<Checkpoint> {
  const files = { "model.safetensors": safetensors(tensors), ...(config !== null && { "config.json": text(config) }) };
  return openCheckpoint("base", memoryFolder(files));
}

describe("an adapter folded into its base gives PEFT's merge in float64:", () => {
  for (const name of readdirSync(fixtures).sort()) {
    it(name, async () => {
      const base = await openCheckpoint(`${name}/base`, openFolder(path.join(fixtures, name, "model.safetensors")));
      const config = readConfig(name);
      const adapter = await openAdapter(`${name}/adapter`, openFolder(path.join(fixtures, name, "adapter")));
      const withConfig = { ...base, config, configText: config === null ? null : JSON.stringify(config) };
      const folded = foldedCheckpoint(name, withConfig, [{ adapter, weight: 1 }]);
      const golden = memorySource(new Uint8Array(readFileSync(path.join(fixtures, name, "golden.safetensors"))));
      const { tensors } = await readHeader(golden);
      for (const entry of tensors) {
        const bytes = new Uint8Array(entry.length);
        await golden.read(entry.offset, bytes);
        const expected = new Float64Array(bytes.buffer);
        const found = await valuesOf(folded, entry.name);
        assert.deepEqual(folded.tensors.get(entry.name)!.shape, entry.shape);
        for (const [at, value] of expected.entries()) {
          assert.ok(Math.abs(found[at]! - value) <= 3e-7 * Math.max(1, Math.abs(value)), `${entry.name}[${at}]`);
        }
      }
      // Nothing else is touched: it still is the base's own bytes.
      const computed = folded.shards.at(-1)!.header.tensors.map((made) => made.name);
      assert.deepEqual(
        computed.filter((made) => !tensors.some((entry) => entry.name === made)),
        [],
      );
      await folded.close();
    });
  }

  function readConfig(name: string): Record<string, unknown> | null {
    try {
      return JSON.parse(readFileSync(path.join(fixtures, name, "config.json"), "utf8")) as Record<string, unknown>;
    } catch {
      return null;
    }
  }
});

describe("tied embeddings", () => {
  const config = { model_type: "llama", architectures: ["LlamaForCausalLM"], tie_word_embeddings: true };
  const base = () => openBase({ "model.embed_tokens.weight": tensor("E", 7, 4) }, config);
  const lora = { peft_type: "LORA", r: 2, lora_alpha: 2 };

  it("part where an adapter changes the embedding alone: the head is written as it was", async () => {
    const adapter = await openFiles(
      peftFolder(lora, {
        "model.embed_tokens.lora_embedding_A": tensor("A", 2, 7),
        "model.embed_tokens.lora_embedding_B": tensor("B", 4, 2),
      }),
    );
    const folded = foldedCheckpoint("x", await base(), [{ adapter, weight: 1 }]);
    assert.deepEqual(await valuesOf(folded, "lm_head.weight"), numbersOf("E", 28));
    assert.notDeepEqual(await valuesOf(folded, "model.embed_tokens.weight"), numbersOf("E", 28));
    assert.equal(folded.config!["tie_word_embeddings"], false);
    assert.match(folded.notes.join("\n"), /only one of the tied tensors/);
  });

  it("part where an adapter changes the head alone: the embedding stays as it was", async () => {
    const adapter = await openFiles(
      peftFolder(lora, { "lm_head.lora_A.weight": tensor("A", 2, 4), "lm_head.lora_B.weight": tensor("B", 7, 2) }),
    );
    const folded = foldedCheckpoint("x", await base(), [{ adapter, weight: 1 }]);
    assert.deepEqual(await valuesOf(folded, "model.embed_tokens.weight"), numbersOf("E", 28));
    assert.notDeepEqual(await valuesOf(folded, "lm_head.weight"), numbersOf("E", 28));
    assert.equal(folded.config!["tie_word_embeddings"], false);
  });

  it("stay one where trained tokens change both, as PEFT shares them", async () => {
    const adapter = await openFiles(
      peftFolder(
        { peft_type: "TRAINABLE_TOKENS", token_indices: [6, 1] },
        { "model.embed_tokens.trainable_tokens_delta": tensor("T", 2, 4) },
      ),
    );
    const folded = foldedCheckpoint("x", await base(), [{ adapter, weight: 1 }]);
    assert.ok(!folded.tensors.has("lm_head.weight"));
    assert.equal(folded.config!["tie_word_embeddings"], true);
    const values = await valuesOf(folded, "model.embed_tokens.weight");
    assert.deepEqual(values.slice(24), numbersOf("T", 8).slice(0, 4));
  });
});

/** A base of one layer, and an adapter of it of each kind whose change is defined with any weight. */
const KINDS: Readonly<Record<string, { readonly config: object; readonly tensors: Tensors; readonly name: string }>> = {
  lora: {
    config: { peft_type: "LORA", r: 3, lora_alpha: 5 },
    tensors: { "q.lora_A.weight": tensor("a", 3, 9), "q.lora_B.weight": tensor("b", 6, 3) },
    name: "q.weight",
  },
  "lora of another rank": {
    config: { peft_type: "LORA", r: 1, lora_alpha: 5, use_rslora: true },
    tensors: { "q.lora_A.weight": tensor("c", 1, 9), "q.lora_B.weight": tensor("d", 6, 1) },
    name: "q.weight",
  },
  dora: {
    config: { peft_type: "LORA", r: 2, lora_alpha: 3, use_dora: true },
    tensors: {
      "q.lora_A.weight": tensor("e", 2, 9),
      "q.lora_B.weight": tensor("f", 6, 2),
      "q.lora_magnitude_vector": tensor("m", 6),
    },
    name: "q.weight",
  },
  ia3: {
    config: { peft_type: "IA3", target_modules: ["q"], feedforward_modules: [] },
    tensors: { "q.ia3_l": tensor("l", 6, 1) },
    name: "q.weight",
  },
  whole: {
    config: { peft_type: "LORA", r: 2, modules_to_save: ["q"] },
    tensors: { "q.weight": tensor("w", 6, 9) },
    name: "q.weight",
  },
};
const BASE = { "q.weight": tensor("base", 6, 9), "other.weight": tensor("other", 3) };
const open = (kind: string) => openFiles(peftFolder(KINDS[kind]!.config, KINDS[kind]!.tensors), kind);

async function fold(parts: readonly (readonly [kind: string, weight: number])[]): Promise<Float32Array> {
  const adapters = [];
  for (const [kind, weight] of parts) adapters.push({ adapter: await open(kind), weight });
  return valuesOf(foldedCheckpoint("folded", await openBase(BASE), adapters), "q.weight");
}

describe("a fold", () => {
  const start = numbersOf("base", 54);
  const kind = fc.constantFrom(...Object.keys(KINDS));
  const weight = fc.double({ min: -2, max: 2, noNaN: true }).map(Math.fround);

  it("adds scaling * B A to the base, each entry in f32 with the rank ascending, rounded once", async () => {
    const adapter = await open("lora");
    const [{ a, b }] = (await readFactors(adapter, adapter.lora.get("q")!)) as [Factors];
    const expected = Float32Array.from(start, (value, at) => {
      const [row, column] = [Math.floor(at / 9), at % 9];
      let sum = 0;
      for (let k = 0; k < 3; k++) {
        sum = Math.fround(sum + Math.fround(b[row * 3 + k]! * Math.fround((5 / 3) * a[k * 9 + column]!)));
      }
      return value + sum;
    });
    assert.deepEqual(await fold([["lora", 1]]), expected);
  });

  it("with weight 0 is the base, bit for bit", async () => {
    for (const name of Object.keys(KINDS)) assert.deepEqual(await fold([[name, 0]]), start);
  });

  it("with weights 1 and -1 of the same adapter is the base up to rounding", async () => {
    for (const name of Object.keys(KINDS))
      near(
        await fold([
          [name, 1],
          [name, -1],
        ]),
        start,
        4,
      );
  });

  it("is linear in its weights, whatever kinds it mixes", async () => {
    const part = fc.tuple(kind, weight);
    await fc.assert(
      fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 4 }), async (parts) => {
        const expected = Float64Array.from(start);
        for (const [name, own] of parts) {
          const whole = await fold([[name, 1]]);
          for (const [at, value] of whole.entries()) expected[at]! += own * (value - start[at]!);
        }
        near(await fold(parts), expected, 16);
      }),
      { numRuns: 60 },
    );
  });

  it("does not depend on the order of the adapters but in the last bit", async () => {
    const parts = Object.keys(KINDS).map((name, at): [string, number] => [name, 0.3 + at / 7]);
    near(await fold(parts), await fold(parts.toReversed()), 8);
  });

  it("of a single adapter of whole values writes them as they are", async () => {
    assert.deepEqual(await fold([["whole", 1]]), numbersOf("w", 54));
  });

  it("does not depend on where it is read from, or in what pieces", async () => {
    const folded = foldedCheckpoint("x", await openBase(BASE), [
      { adapter: await open("dora"), weight: 0.7 },
      { adapter: await open("lora"), weight: -1.5 },
    ]);
    const whole = await valuesOf(folded, "q.weight");
    const bytes = new Uint8Array(whole.buffer);
    const stored = folded.tensors.get("q.weight")!;
    const { source } = folded.shards[stored.shard]!;
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 100 }), async (from, length) => {
        const piece = new Uint8Array(Math.min(length, bytes.length - from));
        await source.read(stored.offset + from, piece);
        assert.deepEqual(piece, bytes.slice(from, from + piece.length));
      }),
      { numRuns: 100 },
    );
  });

  it("answers reads that are under way together", async () => {
    const folded = foldedCheckpoint("x", await openBase(BASE), [{ adapter: await open("dora"), weight: 1 }]);
    const all = await Promise.all([1, 2, 3].map(() => valuesOf(folded, "q.weight")));
    assert.deepEqual(all[1], all[0]);
    assert.deepEqual(all[2], all[0]);
  });
});

describe("a base that an adapter does not fit", () => {
  const lora = async (base: Tensors, config: object | null = null, changes: object = {}) => {
    const files = peftFolder({ ...KINDS["lora"]!.config, ...changes }, KINDS["lora"]!.tensors);
    return foldedCheckpoint("x", await openBase(base, config), [
      { adapter: await openFiles(files, "mine"), weight: 1 },
    ]);
  };

  it("is refused where a tensor is absent, naming adapter, module and tensor", async () => {
    const error = await rejects("plan/missing-tensor", () => lora({ "k.weight": tensor("k", 6, 9) }));
    assert.match(error.message, /mine, tensor base_model\.model\.q\.lora_B\.weight, q\n[^]*q\.weight in base/);
  });

  it("is refused where a tensor is transposed, or of another shape", async () => {
    const turned = await rejects("plan/shape", () => lora({ "q.weight": tensor("q", 9, 6) }));
    assert.match(turned.message, /\[6, 9\] \(out, in\)[^]*\[9, 6\] in base[^]*transposed: set fan_in_fan_out/);
    const other = await rejects("plan/shape", () => lora({ "q.weight": tensor("q", 6, 8) }));
    assert.match(other.message, /mine[^]*q\.weight of \[6, 9\][^]*\[6, 8\] in base/);
  });

  it("is taken transposed where the adapter says so, or the family stores it so", async () => {
    await lora({ "q.weight": tensor("q", 9, 6) }, null, { fan_in_fan_out: true });
    const files = peftFolder(KINDS["lora"]!.config, {
      "h.0.c_fc.lora_A.weight": tensor("a", 3, 6),
      "h.0.c_fc.lora_B.weight": tensor("b", 6, 3),
    });
    const adapter = await openFiles(files);
    const square = { "h.0.c_fc.weight": tensor("q", 6, 6) };
    const [as, at] = [await openBase(square), await openBase(square, { model_type: "gpt2" })];
    const read = (base: Checkpoint) =>
      valuesOf(foldedCheckpoint("x", base, [{ adapter, weight: 1 }]), "h.0.c_fc.weight");
    const [straight, turned] = [await read(as), await read(at)];
    const start = numbersOf("q", 36);
    near(
      turned,
      start.map(
        (value, place) =>
          value + straight[(place % 6) * 6 + Math.floor(place / 6)]! - start[(place % 6) * 6 + Math.floor(place / 6)]!,
      ),
      8,
    );
  });

  it("is refused where it is quantised, with the reason", async () => {
    const config = { quantization_config: { quant_method: "gptq" } };
    const error = await rejects("adapter/base", () => lora(BASE, config));
    assert.match(error.message, /gptq[^]*before it was quantised/);
  });

  it("is found where checkpoints drop or add the inner network's name", async () => {
    for (const name of ["transformer.q.weight", "q.weight"]) {
      const folded = await lora({ [name]: tensor("q", 6, 9) });
      assert.notDeepEqual(await valuesOf(folded, name), numbersOf("q", 54));
    }
  });

  it("is refused where a bias is to be added to a layer without one", async () => {
    const tensors = { ...KINDS["lora"]!.tensors, "q.lora_B.bias": tensor("bias", 6) };
    const adapter = await openFiles(peftFolder({ ...KINDS["lora"]!.config, lora_bias: true }, tensors));
    const base = await openBase(BASE);
    const error = await rejects("plan/missing-tensor", () => foldedCheckpoint("x", base, [{ adapter, weight: 1 }]));
    assert.match(error.message, /bias for a layer without one/);
  });
});

describe("an adapter that cannot be folded", () => {
  it("is refused with the reason", async () => {
    const config = { ...KINDS["lora"]!.config, init_lora_weights: "pissa" };
    const adapter = await openFiles(peftFolder(config, KINDS["lora"]!.tensors));
    const base = await openBase(BASE);
    assert.match(
      (await rejects("adapter/kind", () => foldedCheckpoint("x", base, [{ adapter, weight: 1 }]))).message,
      /pissa/,
    );
  });

  it("is refused where a value is no number, naming adapter, module and tensor", async () => {
    const b = tensor("b", 6, 3);
    b.values[4] = Number.POSITIVE_INFINITY;
    const files = peftFolder(KINDS["lora"]!.config, { ...KINDS["lora"]!.tensors, "q.lora_B.weight": b });
    const folded = foldedCheckpoint("x", await openBase(BASE), [
      { adapter: await openFiles(files, "mine"), weight: 1 },
    ]);
    const error = await rejects("values/non-finite", () => valuesOf(folded, "q.weight"));
    assert.match(error.message, /mine, tensor base_model\.model\.q\.lora_B\.weight, q\n/);
  });

  it("brings a tensor of its own only alone, with weight 1", async () => {
    const config = { peft_type: "LORA", r: 2, modules_to_save: ["score"] };
    const adapter = await openFiles(peftFolder(config, { "score.weight": tensor("s", 2, 4) }));
    const base = await openBase(BASE);
    const folded = foldedCheckpoint("x", base, [{ adapter, weight: 1 }]);
    assert.deepEqual(await valuesOf(folded, "score.weight"), numbersOf("s", 8));
    await rejects("plan/missing-tensor", () => foldedCheckpoint("x", base, [{ adapter, weight: 0.5 }]));
  });
});

describe("a reference to a base with adapters", () => {
  it("is a base, a plus and adapters, with weights", () => {
    const read = (label: string) => {
      const reference = parseReference(label);
      return reference === null ? null : [reference.base, ...reference.adapters.map((one) => [one.label, one.weight])];
    };
    assert.deepEqual(read("base+a"), ["base", ["a", 1]]);
    assert.deepEqual(read("x/base+0.5*y/a+-1e-3*b"), ["x/base", ["y/a", 0.5], ["b", -0.001]]);
    assert.equal(read("base"), null);
    assert.equal(read("https://hub/a+b/resolve/main"), null);
    assert.deepEqual(read("https://hub/a+b+https://hub/c+d+2*/e"), [
      "https://hub/a+b",
      ["https://hub/c+d", 1],
      ["/e", 2],
    ]);
    for (const label of ["base+a", "x/base+0.5*y/a+-0.001*b", "folded+undo*a+undo*0.5*b"]) {
      assert.equal(formatReference(parseReference(label)!), label);
    }
  });
});

/** @param ulps of numbers around 2, which is what the sums here have. */
function near(found: ArrayLike<number>, expected: ArrayLike<number>, ulps: number): void {
  for (let at = 0; at < expected.length; at++) {
    const most = ulps * 2 ** -23 * Math.max(2, Math.abs(expected[at]!));
    assert.ok(Math.abs(found[at]! - expected[at]!) <= most, `${at}: ${found[at]} and ${expected[at]}`);
  }
}

/**
 * Synthetic families in the shape of a Llama: a base and fine-tunes in BF16, sharded, with changes that follow a
 * student-t distribution, as measured on real fine-tunes. Made once per machine and kept in a folder.
 */
import { existsSync, mkdirSync, openSync, closeSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { layoutHeader, shardTensors } from "../src/formats/safetensors/index.js";
import type { TensorSpec } from "../src/formats/safetensors/layout.js";
import { loraConfig, draftTensor, peftKey } from "../src/adapters/draft.js";
import { safetensorsOf } from "../src/adapters/write.js";
import { entriesOf } from "../src/numbers/dtypes.js";

export interface FamilyShape {
  readonly name: string;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly vocabulary: number;
  readonly keyValue: number;
  readonly shardBytes: number;
}

/** 1,100 M parameters: 2.2 GB a model. */
export const LARGE: FamilyShape = {
  name: "llama-1100m",
  hidden: 2048,
  intermediate: 5632,
  layers: 22,
  vocabulary: 32_000,
  keyValue: 256,
  shardBytes: 800e6,
};

/** 134 M parameters: 269 MB a model. */
export const SMALL: FamilyShape = {
  name: "llama-134m",
  hidden: 768,
  intermediate: 2048,
  layers: 12,
  vocabulary: 32_000,
  keyValue: 768,
  shardBytes: 100e6,
};

function tensorsOf({ hidden, intermediate, layers, vocabulary, keyValue }: FamilyShape): TensorSpec[] {
  const tensor = (name: string, ...shape: number[]): TensorSpec => ({ name, dtype: "BF16", shape });
  const layer = (index: number) => {
    const at = `model.layers.${index}`;
    return [
      tensor(`${at}.input_layernorm.weight`, hidden),
      tensor(`${at}.mlp.down_proj.weight`, hidden, intermediate),
      tensor(`${at}.mlp.gate_proj.weight`, intermediate, hidden),
      tensor(`${at}.mlp.up_proj.weight`, intermediate, hidden),
      tensor(`${at}.post_attention_layernorm.weight`, hidden),
      tensor(`${at}.self_attn.k_proj.weight`, keyValue, hidden),
      tensor(`${at}.self_attn.o_proj.weight`, hidden, hidden),
      tensor(`${at}.self_attn.q_proj.weight`, hidden, hidden),
      tensor(`${at}.self_attn.v_proj.weight`, keyValue, hidden),
    ];
  };
  return [
    tensor("lm_head.weight", vocabulary, hidden),
    tensor("model.embed_tokens.weight", vocabulary, hidden),
    ...Array.from({ length: layers }, (_, index) => layer(index)).flat(),
    tensor("model.norm.weight", hidden),
  ];
}

const POOL = 1 << 22;
const BASE_DEVIATION = 0.02;
const CHANGE_SCALE = 0.0006;

/** @returns paths of the base and of `count` fine-tunes. */
export function makeFamily(
  shape: FamilyShape,
  count: number,
  folder = path.join(os.tmpdir(), "mergewright-bench"),
): string[] {
  const random = mulberry(1);
  const names = ["base", ...Array.from({ length: count }, (_, index) => `tune-${index + 1}`)];
  const missing = names.some((name) => !existsSync(path.join(folder, shape.name, name)));
  const base = missing ? pool(() => BASE_DEVIATION * normal(random)) : new Float32Array(0);
  const changes = missing ? pool(() => CHANGE_SCALE * studentT(random)) : new Float32Array(0);
  return names.map((name, model) => {
    const target = path.join(folder, shape.name, name);
    if (!existsSync(target)) writeModel(shape, target, model, base, changes);
    return target;
  });
}

/** A LoRA of rank 16 and alpha 32 of every linear layer of a family's base. @returns its folder. */
export function makeAdapter(shape: FamilyShape, folder = path.join(os.tmpdir(), "mergewright-bench")): string {
  const target = path.join(folder, shape.name, "lora-16");
  if (existsSync(target)) return target;
  const random = mulberry(2);
  const rank = 16;
  const entries = (count: number) => Float32Array.from({ length: count }, () => 0.02 * normal(random));
  const modules = tensorsOf(shape).filter(({ name }) => name.endsWith("_proj.weight"));
  const paths = modules.map(({ name }) => name.slice(0, -".weight".length));
  const tensors = modules.flatMap(({ shape: [out, width] }, index) => [
    draftTensor(peftKey(paths[index]!, "lora_A.weight"), [rank, width!], entries(rank * width!)),
    draftTensor(peftKey(paths[index]!, "lora_B.weight"), [out!, rank], entries(out! * rank)),
  ]);
  const partial = `${target}.partial`;
  mkdirSync(partial, { recursive: true });
  const config = loraConfig(
    paths.map((module) => ({ path: module, rank, alpha: 32 })),
    { task_type: "CAUSAL_LM", target_modules: [...new Set(paths.map((module) => module.split(".").at(-1)!))] },
  );
  writeFileSync(path.join(partial, "adapter_config.json"), JSON.stringify(config, null, 2));
  writeFileSync(path.join(partial, "adapter_model.safetensors"), safetensorsOf(tensors, { format: "pt" }));
  renameSync(partial, target);
  return target;
}

function writeModel(
  shape: FamilyShape,
  target: string,
  model: number,
  base: Float32Array,
  changes: Float32Array,
): void {
  const partial = `${target}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  const { files, index } = shardTensors(tensorsOf(shape), shape.shardBytes);
  if (index !== null) writeFileSync(path.join(partial, index.name), index.text);
  const { hidden, intermediate, layers, vocabulary } = shape;
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: hidden / 64,
    num_key_value_heads: shape.keyValue / 64,
    vocab_size: vocabulary,
    tie_word_embeddings: false,
    torch_dtype: "bfloat16",
  };
  writeFileSync(path.join(partial, "config.json"), JSON.stringify(config, null, 2));
  let seed = 0;
  for (const { name, tensors } of files) {
    const { header } = layoutHeader(tensors, { format: "pt" });
    const file = openSync(path.join(partial, name), "w");
    writeSync(file, header);
    for (const { shape: size } of tensors) {
      const entries = entriesOf(size);
      for (let start = 0; start < entries; start += POOL / 2) {
        writeSync(file, chunk(Math.min(POOL / 2, entries - start), seed++, model, base, changes));
      }
    }
    closeSync(file);
  }
  renameSync(partial, target);
}

/** BF16 entries of one chunk: the same base for every model, another stretch of changes for each. */
function chunk(count: number, seed: number, model: number, base: Float32Array, changes: Float32Array): Uint8Array {
  const values = new Float32Array(1);
  const bits = new Uint32Array(values.buffer);
  const out = new Uint16Array(count);
  const from = (seed * 1_000_003) % (POOL / 2);
  const shift = (seed * 700_001 + model * 1_500_007) % (POOL / 2);
  const round = () => (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) >>> 16;
  for (let i = 0; i < count; i++) {
    values[0] = base[from + i]!;
    const rounded = round();
    if (model > 0) {
      bits[0] = rounded << 16;
      values[0] = values[0] + changes[shift + i]!;
    }
    out[i] = model > 0 ? round() : rounded;
  }
  return new Uint8Array(out.buffer);
}

function pool(draw: () => number): Float32Array {
  return Float32Array.from({ length: POOL }, draw);
}

function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Five degrees of freedom. */
function studentT(random: () => number): number {
  let squares = 0;
  for (let i = 0; i < 5; i++) squares += normal(random) ** 2;
  return normal(random) / Math.sqrt(squares / 5);
}

/** Merged updates as PEFT writes an adapter: scaling 1, ranks where they differ in rank_pattern. */
import { draftTensor, loraConfig, peftKey } from "../adapters/draft.js";
import type { AdapterDraft, DraftTensor } from "../adapters/draft.js";
import { transposed } from "../adapters/adapter.js";
import type { AdapterTensor, LoraModule } from "../adapters/adapter.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { NewBiases } from "./biases.js";
import type { Given, Updates } from "./given.js";
import type { NewVector } from "./ia3.js";
import type { LowRank } from "./low_rank.js";
import type { Quirks } from "./peft/quirks.js";
import type { NewTokens, Replacements } from "./whole.js";

export interface Merged extends Updates {
  readonly vectors: readonly NewVector[];
  readonly biases: NewBiases;
  readonly whole: Replacements;
  readonly tokens: NewTokens;
  /** Of the dialect peft; `null` without it. */
  readonly quirks: Quirks | null;
}

export function draftOf(given: Given, merged: Merged): AdapterDraft {
  const { adapters, modules } = given;
  const { vectors, biases, whole, tokens, quirks } = merged;
  const dtype = given.asked.recipe.output.dtype ?? "F32";
  const tensors = [
    ...modules.flatMap((module, index) => loraTensors(module, merged.updates[index]!, dtype)),
    ...[...biases].map(([path, data]) => draftTensor(peftKey(path, "lora_B.bias"), [data.length], data)),
    ...[...(quirks?.magnitudes ?? [])].map(([path, data]) =>
      draftTensor(peftKey(path, "lora_magnitude_vector"), [data.length], data),
    ),
    ...vectors.map(({ key, shape, data }) => draftTensor(key, shape, data)),
    ...whole.tensors,
    ...tokens.tensors,
  ];
  const [first] = adapters as [Given["adapters"][number]];
  const { values, type } = first.config;
  if (type === "IA3") return { config: ia3Config(values, vectors, savedModules(adapters)), tensors };
  if (type === "TRAINABLE_TOKENS") {
    const [indices = []] = Object.values(tokens.indices);
    return { config: { ...values, token_indices: indices }, tensors };
  }
  return { config: configOf(given, merged), tensors };
}

/** A module that is to be written: where it is, and the layout of its factors. */
export interface NewModule {
  readonly path: string;
  readonly first: Pick<LoraModule, "layout"> & { readonly a: Pick<AdapterTensor, "shape"> };
}

/** The tensors of a module, with one update per expert. */
export function loraTensors({ path, first }: NewModule, updates: readonly LowRank[], dtype: FloatDtype): DraftTensor[] {
  const { layout, a: storedA } = first;
  const [{ a, b }] = updates as [LowRank];
  const rank = a.rows;
  if (layout === "embedding") {
    // Read as tokens x rank times rank x dim; stored as rank x tokens and dim x rank.
    return [
      draftTensor(peftKey(path, "lora_embedding_A"), [rank, b.rows], transposed(b.data, b.rows, rank), dtype),
      draftTensor(peftKey(path, "lora_embedding_B"), [a.columns, rank], transposed(a.data, rank, a.columns), dtype),
    ];
  }
  if (layout === "experts") return expertTensors(path, updates, dtype);
  const kernel = storedA.shape.slice(2);
  return [
    draftTensor(peftKey(path, "lora_A.weight"), [rank, ...storedA.shape.slice(1)], a.data, dtype),
    draftTensor(peftKey(path, "lora_B.weight"), [b.rows, rank, ...kernel.map(() => 1)], b.data, dtype),
  ];
}

/** A is (expert, rank) x in, B is out x (rank, expert); ranks are filled up with zeros to the largest. */
function expertTensors(path: string, updates: readonly LowRank[], dtype: FloatDtype): DraftTensor[] {
  const rank = rankOf(updates);
  const experts = updates.length;
  const [{ a: someA, b: someB }] = updates as [LowRank];
  const a = new Float32Array(experts * rank * someA.columns);
  const b = new Float32Array(someB.rows * rank * experts);
  for (const [expert, own] of updates.entries()) {
    a.set(own.a.data, expert * rank * someA.columns);
    for (let row = 0; row < someB.rows; row++) {
      for (let k = 0; k < own.b.columns; k++) {
        b[(row * rank + k) * experts + expert] = own.b.data[row * own.b.columns + k]!;
      }
    }
  }
  return [
    draftTensor(peftKey(path, "lora_A.weight"), [experts * rank, someA.columns], a, dtype),
    draftTensor(peftKey(path, "lora_B.weight"), [someB.rows, rank * experts], b, dtype),
  ];
}

function rankOf(updates: readonly LowRank[]): number {
  return Math.max(...updates.map(({ a }) => a.rows));
}

function configOf({ adapters, modules }: Given, { updates, biases, tokens, quirks }: Merged): AdapterDraft["config"] {
  const { values } = adapters[0]!.config;
  const shapes = modules.map(({ path }, index) => {
    const rank = rankOf(updates[index]!);
    return { path, rank, alpha: rank };
  });
  const parameters = unique(adapters.flatMap(({ config }) => config.fields.target_parameters ?? []));
  const trained = adapters.find(({ config }) => config.fields.bias !== "none")?.config.fields.bias ?? "none";
  const saved = savedModules(quirks === null ? adapters : adapters.slice(0, 1));
  return loraConfig(shapes, {
    ...kept(values),
    fan_in_fan_out: adapters.some(({ config }) => config.fields.fan_in_fan_out),
    bias: trained,
    lora_bias: biases.size > 0,
    ...(quirks !== null && { use_rslora: quirks.rsLora, use_dora: quirks.magnitudes !== null }),
    modules_to_save: saved,
    target_modules: modules.filter(({ first }) => first.layout !== "experts").map(({ path }) => path),
    ...(parameters.length > 0 && { target_parameters: parameters }),
    ...(Object.keys(tokens.indices).length > 0 && {
      trainable_token_indices: Object.fromEntries(
        Object.entries(tokens.indices).map(([path, indices]) => [path.split(".").at(-1)!, indices]),
      ),
    }),
  });
}

/** What of the first adapter's config still holds. */
function kept(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const keys = ["base_model_name_or_path", "revision", "task_type", "auto_mapping"];
  return Object.fromEntries(keys.flatMap((key) => (key in values ? [[key, values[key]]] : [])));
}

function savedModules(adapters: Given["adapters"]): readonly string[] | null {
  const saved = unique(adapters.flatMap(({ config }) => config.fields.modules_to_save ?? []));
  return saved.length === 0 ? null : saved;
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)].sort();
}

function ia3Config(
  values: Readonly<Record<string, unknown>>,
  vectors: readonly NewVector[],
  saved: readonly string[] | null,
): AdapterDraft["config"] {
  const paths = vectors.map(({ path }) => path);
  const feedForward = vectors.filter((vector) => vector.feedForward).map(({ path }) => path);
  return { ...values, target_modules: paths, feedforward_modules: feedForward, modules_to_save: saved };
}

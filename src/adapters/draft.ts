/** An adapter that is to be written: PEFT's config and its tensors in memory. Adapters are small; this is all of one. */
import { narrow } from "../numbers/convert.js";
import { DTYPE_BYTES, entriesOf } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { readTensor } from "../formats/safetensors/read.js";
import type { Adapter, AdapterTensor } from "./adapter.js";

export interface DraftTensor {
  /** As PEFT's file calls it, with `base_model.model.` in front. */
  readonly key: string;
  readonly dtype: FloatDtype;
  /** Row-major. */
  readonly shape: readonly number[];
  /** Little-endian entries. */
  readonly bytes: Uint8Array;
}

export interface AdapterDraft {
  /** adapter_config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: readonly DraftTensor[];
}

/** PEFT's key for a part of a module, e.g. `lora_A.weight`. */
export function peftKey(path: string, part: string): string {
  return `base_model.model.${path}.${part}`;
}

/** A tensor from f32 entries, rounded once. */
export function draftTensor(
  key: string,
  shape: readonly number[],
  values: Float32Array,
  dtype: FloatDtype = "F32",
): DraftTensor {
  const bytes = new Uint8Array(entriesOf(shape) * DTYPE_BYTES[dtype]);
  narrow(dtype, values, bytes);
  return { key, dtype, shape, bytes };
}

/** A tensor of an adapter as it is, under another key. */
export async function copiedTensor(
  { source }: Pick<Adapter, "source">,
  tensor: AdapterTensor,
  key: string,
): Promise<DraftTensor> {
  return { key, dtype: tensor.dtype, shape: tensor.shape, bytes: await readTensor(source, tensor) };
}

/** A module's rank and alpha. */
export interface LoraShape {
  readonly path: string;
  readonly rank: number;
  readonly alpha: number;
}

/**
 * A complete config of PEFT for LoRA modules: the commonest rank and alpha as `r` and `lora_alpha`, the others in
 * rank_pattern and alpha_pattern under keys that match one module each.
 * @param others fields beside these, e.g. base_model_name_or_path, use_dora.
 */
export function loraConfig(
  modules: readonly LoraShape[],
  others: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, unknown>> {
  const paths = modules.map(({ path }) => path);
  const r = commonest(modules.map(({ rank }) => rank));
  const alpha = commonest(modules.map((module) => module.alpha));
  const pattern = (wanted: (module: LoraShape) => number, usual: number) =>
    Object.fromEntries(
      modules
        .filter((module) => wanted(module) !== usual)
        .map((module) => [patternOf(module.path, paths), wanted(module)]),
    );
  return {
    peft_type: "LORA",
    base_model_name_or_path: null,
    task_type: null,
    inference_mode: true,
    r,
    lora_alpha: alpha,
    lora_dropout: 0,
    use_rslora: false,
    use_dora: false,
    bias: "none",
    lora_bias: false,
    fan_in_fan_out: false,
    init_lora_weights: true,
    modules_to_save: null,
    target_modules: [...paths].sort(),
    rank_pattern: pattern(({ rank }) => rank, r),
    alpha_pattern: pattern((module) => module.alpha, alpha),
    ...others,
  };
}

/** The smallest of the most frequent values. */
function commonest(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const [first] = [...counts].sort(([a, n], [b, m]) => m - n || a - b);
  return first?.[0] ?? 8;
}

/** A key that matches one of the paths alone: the path, or an anchored expression where it is the end of another's. */
function patternOf(path: string, paths: readonly string[]): string {
  const isEnd = paths.some((other) => other !== path && other.endsWith(`.${path}`));
  const isPlain = /^[\w.-]+$/.test(path);
  return isPlain && !isEnd ? path : `^${path.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}`;
}

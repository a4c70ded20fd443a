/**
 * An adapter as it is read and written here: what it changes, module by module, whatever file format it came in.
 *
 * A module's path is that of the network's module without PEFT's `base_model.model.` in front, e.g.
 * `model.layers.0.self_attn.q_proj`; the tensor that it changes is named in the base (target.ts finds it). kohya's files
 * join a path with underscores; such an adapter says so (`naming`), and its paths are as written, without the prefix.
 */
import type { SafetensorsHeader } from "../formats/safetensors/types.js";
import { readTensor } from "../formats/safetensors/read.js";
import { widen } from "../numbers/convert.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { ByteSource } from "../sources/source.js";
import type { AdapterConfig } from "./config.js";
import { defect } from "./defect.js";

/** A tensor of an adapter: its place is known from the header, its entries are read when they are asked for. */
export interface AdapterTensor {
  /** As the file calls it. */
  readonly key: string;
  readonly dtype: FloatDtype;
  /** Row-major. */
  readonly shape: readonly number[];
  /** First byte in `Adapter.source`. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/**
 * What the factors belong to, which says how their product becomes a change (kinds/):
 * - `linear`: A is r x in, B is out x r.
 * - `embedding`: A is r x tokens, B is dim x r.
 * - `conv`: A is (r, in, …kernel), B is (out, r, 1, …).
 * - `experts`: A is E·r x in, B is out x r·E, of a parameter that holds E matrices.
 */
export type LoraLayout = "linear" | "embedding" | "conv" | "experts";

export interface LoraModule {
  readonly path: string;
  readonly layout: LoraLayout;
  readonly a: AdapterTensor;
  readonly b: AdapterTensor;
  /** `lora_bias`: b_B, added to the module's bias; length out. */
  readonly bias: AdapterTensor | null;
  /** DoRA's m; length out. */
  readonly magnitude: AdapterTensor | null;
  /** Of each expert's factors, where there are experts. */
  readonly rank: number;
  readonly alpha: number;
  /** alpha / rank, or alpha / sqrt(rank) with rsLoRA. */
  readonly scaling: number;
  /** 1 without experts. */
  readonly experts: number;
  /** Of `experts`: names of the parameters that the module may change, in the order of the config. */
  readonly parameters: readonly string[];
  /** The base stores this module's weight in x out (Conv1D of GPT-2). */
  readonly fanInFanOut: boolean;
}

/** (IA)3: a vector that multiplies outputs, or inputs where the module is feed-forward. */
export interface Ia3Module {
  readonly path: string;
  readonly scale: AdapterTensor;
  readonly feedForward: boolean;
  readonly fanInFanOut: boolean;
}

/** Rows of an embedding that are replaced. */
export interface TokensModule {
  readonly path: string;
  /** Row numbers, one per row of `rows`. */
  readonly indices: readonly number[];
  /** indices.length x dim. */
  readonly rows: AdapterTensor;
}

/** In what form paths are written. */
export type Naming = "dotted" | "flattened";

export interface Adapter {
  /** As the user wrote it. */
  readonly label: string;
  /** Last part of the path. */
  readonly name: string;
  /** Canonical location, links resolved; "" where there is none. */
  readonly location: string;
  readonly format: "peft" | "kohya";
  readonly naming: Naming;
  readonly config: AdapterConfig;
  readonly source: ByteSource;
  readonly header: SafetensorsHeader;
  /** By path; as are the next two. */
  readonly lora: ReadonlyMap<string, LoraModule>;
  readonly ia3: ReadonlyMap<string, Ia3Module>;
  readonly tokens: ReadonlyMap<string, TokensModule>;
  /** Tensors that replace the base's, by the base's name: modules_to_save, trained biases, resized embeddings. */
  readonly whole: ReadonlyMap<string, AdapterTensor>;
  /** Why the change is not a function of the base's weights alone; empty for an adapter that can be folded and merged. */
  readonly obstacles: readonly string[];
  /** Things worth telling. */
  readonly notes: readonly string[];
  close(): void | Promise<void>;
}

/**
 * A tensor's entries as f32, row by row.
 * @throws values/non-finite where one is NaN or infinite.
 */
export async function readEntries(
  adapter: Pick<Adapter, "label" | "source">,
  tensor: AdapterTensor,
  module: string = tensor.key,
): Promise<Float32Array> {
  const values = new Float32Array(entriesOf(tensor.shape));
  widen(tensor.dtype, await readTensor(adapter.source, tensor), values);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return values;
  throw defect("values/non-finite", "an adapter holds a value that is no number", {
    where: { file: adapter.label, tensor: tensor.key, key: module },
    expected: "finite numbers",
    found: `${values[bad]} at entry ${bad}`,
    advice: "take an earlier checkpoint of the training: this one has diverged or was cut short",
  });
}

/** Factors with ΔW = scaling · b · a, both f32 and row-major, whatever the layout stores. */
export interface Factors {
  /** out x rank. */
  readonly b: Float32Array;
  /** rank x in; of a convolution in · kernel, of an embedding dim (and out = tokens). */
  readonly a: Float32Array;
  readonly out: number;
  readonly rank: number;
  readonly in: number;
}

/**
 * The factors of a module, one pair per expert (one pair where there are none), so that the change of the matrix as
 * PyTorch's Linear stores it (out x in; an embedding tokens x dim; a convolution out x in·kernel) is scaling · b · a.
 */
export async function readFactors(adapter: Pick<Adapter, "label" | "source">, module: LoraModule): Promise<Factors[]> {
  const [storedA, storedB] = [
    await readEntries(adapter, module.a, module.path),
    await readEntries(adapter, module.b, module.path),
  ];
  const { rank, experts } = module;
  if (module.layout === "embedding") {
    const [tokens, dim] = [module.a.shape[1]!, module.b.shape[0]!];
    return [{ b: transposed(storedA, rank, tokens), a: transposed(storedB, dim, rank), out: tokens, rank, in: dim }];
  }
  const [out, width] = [module.b.shape[0]!, storedA.length / (rank * experts)];
  if (experts === 1) return [{ b: storedB, a: storedA, out, rank, in: width }];
  return Array.from({ length: experts }, (_, expert) => {
    const b = new Float32Array(out * rank);
    for (let row = 0; row < out; row++) {
      for (let k = 0; k < rank; k++) b[row * rank + k] = storedB[(row * rank + k) * experts + expert]!;
    }
    return { b, a: storedA.slice(expert * rank * width, (expert + 1) * rank * width), out, rank, in: width };
  });
}

/** @param matrix rows x columns. @returns columns x rows. */
export function transposed(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(matrix.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = matrix[row * columns + column]!;
  }
  return out;
}

/** What an adapter is and how far it moves each module, without its base. */
import type { Adapter, LoraModule } from "./adapter.js";
import { readEntries, readFactors } from "./adapter.js";
import type { Factors } from "./adapter.js";
import type { PeftType } from "./config.js";

export interface InspectedModule {
  readonly path: string;
  readonly kind: "lora" | "dora" | "ia3" | "tokens" | "whole";
  /** linear, embedding, conv, experts; of (IA)3 outputs or inputs; "" for others. */
  readonly layout: string;
  /** The matrix that changes, out x in; of tokens rows x dim; of a whole tensor its shape. */
  readonly shape: readonly number[];
  readonly rank: number | null;
  readonly alpha: number | null;
  readonly scaling: number | null;
  /**
   * Frobenius norm of the change, where it does not depend on the base: of scaling · B A over all experts (before DoRA's
   * normalisation); of (IA)3 of l - 1. `null` for replaced values.
   */
  readonly norm: number | null;
  readonly bias: boolean;
}

export interface AdapterInspection {
  readonly label: string;
  readonly format: Adapter["format"];
  readonly type: PeftType;
  /** What the adapter says that it was trained on. */
  readonly base: string | null;
  readonly rsLora: boolean;
  readonly fanInFanOut: boolean;
  readonly modules: readonly InspectedModule[];
  /** Entries of all its tensors. */
  readonly parameters: number;
  readonly bytes: number;
  /** Of the changes of all LoRA modules together. */
  readonly norm: number;
  /** Why it cannot be folded or merged exactly. */
  readonly obstacles: readonly string[];
  readonly notes: readonly string[];
}

export async function inspectAdapter(adapter: Adapter): Promise<AdapterInspection> {
  const { label, format, config, header, obstacles, notes } = adapter;
  const modules: InspectedModule[] = [];
  for (const module of adapter.lora.values()) modules.push(await inspectLora(adapter, module));
  const none = { rank: null, alpha: null, scaling: null, norm: null, bias: false };
  for (const { path, scale, feedForward } of adapter.ia3.values()) {
    const values = await readEntries(adapter, scale, path);
    const norm = Math.sqrt(values.reduce((sum, value) => sum + (value - 1) ** 2, 0));
    modules.push({ ...none, path, kind: "ia3", layout: feedForward ? "inputs" : "outputs", shape: scale.shape, norm });
  }
  for (const { path, rows } of adapter.tokens.values()) {
    modules.push({ ...none, path, kind: "tokens", layout: "", shape: rows.shape });
  }
  for (const [path, { shape }] of adapter.whole) modules.push({ ...none, path, kind: "whole", layout: "", shape });
  const squares = modules.reduce((sum, { kind, norm }) => (kind === "ia3" ? sum : sum + (norm ?? 0) ** 2), 0);
  return {
    ...{ label, format, type: config.type, base: config.base, modules, obstacles, notes },
    rsLora: config.fields.use_rslora ?? false,
    fanInFanOut: config.fields.fan_in_fan_out ?? false,
    parameters: header.tensors.reduce((sum, { shape }) => sum + shape.reduce((all, size) => all * size, 1), 0),
    bytes: header.fileSize,
    norm: Math.sqrt(squares),
  };
}

async function inspectLora(adapter: Adapter, module: LoraModule): Promise<InspectedModule> {
  const { path, layout, rank, alpha, scaling, magnitude, bias } = module;
  const factors = await readFactors(adapter, module);
  const [{ out, in: width }] = factors as [Factors];
  const norm = Math.abs(scaling) * Math.sqrt(factors.reduce((sum, pair) => sum + squaredNorm(pair), 0));
  const shape = layout === "experts" ? [factors.length, out, width] : [out, width];
  const kind = magnitude === null ? "lora" : "dora";
  return { path, kind, layout, shape, rank, alpha, scaling, norm, bias: bias !== null };
}

/**
 * ‖B A‖² = trace((BᵀB)(AAᵀ)): two tables of rank x rank products in f64, so that the product itself is never formed.
 */
export function squaredNorm({ b, a, out, rank, in: width }: Factors): number {
  const left = products(rank, out, (k, row) => b[row * rank + k]!);
  const right = products(rank, width, (k, column) => a[k * width + column]!);
  return left.reduce((sum, value, at) => sum + value * right[at]!, 0);
}

function products(rank: number, length: number, entry: (k: number, at: number) => number): Float64Array {
  const table = new Float64Array(rank * rank);
  for (let k = 0; k < rank; k++) {
    for (let l = 0; l <= k; l++) {
      let sum = 0;
      for (let at = 0; at < length; at++) sum += entry(k, at) * entry(l, at);
      table[k * rank + l] = sum;
      table[l * rank + k] = sum;
    }
  }
  return table;
}

/**
 * LoRA of a linear layer (Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685):
 *
 *     W' = W + w s B A            A: r x in, B: out x r, W: out x in
 *     W' = W + w s (B A)^T        where the base stores W as in x out (Conv1D of GPT-2; fan_in_fan_out)
 *
 * s = alpha / r; with rsLoRA (Kalajdzievski, arXiv 2312.03732) alpha / sqrt(r). w is the weight the adapter is given.
 *
 * Source: peft 0.21.2, tuners/lora/layer.py, Linear.get_delta_weight. Here the scale is multiplied into A (into B where
 * transposed), in f64 and rounded to f32, as an exact concatenation of adapters stores it; products are summed in f32 with
 * the rank ascending, those of several adapters in order, and the sum is added to W.
 */
import type { Product } from "../../sources/folded.js";
import type { LoraModule } from "../adapter.js";
import { isConv1d } from "./conv1d.js";
import type { Applied, Seen, Target } from "./kind.js";
import { refuseShape, sameShape } from "./kind.js";

/** The product that a linear layer's weight gets, and how the weight is seen. */
export interface LinearProduct {
  readonly product: Product;
  /** The base stores the weight in x out. */
  readonly transposed: boolean;
  readonly rows: number;
  readonly columns: number;
}

export function linearTerm(applied: Applied, module: LoraModule, target: Target, family: string | null): Seen {
  const { product, rows, columns } = linearProduct(applied, module, target, family);
  return { batch: 1, rows, columns, term: { kind: "product", ...product, scale: applied.weight * product.scale } };
}

/** @param family `model_type` of the base. @throws plan/shape */
export function linearProduct(
  applied: Applied,
  module: LoraModule,
  target: Target,
  family: string | null,
): LinearProduct {
  const { a, b, rank, scaling, path } = module;
  const [out, width] = [b.shape[0]!, a.shape[1]!];
  const transposed = isTransposed(applied, module, target, family);
  const [valuesA, valuesB] = [applied.values(a, path), applied.values(b, path)];
  const common = { scale: scaling, rank };
  if (transposed) {
    const left = { values: valuesA, strides: [0, 1, width] } as const;
    const right = { values: valuesB, strides: [0, rank, 1] } as const;
    return { product: { ...common, left, right }, transposed, rows: width, columns: out };
  }
  const left = { values: valuesB, strides: [0, rank, 1] } as const;
  const right = { values: valuesA, strides: [0, 1, width] } as const;
  return { product: { ...common, left, right }, transposed, rows: out, columns: width };
}

/**
 * Whether the base stores the weight in x out. The shape says so unless it is square; then the config does, or the family,
 * since PEFT's flag is one for all modules.
 */
function isTransposed(applied: Applied, module: LoraModule, target: Target, family: string | null): boolean {
  const { a, b, path, fanInFanOut } = module;
  const [out, width] = [b.shape[0]!, a.shape[1]!];
  const straight = sameShape(target.shape, [out, width]);
  const turned = sameShape(target.shape, [width, out]);
  const known = isConv1d(family, path);
  if (straight && turned) return known ?? fanInFanOut;
  if (straight) return false;
  if (turned && (fanInFanOut || known === true)) return true;
  const advice = turned
    ? "the base stores this weight transposed: set fan_in_fan_out in adapter_config.json if the adapter was trained so"
    : undefined;
  return refuseShape(applied, path, b, target, {
    expected: fanInFanOut ? `[${width}, ${out}] (in, out)` : `[${out}, ${width}] (out, in)`,
    ...(advice !== undefined && { advice }),
  });
}

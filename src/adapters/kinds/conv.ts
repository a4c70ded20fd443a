/**
 * LoRA of a convolution of one to three dimensions, without groups:
 *
 *     W'[o, i, …] = W[o, i, …] + w s Σ_r B[o, r] A[r, i, …]        A: (r, in, …kernel), B: (out, r, 1, …)
 *
 * As matrices, out x in·kernel, this is B A, for kernels of any size.
 * Source: peft 0.21.2, tuners/lora/layer.py, _ConvNd.get_delta_weight.
 */
import type { Product } from "../../sources/folded.js";
import type { LoraModule } from "../adapter.js";
import { refuseShape, sameShape } from "./kind.js";
import type { Applied, Target } from "./kind.js";

export function convProduct(
  applied: Applied,
  { a, b, rank, scaling, path }: LoraModule,
  target: Target,
): { readonly product: Product; readonly rows: number; readonly columns: number } {
  const expected = [b.shape[0]!, ...a.shape.slice(1)];
  if (!sameShape(target.shape, expected)) {
    const grouped = target.shape.length === expected.length && target.shape[1]! < expected[1]!;
    refuseShape(applied, path, a, target, {
      expected: `[${expected.join(", ")}] (out, in, kernel)`,
      ...(grouped && { advice: "the base's convolution has groups, whose LoRA is not supported" }),
    });
  }
  const columns = expected.slice(1).reduce((all, size) => all * size, 1);
  const left = { values: applied.values(b, path), strides: [0, rank, 1] } as const;
  const right = { values: applied.values(a, path), strides: [0, 1, columns] } as const;
  return { product: { scale: scaling, rank, left, right }, rows: expected[0]!, columns };
}

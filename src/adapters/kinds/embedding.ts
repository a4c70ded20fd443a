/**
 * LoRA of an embedding:
 *
 *     W' = W + w s (B A)^T        A: r x tokens, B: dim x r, W: tokens x dim
 *
 * Source: peft 0.21.2, tuners/lora/layer.py, Embedding.get_delta_weight.
 */
import type { Product } from "../../sources/folded.js";
import type { LoraModule } from "../adapter.js";
import { refuseShape, sameShape } from "./kind.js";
import type { Applied, Target } from "./kind.js";

export function embeddingProduct(
  applied: Applied,
  { a, b, rank, scaling, path }: LoraModule,
  target: Target,
): { readonly product: Product; readonly rows: number; readonly columns: number } {
  const [tokens, dim] = [a.shape[1]!, b.shape[0]!];
  if (!sameShape(target.shape, [tokens, dim])) {
    refuseShape(applied, path, a, target, { expected: `[${tokens}, ${dim}] (tokens, dim)` });
  }
  const left = { values: applied.values(a, path), strides: [0, 1, tokens] } as const;
  const right = { values: applied.values(b, path), strides: [0, rank, 1] } as const;
  return { product: { scale: scaling, rank, left, right }, rows: tokens, columns: dim };
}

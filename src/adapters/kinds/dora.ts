/**
 * DoRA (Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation, arXiv 2402.09353), of a linear layer or a convolution or an
 * embedding:
 *
 *     V = W + s B A        W' = m / ‖V‖ · V        with ‖V‖ and m one number per output
 *
 * An output is a row of W (out x in), a column where the base stores W in x out, an output channel of a convolution with all
 * of its kernel, an entry of the embedding's vectors for all tokens (a column).
 *
 * It is no sum of products: several adapters, or weights other than 1, add w (W' - W) each, all over the same W, so that a
 * fold is linear in its weights and does not depend on the order. PEFT merges one after the other, each over the result of
 * the one before, which is another model.
 *
 * Source: peft 0.21.2, tuners/lora/dora.py and variants.py. V is rounded to f32; squares are summed in f64, rows from left
 * to right and columns from top to bottom; m / ‖V‖ · V is computed in f64 and rounded once. An output that is all zeros
 * stays so.
 */
import type { FoldedTerm, Product } from "../../sources/folded.js";
import type { LoraModule } from "../adapter.js";
import type { Applied } from "./kind.js";

export function doraTerm(
  { weight, values }: Applied,
  { magnitude, path }: LoraModule,
  product: Product,
  along: "rows" | "columns",
): FoldedTerm {
  return { kind: "decomposed", weight, product, magnitude: values(magnitude!, path), along };
}

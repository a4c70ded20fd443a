/**
 * (IA)3 (Liu et al., Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning,
 * arXiv 2205.05638): a vector l that multiplies what a layer gives, or what a feed-forward layer gets:
 *
 *     W' = diag(l) W, b' = l b        outputs; by rows, by columns where the base stores W in x out
 *     W' = W diag(l)                  inputs (feed-forward); by columns, each repeated over the kernel of a convolution
 *
 * The change is (l - 1) W, so that with weights W' = (1 + Σ w (l - 1)) W: linear in the weights. PEFT applies several one
 * after the other, which multiplies their vectors; fold them one after the other for that.
 *
 * Taking several out of a folded model divides by the same sum.
 *
 * Source: peft 0.21.2, tuners/ia3/layer.py. The factor is computed in f64, and its product with W rounded once.
 */
import type { FoldedTerm } from "../../sources/folded.js";
import type { Ia3Module } from "../adapter.js";
import { isConv1d } from "./conv1d.js";
import { refuseShape } from "./kind.js";
import type { Applied, Seen, Target } from "./kind.js";

export function ia3Term(applied: Applied, module: Ia3Module, target: Target, family: string | null): Seen {
  const { scale, feedForward, path, fanInFanOut } = module;
  const length = scale.shape.reduce((all, size) => all * size, 1);
  const { shape } = target;
  const rows = shape[0]!;
  const columns = shape.slice(1).reduce((all, size) => all * size, 1);
  const turned = shape.length === 2 && isTurned(feedForward, fanInFanOut, isConv1d(family, path), length, shape);
  const byRows = feedForward === turned;
  const expected = byRows ? rows : shape.length > 2 ? shape[1]! : columns;
  if (length !== expected) {
    refuseShape(applied, path, scale, target, { expected: `${length} ${feedForward ? "inputs" : "outputs"}` });
  }
  const term: FoldedTerm = {
    kind: "scaled",
    weight: applied.weight,
    divides: applied.undo,
    vector: applied.values(scale, path),
    along: byRows ? "rows" : "columns",
    repeat: byRows ? 1 : columns / length,
  };
  return { batch: 1, rows, columns, term };
}

/** The bias of a layer whose outputs are multiplied. */
export function ia3BiasTerm(applied: Applied, { scale, path }: Ia3Module, target: Target): Seen {
  const length = scale.shape.reduce((all, size) => all * size, 1);
  if (target.shape.length !== 1 || target.shape[0] !== length) {
    refuseShape(applied, path, scale, target, { expected: `[${length}]` });
  }
  const vector = applied.values(scale, path);
  const term: FoldedTerm = {
    kind: "scaled",
    weight: applied.weight,
    divides: applied.undo,
    vector,
    along: "columns",
    repeat: 1,
  };
  return { batch: 1, rows: 1, columns: length, term };
}

/** Whether the base stores W in x out: by its shape where that is not square. */
function isTurned(
  feedForward: boolean,
  fanInFanOut: boolean,
  known: boolean | null,
  length: number,
  [rows, columns]: readonly number[],
): boolean {
  if (rows === columns) return known ?? fanInFanOut;
  return feedForward ? length === rows : length === columns;
}

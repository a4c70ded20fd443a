/**
 * LoRA of a parameter that holds the matrices of E experts (PEFT's `target_parameters`). A and B of the experts lie in one
 * tensor each: A as (E, r, in), B as (out, r, E):
 *
 *     W'[e] = W[e] + w s Σ_r B[:, r, e] A[e, r, :]
 *
 * for experts stored (E, out, in), transposed for those stored (E, in, out).
 * Source: peft 0.21.2, tuners/lora/layer.py, ParamWrapper.get_delta_weight.
 */
import type { LoraModule } from "../adapter.js";
import { refuseShape, sameShape } from "./kind.js";
import type { Applied, Seen, Target } from "./kind.js";

/** Families that store experts (E, in, out). */
const TRANSPOSED: ReadonlySet<string> = new Set(["gpt_oss"]);

/** Whether a tensor of the base has the size of a module's change, stored either way. */
export function fitsExperts({ a, b, experts }: LoraModule, shape: readonly number[]): boolean {
  const [out, width] = [b.shape[0]!, a.shape[1]!];
  if (experts === 1 && sameShape(shape, [out, width])) return true;
  return sameShape(shape, [experts, out, width]) || sameShape(shape, [experts, width, out]);
}

export function expertsTerm(applied: Applied, module: LoraModule, target: Target, family: string | null): Seen {
  const { a, b, rank, scaling, experts, path } = module;
  const [out, width] = [b.shape[0]!, a.shape[1]!];
  if (!fitsExperts(module, target.shape)) {
    refuseShape(applied, path, a, target, { expected: `[${experts}, ${out}, ${width}] (experts, out, in)` });
  }
  const straight = target.shape.length === 2 || sameShape(target.shape, [experts, out, width]);
  const turned = out === width ? family !== null && TRANSPOSED.has(family) : !straight;
  const ofA = { values: applied.values(a, path), strides: [rank * width, 1, width] } as const;
  const ofB = { values: applied.values(b, path), strides: [1, rank * experts, experts] } as const;
  const [left, right] = turned ? [ofA, ofB] : [ofB, ofA];
  const [rows, columns] = turned ? [width, out] : [out, width];
  const scale = applied.weight * scaling;
  return { batch: experts, rows, columns, term: { kind: "product", scale, rank, left, right } };
}

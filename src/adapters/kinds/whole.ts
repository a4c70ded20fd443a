/**
 * Values instead of changes: `modules_to_save`, trained biases, resized embeddings (whole tensors), and trained tokens (rows
 * of an embedding). With weights the change is w (values - W), linear in the weights; with one adapter of weight 1 the values
 * are written as they are.
 *
 * Also `lora_bias`, which adds w s b_B to the bias of a layer.
 *
 * Source: peft 0.21.2, utils/other.py (ModulesToSaveWrapper), tuners/trainable_tokens/layer.py, tuners/lora/layer.py.
 */
import type { AdapterTensor, LoraModule, TokensModule } from "../adapter.js";
import { defect } from "../defect.js";
import { refuseShape, sameShape } from "./kind.js";
import type { Applied, Seen, Target } from "./kind.js";

/** Tensors of any shape are seen as a row; matrices as they are, since other terms may see them so. */
export function rowsAndColumns(shape: readonly number[]): { readonly rows: number; readonly columns: number } {
  const all = shape.reduce((product, size) => product * size, 1);
  return shape.length < 2 || all === 0 ? { rows: 1, columns: all } : { rows: shape[0]!, columns: all / shape[0]! };
}

export function wholeTerm(applied: Applied, tensor: AdapterTensor, target: Target): Seen {
  if (!sameShape(tensor.shape, target.shape)) {
    refuseShape(applied, target.name, tensor, target, {
      expected: `[${tensor.shape.join(", ")}]`,
      advice: "an adapter that resized a tensor can only be folded alone, with weight 1",
    });
  }
  const term = { kind: "replaced", weight: applied.weight, values: applied.values(tensor, target.name) } as const;
  return { batch: 1, ...rowsAndColumns(target.shape), term };
}

export function tokensTerm(applied: Applied, { rows, indices, path }: TokensModule, target: Target): Seen {
  const [tokens, dim] = target.shape;
  if (target.shape.length !== 2 || dim !== rows.shape[1]) {
    refuseShape(applied, path, rows, target, { expected: `[tokens, ${rows.shape[1]}]` });
  }
  const outside = indices.find((index) => index >= tokens!);
  if (outside !== undefined) {
    throw defect("plan/shape", "the adapter has a token that the base does not have", {
      where: { file: applied.adapter.label, tensor: rows.key, key: path },
      expected: `tokens below ${tokens}`,
      found: String(outside),
      advice: "give the base that the adapter was trained on, with its vocabulary as it was then",
    });
  }
  const term = { kind: "rows", weight: applied.weight, indices, values: applied.values(rows, path) } as const;
  return { batch: 1, rows: tokens!, columns: dim!, term };
}

export function biasTerm(applied: Applied, { bias, scaling, path }: LoraModule, target: Target): Seen {
  if (!sameShape(bias!.shape, target.shape)) {
    refuseShape(applied, path, bias!, target, { expected: `[${bias!.shape.join(", ")}]` });
  }
  const term = { kind: "added", scale: applied.weight * scaling, values: applied.values(bias!, path) } as const;
  return { batch: 1, rows: 1, columns: bias!.shape[0]!, term };
}

/**
 * What merging updates entry by entry needs of the engine: any method of the catalogue, over named f32 tensors that are
 * computed where they are read. There is no second copy of any method here.
 */
import type { Recipe } from "../recipe/recipe.js";

/** A named f32 tensor, row-major, that is made when it is asked for. */
export interface MadeTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Fills `into` with the entries from `start` on. */
  readonly read: (start: number, into: Float32Array) => void | Promise<void>;
}

/** What stands in the place of one checkpoint. */
export type TensorSet = readonly MadeTensor[];

/**
 * Merges sets as the recipe says, whose `base` and `models` are labels of `sets`. `take` is called once for every tensor
 * of the result, in the order of the first set, before the next is begun.
 * @returns warnings of the plan, and the method's counters.
 */
export type MergeSets = (
  recipe: Recipe,
  sets: ReadonlyMap<string, TensorSet>,
  take: (name: string, data: Float32Array) => void | Promise<void>,
) => Promise<{ readonly warnings: readonly string[]; readonly counters: Readonly<Record<string, number>> }>;

/** A tensor whose entries are there. */
export function heldTensor(name: string, shape: readonly number[], data: Float32Array): MadeTensor {
  return { name, shape, read: (start, into) => into.set(data.subarray(start, start + into.length)) };
}

/** A tensor that holds one value everywhere. */
export function constantTensor(name: string, shape: readonly number[], value: number): MadeTensor {
  return { name, shape, read: (_, into) => void into.fill(value) };
}

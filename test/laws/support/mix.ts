import { gramOf } from "../../../src/kernels/gram/definition.js";
import type { Gram, MixtureMethod, ParameterValue, Vectors } from "../../../src/methods/method.js";
import { vectorsOf } from "../../../src/methods/mixture.js";
import { settingsOf } from "./twin.js";

/** Inner products of these vectors; the last is the base's where that is a member. */
export function gramFrom(vectors: readonly (readonly number[])[], base: Gram["base"] = "none"): Gram {
  return { vectors: vectors.length, base, products: gramOf(vectors.map((values) => Float32Array.from(values))) };
}

/**
 * A method's result for one vector, in f64.
 * @param inputs changes or entries, as the method has it.
 * @param base entries of the base, or `null`.
 */
export function mix(
  method: MixtureMethod,
  inputs: readonly (readonly number[])[],
  {
    base = null,
    given = {},
    own = inputs.map(() => ({})),
  }: {
    readonly base?: readonly number[] | null;
    readonly given?: Readonly<Record<string, ParameterValue>>;
    readonly own?: readonly Readonly<Record<string, ParameterValue>>[];
  } = {},
): number[] {
  const isMember = base !== null && method.inputs === "weights";
  const vectors = isMember ? [...inputs, base] : inputs;
  const gram = gramFrom(vectors, base === null ? "none" : isMember ? "member" : "origin");
  const mixture = method.mix(gram, settingsOf(method, given, own));
  if (typeof mixture === "string") throw new Error(mixture);
  return inputs[0]!.map((_, p) =>
    inputs.reduce((sum, values, i) => sum + values[p]! * mixture.models[i]!, (base?.[p] ?? 0) * mixture.base),
  );
}

/** Positions of each vector of a tensor. */
function vectorPositions(vectors: Vectors, shape: readonly number[], entries: number): number[][] {
  const run = (start: number, length: number) => Array.from({ length }, (_, p) => start + p);
  if (vectors === "tensor") return [run(0, entries)];
  const size = vectors === "row" ? shape.at(-1)! : entries / shape[0]!;
  const rows = run(0, entries / size).map((row) => run(row * size, size));
  return vectors === "row" ? rows : rows[0]!.map((_, p) => rows.map((row) => row[p]!));
}

/** A method's result for a tensor, in f64, vector by vector. */
export function mixTensor(
  method: MixtureMethod,
  shape: readonly number[],
  {
    base,
    inputs,
    given,
  }: {
    readonly base: Float32Array | null;
    readonly inputs: readonly Float32Array[];
    readonly given: Readonly<Record<string, ParameterValue>>;
  },
): Float64Array {
  const changes = base !== null && method.inputs === "changes";
  const seen = changes ? inputs.map((values) => values.map((x, p) => x - base[p]!)) : inputs;
  const settings = settingsOf(
    method,
    given,
    inputs.map(() => ({})),
  );
  const result = new Float64Array(inputs[0]!.length);
  for (const positions of vectorPositions(vectorsOf(method, settings, shape), shape, result.length)) {
    const pick = (values: Float32Array) => positions.map((p) => values[p]!);
    const found = mix(method, seen.map(pick), { given, base: base && pick(base) });
    for (const [at, p] of positions.entries()) result[p] = found[at]!;
  }
  return result;
}

/** Vectors for properties: so many of so many entries, none of them near zero. */
export function vectorsFrom(roll: (below: number) => number, count: number, entries: number): number[][] {
  return Array.from({ length: count }, () =>
    Array.from({ length: entries }, () => (roll(2) === 0 ? 1 : -1) * (0.1 + roll(1000) / 500)),
  );
}

/** Whether two vectors differ by less than a share of the longer. */
export function isClose(a: readonly number[], b: readonly number[], share = 1e-6): boolean {
  const length = (values: readonly number[]) => Math.hypot(...values);
  return length(a.map((x, p) => x - b[p]!)) <= share * Math.max(length(a), length(b), 1e-30);
}

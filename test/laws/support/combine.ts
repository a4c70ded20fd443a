import type { Known, ParameterValue, TileMethod } from "../../../src/methods/method.js";
import { settingsOf } from "./twin.js";

/** The definition of a method on one tile; `inputs` are changes or weights, as the method has it. */
export function combine(
  method: TileMethod,
  base: readonly number[],
  inputs: readonly (readonly number[])[],
  given: Readonly<Record<string, ParameterValue>>,
  own: readonly Readonly<Record<string, ParameterValue>>[] = inputs.map(() => ({})),
  {
    known = {},
    extra = {},
  }: { readonly known?: Known; readonly extra?: Readonly<Record<string, readonly number[]>> } = {},
): number[] {
  const out = new Float32Array(base.length);
  const tile = {
    count: base.length,
    base: Float32Array.from(base),
    inputs: inputs.map((values) => Float32Array.from(values)),
    extra: Object.fromEntries(Object.entries(extra).map(([role, values]) => [role, Float32Array.from(values)])),
    out,
    counters: {},
  };
  method.combine(tile, method.bind(settingsOf(method, given, own), known));
  return [...out];
}

/** The small random models that peers/runtime_fixtures.py writes, with what transformers makes of them. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { openModel } from "../../src/node.js";
import type { Batch, WeightSource } from "../../src/runtime/network.js";
import { weightsOf } from "../../src/runtime/weights.js";

const folder = fileURLToPath(new URL("../../../test/runtime/fixtures", import.meta.url));
export const names = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name) => name.replace(".json", ""));

export interface Fixture {
  readonly config: Readonly<Record<string, unknown>>;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly logits: readonly (readonly number[])[];
  readonly loss: number;
  readonly gradientNorms: Readonly<Record<string, number>>;
}

export const readFixture = (name: string) =>
  JSON.parse(readFileSync(path.join(folder, `${name}.json`), "utf8")) as Fixture;

export function batchOf(inputs: Readonly<Record<string, unknown>>): Batch {
  const integers = (key: string, from = inputs) => Int32Array.from(from[key] as number[]);
  if (inputs["kind"] === "images")
    return { ...inputs, pixels: Float32Array.from(inputs["pixels"] as number[]) } as never;
  const decoder = inputs["decoder"] as Record<string, unknown> | undefined;
  return {
    ...inputs,
    ids: integers("ids"),
    lengths: integers("lengths"),
    ...(inputs["segments"] !== undefined && { segments: integers("segments") }),
    ...(decoder !== undefined && { decoder: { ...decoder, ids: integers("ids", decoder) } }),
  } as never;
}

export async function fixtureWeights(name: string, { config }: Fixture): Promise<WeightSource> {
  const checkpoint = await openModel(path.join(folder, `${name}.safetensors`));
  return { ...weightsOf(checkpoint), config };
}

/** What `lora_bias` adds to a module's bias, s·b_B: merged like the updates, by the same method. */
import { readEntries } from "../adapters/adapter.js";
import { setsOf, withoutExclude } from "./sets.js";
import type { Given } from "./given.js";
import { constantTensor, heldTensor } from "./merging.js";
import type { MadeTensor } from "./merging.js";

/** By path of the module; to be written under scaling 1. */
export type NewBiases = ReadonlyMap<string, Float32Array>;

export async function combineBiases(given: Given): Promise<NewBiases> {
  const { adapters, modules, asked, platform } = given;
  const having = modules.filter(({ parts }) => parts.some((part) => part?.bias != null));
  if (having.length === 0) return new Map();
  const lengths = new Map(having.map(({ path, first }) => [path, first.b.shape[0]!]));
  const held = await Promise.all(
    adapters.map(async (adapter, model) => {
      const own: MadeTensor[] = [];
      for (const { path, parts } of having) {
        const part = parts[model] ?? null;
        const shape = [lengths.get(path)!];
        if (part === null || part.bias === null) own.push(constantTensor(`${path}.bias`, shape, 0));
        else {
          const values = await readEntries(adapter, part.bias, path);
          own.push(
            heldTensor(
              `${path}.bias`,
              shape,
              values.map((value) => value * part.scaling),
            ),
          );
        }
      }
      return own;
    }),
  );
  const zeros = having.map(({ path }) => constantTensor(`${path}.bias`, [lengths.get(path)!], 0));
  const sets = setsOf(asked, (model) => held[model]!, zeros);
  const merged = new Map<string, Float32Array>();
  await platform.mergeSets(withoutExclude(asked.recipe), sets, (name, data) => {
    merged.set(name.slice(0, -".bias".length), data);
  });
  return merged;
}

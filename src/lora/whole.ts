/**
 * What replaces tensors of the base: modules_to_save, trained biases, rows of trained tokens. A replacement is no change
 * that weights could scale, unless the base is known: then it is one, and is merged like any other.
 */
import { readEntries } from "../adapters/adapter.js";
import type { Adapter, AdapterTensor } from "../adapters/adapter.js";
import { defect } from "../adapters/defect.js";
import { copiedTensor, draftTensor } from "../adapters/draft.js";
import type { DraftTensor } from "../adapters/draft.js";
import { readModelTensor } from "./base_tensors.js";
import { setsOf, withoutExclude } from "./sets.js";
import type { Given } from "./given.js";
import { heldTensor } from "./merging.js";

export interface Replacements {
  readonly tensors: readonly DraftTensor[];
  readonly notes: readonly string[];
}

interface Owner {
  readonly adapter: Adapter;
  readonly model: number;
  readonly tensor: AdapterTensor;
}

export async function combineWhole(given: Given): Promise<Replacements> {
  const byName = new Map<string, Owner[]>();
  for (const [model, adapter] of given.adapters.entries()) {
    for (const [name, tensor] of adapter.whole) {
      byName.set(name, [...(byName.get(name) ?? []), { adapter, model, tensor }]);
    }
  }
  const names = [...byName.keys()].sort();
  if (names.length === 0) return { tensors: [], notes: [] };
  if (given.base !== null) return { tensors: await mergeOverBase(given, byName, names), notes: [] };
  const tensors: DraftTensor[] = [];
  for (const name of names) tensors.push(await keepOne(name, byName.get(name)!));
  const several = given.adapters.length > 1;
  const note = `${names.length === 1 ? `${names[0]} replaces a tensor` : `${names.length} tensors replace those`} of the base: kept as they are, since without the base (--base) weights mean nothing for them`;
  return { tensors, notes: several ? [note] : [] };
}

/** The tensor that all owners agree on. */
async function keepOne(name: string, [first, ...others]: readonly Owner[]): Promise<DraftTensor> {
  const kept = await copiedTensor(first!.adapter, first!.tensor, first!.tensor.key);
  for (const { adapter, tensor } of others) {
    const other = await copiedTensor(adapter, tensor, tensor.key);
    const equal = other.dtype === kept.dtype && compareBytes(other.bytes, kept.bytes);
    if (equal) continue;
    throw defect("adapter/base", "two adapters replace the same tensor of the base by different ones", {
      where: { file: adapter.label, tensor: tensor.key },
      expected: `the values that ${first!.adapter.label} has for ${name}, or a base`,
      advice: "give the base (--base), so that the changes from it are merged",
    });
  }
  return kept;
}

function compareBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** As checkpoints are merged: every model's change from the base; none of those that have no such tensor. */
async function mergeOverBase(
  { adapters, asked, base, platform }: Given,
  byName: ReadonlyMap<string, readonly Owner[]>,
  names: readonly string[],
): Promise<DraftTensor[]> {
  const bases = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const name of names) {
    const [{ tensor }] = byName.get(name) as [Owner];
    const wanted = tensor.shape.reduce((product, size) => product * size, 1);
    bases.set(name, await readModelTensor(base!, name, wanted));
  }
  const held = await Promise.all(
    adapters.map((_, model) =>
      Promise.all(
        names.map(async (name) => {
          const { shape, data } = bases.get(name)!;
          const owner = byName.get(name)!.find((candidate) => candidate.model === model);
          return heldTensor(name, shape, owner === undefined ? data : await readEntries(owner.adapter, owner.tensor));
        }),
      ),
    ),
  );
  const sets = setsOf(
    asked,
    (model) => held[model]!,
    names.map((name) => heldTensor(name, bases.get(name)!.shape, bases.get(name)!.data)),
  );
  const tensors: DraftTensor[] = [];
  await platform.mergeSets(withoutExclude(asked.recipe), sets, (name, data) => {
    const [{ tensor }] = byName.get(name) as [Owner];
    tensors.push(draftTensor(tensor.key, tensor.shape, data));
  });
  return tensors;
}

/** Rows of trained tokens, by path of their embedding. */
export interface NewTokens extends Replacements {
  readonly indices: Readonly<Record<string, readonly number[]>>;
}

export async function combineTokens({ adapters }: Given): Promise<NewTokens> {
  const found = new Map<
    string,
    { key: string; dim: number; rows: Map<number, { row: Float32Array; label: string }> }
  >();
  for (const adapter of adapters) {
    for (const { path, indices, rows } of adapter.tokens.values()) {
      const values = await readEntries(adapter, rows, path);
      const dim = rows.shape[1]!;
      const known = found.get(path) ?? { key: rows.key, dim, rows: new Map() };
      found.set(path, known);
      for (const [at, token] of indices.entries()) {
        const row = values.subarray(at * dim, (at + 1) * dim);
        const twin = known.rows.get(token);
        if (twin !== undefined && (known.dim !== dim || !row.every((value, i) => value === twin.row[i]))) {
          throw defect("adapter/base", "two adapters train the same token to different rows", {
            where: { file: adapter.label, tensor: rows.key, key: path },
            expected: `the row that ${twin.label} has for token ${token}`,
            advice: "fold the adapters into the base and merge the models",
          });
        }
        known.rows.set(token, { row, label: adapter.label });
      }
    }
  }
  const indices: Record<string, readonly number[]> = {};
  const tensors = [...found].map(([path, { key, dim, rows }]) => {
    const tokens = [...rows.keys()].sort((a, b) => a - b);
    indices[path] = tokens;
    const data = new Float32Array(tokens.length * dim);
    for (const [at, token] of tokens.entries()) data.set(rows.get(token)!.row, at * dim);
    return draftTensor(key, [tokens.length, dim], data);
  });
  const several = adapters.length > 1 && tensors.length > 0;
  return {
    tensors,
    indices,
    notes: several ? ["rows of trained tokens replace those of the base: kept as they are"] : [],
  };
}

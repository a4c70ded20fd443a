/**
 * (IA)3 vectors merged as the TIES paper does it: the state without an adapter is a vector of ones, so a task vector is
 * l − 1, and any method merges them entry by entry; or, with what was collected of them, as MaTS does (matched_ia3.ts).
 */
import { readEntries } from "../adapters/adapter.js";
import { defect } from "../adapters/defect.js";
import { peftKey } from "../adapters/draft.js";
import type { CombineReport, Given } from "./given.js";
import { pathOf } from "./gather.js";
import { matchIa3 } from "./matched_ia3.js";
import { isSum } from "./methods.js";
import { constantTensor, heldTensor } from "./merging.js";
import type { MadeTensor } from "./merging.js";
import { isPeft } from "./peft/methods.js";
import { setsOf, withoutExclude } from "./sets.js";

/** A vector of the result. */
export interface NewVector {
  readonly path: string;
  readonly key: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
  readonly feedForward: boolean;
}

export interface NewVectors {
  readonly vectors: readonly NewVector[];
  readonly figures: CombineReport["figures"];
  readonly warnings: readonly string[];
}

export async function combineIa3(given: Given): Promise<NewVectors> {
  const { adapters, asked, names, platform } = given;
  const { method, dialect } = asked.recipe;
  if (isPeft(asked.recipe) && method.name !== "linear") {
    throw defect("recipe/unsupported", `PEFT has no ${method.name} for (IA)3`, {
      where: { key: "method" },
      expected: `linear/${dialect}: the weighted sum of the vectors`,
      advice: `leave out the dialect ${dialect}`,
    });
  }
  if (!isPeft(asked.recipe) && isSum(method)) {
    throw defect("recipe/unsupported", `${method.name} is a method of LoRA: (IA)3 has no factors`, {
      where: { key: "method" },
      expected: "a method of the catalogue, e.g. task_arithmetic with lambda 1 for the sum of the changes from one",
      advice: "mergewright methods lists them",
    });
  }
  const shapes = new Map<string, { shape: readonly number[]; feedForward: boolean }>();
  for (const adapter of adapters) {
    for (const { path, scale, feedForward } of adapter.ia3.values()) {
      const name = pathOf(adapter, path, names);
      const known = shapes.get(name);
      if (known === undefined) shapes.set(name, { shape: scale.shape, feedForward });
      else if (String(known.shape) !== String(scale.shape) || known.feedForward !== feedForward) {
        throw defect("adapter/base", "two adapters are of different networks", {
          where: { file: adapter.label, tensor: scale.key, key: path },
          expected: `[${known.shape.join(", ")}]${known.feedForward ? ", feed-forward" : ""}`,
          found: `[${scale.shape.join(", ")}]${feedForward ? ", feed-forward" : ""}`,
          advice: "merge adapters that were trained on the same base",
        });
      }
    }
  }
  const paths = [...shapes.keys()].sort();
  const vectorAt = (path: string, data: Float32Array): NewVector => {
    return { path, key: peftKey(path, "ia3_l"), data, ...shapes.get(path)! };
  };
  if (method.grain === "matrix" && method.statistics !== undefined) {
    const lengths = new Map(paths.map((path) => [path, shapes.get(path)!.shape.reduce((a, b) => a * b, 1)]));
    const { vectors, ...found } = await matchIa3(given, method, lengths);
    return { vectors: [...vectors].map(([path, data]) => vectorAt(path, data)), ...found };
  }
  const held = await Promise.all(
    adapters.map(async (adapter) => {
      const own = new Map<string, Float32Array>();
      for (const { path, scale } of adapter.ia3.values()) {
        own.set(pathOf(adapter, path, names), await readEntries(adapter, scale, path));
      }
      return own;
    }),
  );
  if (isPeft(asked.recipe)) {
    const vectors = paths.map((path) => vectorAt(path, summed(given, path, shapes.get(path)!.shape, held)));
    return { vectors, figures: {}, warnings: [OF_PEFT] };
  }
  const ones = (path: string): MadeTensor => constantTensor(path, shapes.get(path)!.shape, 1);
  const sets = setsOf(
    asked,
    (model) =>
      paths.map((path) => {
        const data = held[model]!.get(path);
        return data === undefined ? ones(path) : heldTensor(path, shapes.get(path)!.shape, data);
      }),
    paths.map(ones),
  );
  const vectors: NewVector[] = [];
  await platform.mergeSets(withoutExclude(asked.recipe), sets, (path, data) => {
    vectors.push(vectorAt(path, data));
  });
  return { vectors, figures: {}, warnings: [] };
}

const OF_PEFT =
  "PEFT adds up the vectors of (IA)3 times their weights, although the one that changes nothing is of ones";

function summed(
  { asked: { recipe } }: Given,
  path: string,
  shape: readonly number[],
  held: readonly ReadonlyMap<string, Float32Array>[],
): Float32Array {
  const { fround } = Math;
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
  for (const [model, { parameters }] of recipe.models.entries()) {
    const weight = fround(Number(parameters["weight"]?.value ?? 1));
    const own = held[model]!.get(path);
    if (own !== undefined) for (const [i, value] of own.entries()) data[i] = data[i]! + fround(value * weight);
  }
  return data;
}

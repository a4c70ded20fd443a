/** Small checkpoints in temporary folders, and merges of them. */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createCrew } from "../../../src/platform/node/crew.js";
import { nodePlatform, openModel } from "../../../src/platform/node/platform.js";
import type { Crew } from "../../../src/execute/crew.js";
import { setupOf, type Tuning } from "../../../src/execute/setup.js";
import { layoutHeader } from "../../../src/formats/safetensors/index.js";
import { openInputs } from "../../../src/inputs.js";
import { mergeModels, type MergeOptions, type MergeResult, type Platform } from "../../../src/merge.js";
import { methods } from "../../../src/methods/catalogue.js";
import { xxh64 } from "../../../src/numbers/checksum.js";
import { narrow, widen } from "../../../src/numbers/convert.js";
import { DTYPE_BYTES, type Dtype, type FloatDtype } from "../../../src/numbers/dtypes.js";
import { makePlan } from "../../../src/plan/plan.js";
import { parseRecipe } from "../../../src/recipe/native.js";
import type { Recipe } from "../../../src/recipe/recipe.js";

export interface TestTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A tensor with these values, rounded to its format. */
export function tensor(
  name: string,
  values: ArrayLike<number>,
  dtype: FloatDtype = "F32",
  shape: readonly number[] = [values.length],
): TestTensor {
  const bytes = new Uint8Array(values.length * DTYPE_BYTES[dtype]);
  narrow(dtype, values instanceof Float32Array ? values : Float32Array.from(values), bytes);
  return { name, dtype, shape, bytes };
}

export function valuesOf({ dtype, bytes }: TestTensor): Float32Array {
  const values = new Float32Array(bytes.length / DTYPE_BYTES[dtype]);
  widen(dtype as FloatDtype, bytes, values);
  return values;
}

/** In memory where there is plenty: hundreds of small merges are mostly waiting for the disk. */
function scratchPlace(): string {
  const shared = "/dev/shm";
  try {
    const { bavail, bsize } = fs.statfsSync(shared);
    return bavail * bsize > 2 ** 31 ? shared : os.tmpdir();
  } catch {
    return os.tmpdir();
  }
}

/** A temporary folder; remove it with `remove`. */
export class Folder {
  readonly path = fs.mkdtempSync(path.join(scratchPlace(), "mergewright-"));
  #next = 0;

  at(name: string): string {
    return path.join(this.path, name);
  }

  /** A path that nothing has yet. */
  fresh(): string {
    return this.at(`out-${this.#next++}`);
  }

  /** Writes a checkpoint of one file, or of several with an index, and returns its path. */
  write(name: string, tensors: readonly TestTensor[], shards = 1): string {
    const folder = this.at(name);
    fs.rmSync(folder, { recursive: true, force: true });
    fs.mkdirSync(folder);
    const weightMap: Record<string, string> = {};
    for (let shard = 0; shard < shards; shard++) {
      const group = tensors.filter((_, index) => index % shards === shard);
      const number = (value: number) => String(value).padStart(5, "0");
      const file = shards === 1 ? "model.safetensors" : `model-${number(shard + 1)}-of-${number(shards)}.safetensors`;
      const layout = layoutHeader(group);
      const bytes = new Uint8Array(layout.fileSize);
      bytes.set(layout.header);
      group.forEach((one, index) => bytes.set(one.bytes, layout.tensors[index]!.offset));
      fs.writeFileSync(path.join(folder, file), bytes);
      for (const one of group) weightMap[one.name] = file;
    }
    if (shards > 1) {
      const text = JSON.stringify({ metadata: {}, weight_map: weightMap });
      fs.writeFileSync(path.join(folder, "model.safetensors.index.json"), text);
    }
    return folder;
  }

  remove(): void {
    fs.rmSync(this.path, { recursive: true, force: true });
  }
}

/** A recipe in the words of the native grammar; JSON is YAML. */
export type RecipeObject = Readonly<Record<string, unknown>>;

export function recipeOf(object: RecipeObject): Recipe {
  return parseRecipe(JSON.stringify(object), { methods });
}

export interface Merged {
  readonly out: string;
  readonly result: MergeResult;
  readonly tensors: ReadonlyMap<string, TestTensor>;
  /** See `fingerprint`. */
  readonly prints: readonly string[];
  /** Widened; of a float tensor. */
  values(name: string): Float32Array;
}

export async function merge(
  object: RecipeObject,
  options: Partial<MergeOptions> & { readonly out: string },
  platform: Platform = nodePlatform,
): Promise<Merged> {
  const result = await mergeModels(recipeOf(object), platform, { threads: 1, ...options });
  const tensors = await readTensors(options.out);
  const prints = fingerprint(tensors.values());
  return { out: options.out, result, tensors, prints, values: (name) => valuesOf(tensors.get(name)!) };
}

/** Node's platform, and the names of the stages that its crews were given. */
export function watched(): { platform: Platform; stages: string[] } {
  const stages: string[] = [];
  const platform: Platform = {
    ...nodePlatform,
    async createCrew(...args) {
      const crew = await nodePlatform.createCrew(...args);
      return wrapCrew(crew, (stage, progress) => {
        if (stage.blocks.length > 0) stages.push(stage.job);
        return crew.run(stage, progress);
      });
    },
  };
  return { platform, stages };
}

/** A crew that does something else with its stages. */
export function wrapCrew(crew: Crew, run: Crew["run"]): Crew {
  return { threads: crew.threads, memory: crew.memory, statistics: crew.statistics, close: () => crew.close(), run };
}

/** Every tensor of a checkpoint, by name, in file order. */
export async function readTensors(folder: string): Promise<Map<string, TestTensor>> {
  const checkpoint = await openModel(folder);
  try {
    const tensors = new Map<string, TestTensor>();
    for (const { name, dtype, shape, shard, offset, length } of checkpoint.tensors.values()) {
      const bytes = new Uint8Array(length);
      await checkpoint.shards[shard]!.source.read(offset, bytes);
      tensors.set(name, { name, dtype, shape, bytes });
    }
    return tensors;
  } finally {
    await checkpoint.close();
  }
}

/** Every tensor with a hash of its bytes, in name order: shards and the order of files do not show. */
export function fingerprint(tensors: Iterable<TestTensor>): readonly string[] {
  return [...tensors]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, dtype, shape, bytes }) => `${name} ${dtype} [${shape.join()}] ${xxh64(bytes)}`);
}

/** Opens the inputs of a recipe and gives a crew with the plan's setup: for tests of single stages. */
export async function withCrew(
  object: RecipeObject,
  { threads, statisticsBytes, tuning }: { threads: number; statisticsBytes: number; tuning?: Tuning },
  use: (crew: Crew, setup: ReturnType<typeof setupOf>) => Promise<void>,
): Promise<void> {
  const recipe = recipeOf(object);
  const inputs = await openInputs(recipe, openModel);
  try {
    const setup = setupOf(makePlan(recipe, inputs), (file) => path.join(os.tmpdir(), "never-written", file), tuning);
    const crew = await createCrew(setup, threads, statisticsBytes);
    try {
      await use(crew, setup);
    } finally {
      await crew.close();
    }
  } finally {
    await inputs.close();
  }
}

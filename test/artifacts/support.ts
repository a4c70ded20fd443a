/** Artifacts of small families, and what they must hold, computed the slow way. */
import fs from "node:fs";
import path from "node:path";
import { openArtifact } from "../../src/artifacts/open.js";
import type { Artifact, OpenArtifactOptions } from "../../src/artifacts/open.js";
import { materialize } from "../../src/artifacts/materialize.js";
import type { MaterializeOptions } from "../../src/artifacts/materialize.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { normals } from "../laws/support/random.js";
import { Folder, readTensors, tensor, valuesOf } from "../laws/support/family.js";
import type { TestTensor } from "../laws/support/family.js";

/** More than a block, no multiple of eight; and a few small ones. */
export const SHAPES: Readonly<Record<string, readonly number[]>> = {
  "layers.0.weight": [3, 90_001],
  "layers.0.bias": [13],
  "layers.1.weight": [8, 8],
  head: [5],
};

export interface Family {
  readonly base: string;
  readonly models: readonly string[];
}

/** Checkpoints whose changes are a tenth of their weights; some entries of every model are the base's. */
export function writeFamily(
  folder: Folder,
  name: string,
  { models, dtype = "BF16", seed = 1 }: { models: number; dtype?: FloatDtype; seed?: number },
): Family {
  const size = (shape: readonly number[]) => shape.reduce((product, side) => product * side, 1);
  const weights = Object.entries(SHAPES).map(
    ([key, shape], index) => [key, shape, normals(size(shape), seed + index, 0.5)] as const,
  );
  const write = (file: string, change: (values: Float32Array, index: number) => Float32Array) =>
    folder.write(
      `${name}-${file}`,
      weights.map(([key, shape, values], index) => tensor(key, change(values, index), dtype, shape)),
    );
  const base = write("base", (values) => values);
  const tuned = Array.from({ length: models }, (_, model) =>
    write(`task${model}`, (values, index) => {
      const changes = normals(values.length, seed + 100 * (model + 1) + index, 0.05);
      return values.map((value, p) => (p % 7 === model % 7 ? value : value + changes[p]!));
    }),
  );
  for (const [model, place] of [base, ...tuned].entries()) {
    fs.writeFileSync(path.join(place, "config.json"), `{ "model_type": "test", "own": ${model} }`);
  }
  fs.writeFileSync(path.join(base, "tokenizer.json"), "{}");
  return { base, models: tuned };
}

export async function floatsOf(place: string): Promise<Map<string, Float32Array>> {
  return new Map([...(await readTensors(place))].map(([name, one]) => [name, valuesOf(one)]));
}

export async function part(artifact: string, folder: string): Promise<Map<string, TestTensor>> {
  return readTensors(path.join(artifact, folder));
}

export function open(label: string, options: OpenArtifactOptions = {}): Promise<Artifact> {
  return openArtifact(label, nodePlatform, options);
}

export function write(label: string, options: Omit<MaterializeOptions, "threads"> & { threads?: number }) {
  return materialize(label, nodePlatform, { threads: 1, ...options });
}

/** Bit for bit; deepEqual takes seconds for as many entries. */
export function sameFloats(found: Float32Array, expected: Float32Array): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);
  return bytes(found).equals(bytes(expected));
}

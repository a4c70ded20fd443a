/** The zoo's models and data, and the numbers that PyTorch has for them. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { openModel } from "../../src/node.js";
import { openNetwork } from "../../src/platform/node/network.js";
import type { ImageBatch, TappedNetwork, WeightSource } from "../../src/runtime/network.js";
import { weightsOf } from "../../src/runtime/weights.js";

const zoo = fileURLToPath(new URL("../../../zoo", import.meta.url));

interface Runtime<T> {
  readonly runtime: T;
}

export interface Reference {
  readonly vision: Runtime<{
    readonly logits_first_4_test_images: Readonly<Record<string, readonly (readonly number[])[]>>;
    readonly first_64_test_images: Readonly<
      Record<string, { readonly mean_cross_entropy: number; readonly mean_entropy: number; readonly correct: number }>
    >;
    readonly hebrew_gradient_first_16_train_images: {
      readonly mean_cross_entropy: number;
      readonly l2_norm_per_tensor: Readonly<Record<string, number>>;
    };
  }>;
  readonly language: Runtime<{
    readonly documents: Readonly<
      Record<
        string,
        {
          readonly input_ids: readonly number[];
          readonly positions: Readonly<
            Record<
              string,
              { readonly logits_0_to_7: readonly number[]; readonly logsumexp: number; readonly argmax: number }
            >
          >;
          readonly mean_nats_per_token: number;
        }
      >
    >;
  }>;
}

export const reference = JSON.parse(readFileSync(path.join(zoo, "reference.json"), "utf8")) as Reference;

/** Weights read into memory, so that nothing stays open. */
export async function zooWeights(name: string): Promise<WeightSource> {
  const checkpoint = await openModel(path.join(zoo, name));
  const weights = weightsOf(checkpoint);
  const tensors = new Map<string, Float32Array>();
  for (const tensor of weights.names) tensors.set(tensor, await weights.tensor(tensor));
  await checkpoint.close();
  return { ...weights, names: [...tensors.keys()], tensor: (tensor) => Promise.resolve(tensors.get(tensor)!) };
}

export async function zooNetwork(name: string, threads = 1): Promise<TappedNetwork> {
  return openNetwork(await zooWeights(name), { threads });
}

/** Images and labels of a task. */
export async function zooImages(
  task: string,
  split: string,
  count: number,
): Promise<{ readonly batch: ImageBatch; readonly labels: Int32Array }> {
  const checkpoint = await openModel(path.join(zoo, "vision", task, "data.safetensors"));
  const read = async (name: string, entries: number) => {
    const { shard, offset } = checkpoint.tensors.get(name)!;
    const bytes = new Uint8Array(entries);
    await checkpoint.shards[shard]!.source.read(offset, bytes);
    return bytes;
  };
  const images = await read(`${split}.images`, count * 784);
  const labels = await read(`${split}.labels`, count);
  await checkpoint.close();
  const pixels = Float32Array.from(images, (value) => (value / 255 - 0.5) / 0.5);
  return {
    batch: { kind: "images", count, channels: 1, height: 28, width: 28, pixels },
    labels: Int32Array.from(labels),
  };
}

export function largestDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) throw new RangeError(`${found.length} numbers instead of ${expected.length}`);
  let largest = 0;
  for (let index = 0; index < found.length; index++) {
    const difference = Math.abs(found[index]! - expected[index]!);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

// A small server-side program around an artifact of Twin-Merging or SMILE: opens one task's model without writing it, and
// names the classes of a few images.
//   mergewright merge --method twin --base zoo/vision/base zoo/vision/mnist zoo/vision/fashion \
//     --exclude 'classifier.*' --heads separate -o twin
//   node examples/routed-inference.ts twin mnist zoo/vision/mnist/data.safetensors      (Node from 22.18 on reads TypeScript)
import process from "node:process";
import { openArtifact, openModel, openNetwork, weightsOf } from "mergewright";

const COUNT = 8;
const SIDE = 28;

const [folder = "twin", task = "mnist", data = "zoo/vision/mnist/data.safetensors"] = process.argv.slice(2);

/** The first images of the test split, scaled as the models were trained: (x / 255 - 0.5) / 0.5. */
async function firstImages(): Promise<Float32Array> {
  const file = await openModel(data);
  const stored = file.tensors.get("test.images")!;
  const bytes = new Uint8Array(COUNT * SIDE * SIDE);
  await file.shards.at(stored.shard)!.source.read(stored.offset, bytes);
  await file.close();
  return Float32Array.from(bytes, (value) => (value / 255 - 0.5) / 0.5);
}

const artifact = await openArtifact(folder);
const { checkpoint } = await artifact.openTask(task);
const network = await openNetwork(weightsOf(checkpoint), { threads: 1 });
const image = { channels: 1, height: SIDE, width: SIDE };
const { values } = await network.logits({ kind: "images", count: COUNT, ...image, pixels: await firstImages() });
const classes = values.length / COUNT;
for (let at = 0; at < COUNT; at++) {
  const scores = values.subarray(at * classes, (at + 1) * classes);
  process.stdout.write(`image ${at}: class ${scores.indexOf(Math.max(...scores))}\n`);
}
await network.close();
await artifact.close();

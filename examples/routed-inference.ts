// A small program around an artifact of Twin-Merging or SMILE: routes a few images to the experts that they need, names their
// classes, and tells which experts they found.
//   mergewright merge --method twin --base zoo/vision/base zoo/vision/mnist zoo/vision/fashion \
//     --exclude 'classifier.*' --heads separate -o twin
//   mergewright collect router twin --tasks examples/vision-tasks.yaml --split train
//   node examples/routed-inference.ts twin mnist zoo/vision/mnist/data.safetensors      (Node from 22.18 on reads TypeScript)
// With --method smile there is no router to train: every layer has gates.
import process from "node:process";
import { openModel, openRouted } from "mergewright";

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

function largest(values: readonly number[]): number {
  return values.indexOf(Math.max(...values));
}

// The head is the task's: whoever asks knows which classes are meant. The experts are found by the images themselves.
const network = await openRouted(folder, { task, threads: 1 });
const { experts } = network;
const image = { channels: 1, height: SIDE, width: SIDE };
const batch = { kind: "images", count: COUNT, ...image, pixels: await firstImages() } as const;
const { values, classes, weights, gates } = await network.logits(batch);

/** Row `at` of a table with so many columns. */
function row(table: Float32Array, at: number, columns: number): readonly number[] {
  return Array.from(table.subarray(at * columns, (at + 1) * columns));
}

/** One share per expert: the router's weights of an image, or how often its tokens chose each, over all layers. */
function sharesOf(at: number): readonly number[] {
  if (weights !== null) return row(weights, at, experts.length);
  const chosen: number[] = [];
  for (const { rows, shares } of gates.values()) {
    const tokens = rows / COUNT;
    for (let token = at * tokens; token < (at + 1) * tokens; token++) {
      chosen.push(largest(row(shares, token, experts.length)));
    }
  }
  return experts.map((_, expert) => chosen.filter((one) => one === expert).length / chosen.length);
}

for (let at = 0; at < COUNT; at++) {
  const shares = sharesOf(at);
  const expert = largest(shares);
  const found = `${experts.at(expert)!} ${(100 * Math.max(...shares)).toFixed(0)} %`;
  process.stdout.write(`image ${at}: class ${largest(row(values, at, classes))}, ${found}\n`);
}
await network.close();

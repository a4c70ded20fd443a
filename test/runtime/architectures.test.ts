/** Every architecture against transformers, on the small random models that peers/runtime_fixtures.py writes. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { openModel } from "../../src/node.js";
import { openNetwork } from "../../src/platform/node/network.js";
import { knownArchitectures } from "../../src/runtime/architectures/known.js";
import type { Batch, WeightSource } from "../../src/runtime/network.js";
import { weightsOf } from "../../src/runtime/weights.js";
import { largestDifference } from "./zoo.js";

const folder = fileURLToPath(new URL("../../../test/runtime/fixtures", import.meta.url));
const names = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name) => name.replace(".json", ""));

interface Fixture {
  readonly config: Readonly<Record<string, unknown>>;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly logits: readonly (readonly number[])[];
  readonly loss: number;
  readonly gradientNorms: Readonly<Record<string, number>>;
}

const readFixture = (name: string) => JSON.parse(readFileSync(path.join(folder, `${name}.json`), "utf8")) as Fixture;

function batchOf(inputs: Readonly<Record<string, unknown>>): Batch {
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

async function fixtureWeights(name: string, { config }: Fixture): Promise<WeightSource> {
  const checkpoint = await openModel(path.join(folder, `${name}.safetensors`));
  return { ...weightsOf(checkpoint), config };
}

describe("an architecture gives transformers' logits, loss and gradient norms:", () => {
  for (const name of names) {
    it(name, async () => {
      const fixture = readFixture(name);
      const network = await openNetwork(await fixtureWeights(name, fixture), { threads: 1 });
      try {
        const batch = batchOf(fixture.inputs);
        const { rows, classes, values } = await network.logits(batch);
        assert.deepEqual([rows, classes], [fixture.logits.length, fixture.logits[0]!.length]);
        const difference = largestDifference(values, fixture.logits.flat());
        assert.ok(difference < 1e-5, `logits differ by ${difference}`);
        const targets = Int32Array.from({ length: rows }, (_, row) => row % classes);
        const { loss, parameters } = await network.gradients(batch, { kind: "cross-entropy", targets });
        assert.ok(Math.abs(loss - fixture.loss) < 2e-6, `${loss} ${fixture.loss}`);
        for (const [tensor, expected] of Object.entries(fixture.gradientNorms)) {
          const norm = Math.hypot(...(parameters.get(tensor) ?? [NaN]));
          assert.ok(Math.abs(norm - expected) < 2e-5 * expected + 1e-6, `${tensor}: ${norm} instead of ${expected}`);
        }
        assert.deepEqual([...parameters.keys()].sort(), Object.keys(fixture.gradientNorms).sort());
      } finally {
        await network.close();
      }
    });
  }

  it("and none is untested", () => {
    const tested = new Set(names.flatMap((name) => readFixture(name).config["architectures"] as string[]));
    // These two are other names for definitions that are tested.
    for (const same of ["CLIPModel", "MT5ForConditionalGeneration"]) tested.add(same);
    assert.deepEqual(
      knownArchitectures().filter((name) => !tested.has(name)),
      [],
    );
  });
});

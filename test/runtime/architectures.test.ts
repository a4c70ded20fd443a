/** Every architecture against transformers, on the small random models that peers/runtime_fixtures.py writes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openNetwork } from "../../src/platform/node/network.js";
import { knownArchitectures } from "../../src/runtime/architectures/known.js";
import type { WeightSource } from "../../src/runtime/network.js";
import { batchOf, fixtureWeights, names, readFixture } from "./fixtures.js";
import { largestDifference } from "./zoo.js";

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

  it("a zero-shot head over CLIP, whose rows are taken as they are", async () => {
    const fixture = readFixture("clip");
    const weights = await fixtureWeights("clip", fixture);
    const texts = Float32Array.from({ length: 30 }, (_, index) => Math.sin(index));
    const head: WeightSource = {
      label: "texts",
      config: null,
      names: ["classifier.weight"],
      shape: (name) => (name === "classifier.weight" ? [3, 10] : undefined),
      tensor: () => Promise.resolve(texts),
    };
    const whole = { ...weights, config: { architectures: ["CLIPModel"], vision_config: fixture.config } };
    const network = await openNetwork(whole, { threads: 1, head });
    const { classes, values } = await network.logits(batchOf(fixture.inputs));
    await network.close();
    const expected = fixture.logits.flatMap((embedding) => {
      const length = Math.hypot(...embedding);
      return [0, 1, 2].map((text) => embedding.reduce((sum, x, at) => sum + (x / length) * texts[text * 10 + at]!, 0));
    });
    assert.equal(classes, 3);
    assert.ok(largestDifference(values, expected) < 1e-6);
  });

  it("GPT-2 as its first checkpoints name their tensors", async () => {
    const fixture = readFixture("gpt2");
    const weights = await fixtureWeights("gpt2", fixture);
    const named = (name: string) => `transformer.${name}`;
    const network = await openNetwork(
      {
        ...weights,
        names: [...weights.names].map((name) => name.replace("transformer.", "")),
        shape: (name) => weights.shape(named(name)),
        tensor: (name) => weights.tensor(named(name)),
      },
      { threads: 1 },
    );
    const { values } = await network.logits(batchOf(fixture.inputs));
    assert.ok(largestDifference(values, fixture.logits.flat()) < 1e-5);
    assert.ok(network.parameters.includes("wte.weight"));
    await network.close();
  });

  it("and none is untested", () => {
    const tested = new Set(names.flatMap((name) => readFixture(name).config["architectures"] as string[]));
    // CLIP's is tested with its head; mT5 is T5 with other numbers.
    for (const same of ["CLIPModel", "MT5ForConditionalGeneration"]) tested.add(same);
    assert.deepEqual(
      knownArchitectures().filter((name) => !tested.has(name)),
      [],
    );
  });
});

/** The zoo's Llama against PyTorch's numbers. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Network, TextBatch } from "../../src/runtime/network.js";
import { IGNORED } from "../../src/runtime/network.js";
import { openNetwork } from "../../src/platform/node/network.js";
import { largestDifference, reference, zooNetwork, zooWeights } from "./zoo.js";

describe("a Llama", () => {
  let network: Network;
  let threaded: Network;
  before(async () => {
    network = await zooNetwork("language/base");
    threaded = await zooNetwork("language/base", 2);
  });
  after(async () => {
    await network.close();
    await threaded.close();
  });

  for (const [name, expected] of Object.entries(reference.language.runtime.documents)) {
    const length = expected.input_ids.length;
    const text: TextBatch = {
      kind: "text",
      count: 1,
      length,
      ids: Int32Array.from(expected.input_ids),
      lengths: Int32Array.of(length),
    };
    it(`gives the logits of ${name}`, async () => {
      const places = Object.keys(expected.positions).map(Number);
      const { rows, classes, values } = await network.logits({ ...text, positions: Int32Array.from(places) });
      assert.deepEqual([rows, classes], [places.length, 4096]);
      for (const [row, place] of places.entries()) {
        const { logits_0_to_7, logsumexp, argmax } = expected.positions[place]!;
        const logits = values.slice(row * classes, (row + 1) * classes);
        // The reference is written to five places.
        assert.ok(largestDifference(logits.slice(0, 8), logits_0_to_7) < 3e-5);
        const top = Math.max(...logits);
        assert.equal(logits.indexOf(top), argmax);
        const sum = logits.reduce((total, logit) => total + Math.exp(logit - top), 0);
        assert.ok(Math.abs(top + Math.log(sum) - logsumexp) < 1e-5);
      }
    });

    it(`gives the nats per token of ${name}`, async () => {
      const targets = Int32Array.from({ length }, (_, place) => expected.input_ids[place + 1] ?? IGNORED);
      const losses = await network.losses(text, targets);
      assert.equal(losses.at(-1), 0);
      const mean = losses.reduce((sum, loss) => sum + loss, 0) / (length - 1);
      assert.ok(Math.abs(mean - expected.mean_nats_per_token) < 3e-6, String(mean));
      const { loss } = await network.gradients(text, { kind: "cross-entropy", targets }, ["model.norm.weight"]);
      assert.ok(Math.abs(loss - mean) < 1e-6);
    });
  }

  const batch: TextBatch = {
    kind: "text",
    count: 5,
    length: 12,
    ids: Int32Array.from({ length: 60 }, (_, index) => (index * 977) % 4096),
    lengths: Int32Array.of(12, 7, 12, 3, 9),
  };
  const targets = Int32Array.from({ length: 60 }, (_, row) =>
    row % 12 < batch.lengths[Math.floor(row / 12)]! ? 5 : -1,
  );

  it("gives the same bits for one thread and two, for any batch and any choice of positions", async () => {
    const all = await network.logits(batch);
    assert.deepEqual(await threaded.logits(batch), all);
    const alone = await network.logits({ ...batch, count: 1, ids: batch.ids.slice(12, 24), lengths: Int32Array.of(7) });
    assert.deepEqual(alone.values.slice(0, 7 * 4096), all.values.slice(12 * 4096, 19 * 4096));
    const chosen = await threaded.logits({ ...batch, positions: Int32Array.of(3, 12, 59) });
    const expected = [3, 12, 59].flatMap((row) => [...all.values.slice(row * 4096, (row + 1) * 4096)]);
    assert.deepEqual([...chosen.values], expected);
    const goal = { kind: "cross-entropy", targets } as const;
    assert.deepEqual(await threaded.gradients(batch, goal), await network.gradients(batch, goal));
  });

  it("writes logits into memory that it is given, as far as they reach", async () => {
    const into = new Float32Array(60 * 4096 + 1).fill(7);
    const { values, ...shape } = await threaded.logits(batch, into);
    assert.equal(values.buffer, into.buffer);
    assert.deepEqual({ values, ...shape }, await network.logits(batch));
    assert.equal(into.at(-1), 7);
  });

  for (const threads of [2, 3]) {
    it(`gives the same bits for one text that ${threads} threads run together`, async () => {
      const length = 149;
      const ids = Int32Array.from({ length }, (_, index) => (index * 977) % 4096);
      const text: TextBatch = { kind: "text", count: 1, length, ids, lengths: Int32Array.of(length) };
      const together = await zooNetwork("language/base", threads);
      assert.deepEqual(await together.logits(text), await network.logits(text));
      const goal = { kind: "cross-entropy", targets: ids } as const;
      assert.deepEqual(await together.gradients(text, goal), await network.gradients(text, goal));
      await together.close();
    });
  }

  for (const threads of [1, 2]) {
    it(`tells how far a long call is, with ${threads} threads`, async () => {
      const shares: number[] = [];
      const [count, length] = [2, 512];
      const ids = Int32Array.from({ length: count * length }, (_, index) => (index * 977) % 4096);
      const watched = await openNetwork(await zooWeights("language/base"), {
        threads,
        progress: (share) => shares.push(share),
      });
      const text = { kind: "text", count, length, ids, lengths: new Int32Array(count).fill(length) } as const;
      await watched.gradients(text, { kind: "cross-entropy", targets: ids });
      await watched.close();
      assert.ok(shares.length > 0 && shares[0]! >= 0 && shares.at(-1)! <= 1, `${shares.length} reports`);
      assert.deepEqual(
        shares,
        shares.toSorted((a, b) => a - b),
      );
    });
  }

  it("gives of chosen parameters the gradients that it gives of all", async () => {
    const goal = { kind: "cross-entropy", targets } as const;
    const all = await network.gradients(batch, goal);
    const names = [
      "model.layers.3.mlp.up_proj.weight",
      "model.embed_tokens.weight",
      "model.layers.5.self_attn.k_proj.weight",
    ];
    const some = await network.gradients(batch, goal, names);
    assert.equal(some.loss, all.loss);
    for (const name of names) assert.deepEqual(some.parameters.get(name), all.parameters.get(name));
    assert.equal(some.parameters.size, 3);
  });
});

/** Exact match without generating: the same answers as greedy generation; fixtures by peers/data_fixtures.py. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { evaluate } from "../../src/browser.js";
import { openModel } from "../../src/platform/node/platform.js";
import { openNetwork } from "../../src/platform/node/network.js";
import { weightsOf } from "../../src/runtime/weights.js";
import { openEncoder } from "../../src/evaluate/encoder.js";
import { root } from "../cli/support.js";
import { text } from "./support.js";

const { config, cases } = JSON.parse(readFileSync(path.join(root, "test/evaluate/fixtures/greedy.json"), "utf8"));

/** Words w0, w2 … are the tokens, 1 ends a text. */
const TOKENIZER = {
  version: "1.0",
  added_tokens: [
    { id: 1, content: "</s>", special: true, single_word: false, lstrip: false, rstrip: false, normalized: false },
  ],
  pre_tokenizer: { type: "WhitespaceSplit" },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "</s>", type_id: 0 } }],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 0 } }],
    special_tokens: { "</s>": { id: "</s>", ids: [1], tokens: ["</s>"] } },
  },
  model: {
    type: "WordLevel",
    unk_token: "w0",
    vocab: Object.fromEntries(Array.from({ length: 53 }, (_, id) => [id === 1 ? "</s>" : `w${id}`, id])),
  },
};

const words = (ids: readonly number[]) => ids.map((id) => `w${id}`).join(" ");
const T5 = {
  "config.json": text(config),
  "model.safetensors": new Uint8Array(readFileSync(path.join(root, "test/runtime/fixtures/t5.safetensors"))),
  "tokenizer.json": text(TOKENIZER),
  "tokenizer_config.json": text({ tokenizer_class: "PreTrainedTokenizerFast" }),
};

async function exactMatch(examples: readonly object[], end = "none") {
  const data = { "d.json": text({ test: examples }) };
  const tasks = `tasks: [{name: t, type: text-to-text, data: d.json, end: ${end}}]`;
  const [task] = (await evaluate("m", { m: T5 }, { tasks, data })).tasks;
  return task!;
}

describe("an encoder-decoder model", () => {
  it("writes what transformers' greedy generation writes, and nothing else", async () => {
    const right = cases.map(({ input, said }: Case) => ({ input: words(input), target: words(said) }));
    const { metric, correct, total } = await exactMatch(right);
    assert.deepEqual([metric, correct, total], ["exact_match", cases.length, cases.length]);
    for (const place of [0, 3, 5]) {
      const wrong = cases.map(({ input, said }: Case) => {
        const other = said.map((id, at) => (at === place ? (id + 1) % 50 : id));
        return { input: words(input), target: words(other) };
      });
      assert.equal((await exactMatch(wrong)).correct, 0, `wrong at ${place}`);
    }
    // It goes on where the text should end.
    assert.equal((await exactMatch(right, "</s>")).correct, 0);
  });
});

interface Case {
  readonly input: readonly number[];
  readonly said: readonly number[];
}

describe("a decoder", () => {
  it("writes what it would generate token by token", async () => {
    const label = path.join(root, "zoo/language/french");
    const model = await openModel(label);
    const network = await openNetwork(weightsOf(model), { threads: 1 });
    const encoder = await openEncoder({ name: "t", type: "command" } as never, model);
    const examples: { input: string; target: string }[] = [];
    for (const input of ["Cette page de manuel", "Le fichier de configuration est", "Renvoie la valeur"]) {
      const ids = [0, ...encoder.encode(input)];
      const before = ids.length;
      for (let step = 0; step < 5; step++) {
        const positions = Int32Array.of(ids.length - 1);
        const batch = { count: 1, length: ids.length, ids: Int32Array.from(ids), lengths: Int32Array.of(ids.length) };
        const { values } = await network.logits({ kind: "text", ...batch, positions });
        ids.push(values.indexOf(Math.max(...values)));
      }
      const target = encoder.decode(ids.slice(before));
      // Only texts that are split again as they were written can be told.
      const again = [0, ...encoder.encode(input + (/^\s/.test(target) ? "" : " ") + target)];
      if (again.join() === ids.join()) examples.push({ input, target });
    }
    await network.close();
    await model.close();
    assert.ok(examples.length > 0);
    const names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"];
    const shards = Array.from({ length: 4 }, (_, at) => `model-0000${at + 1}-of-00004.safetensors`);
    const files = [...names, ...shards].map((name) => [name, new Uint8Array(readFileSync(path.join(label, name)))]);
    const swapped = examples.map(({ input, target }) => ({ input, target: `${target} !` }));
    const data = { "d.json": text({ test: examples, val: swapped }) };
    const tasks = "tasks: [{name: t, type: text-to-text, data: d.json, end: none}]";
    const count = async (split: string) =>
      (await evaluate("m", { m: Object.fromEntries(files) }, { tasks, data, split })).tasks[0]!.correct;
    assert.deepEqual([await count("test"), await count("val")], [examples.length, 0]);
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Checkpoint, StoredTensor } from "./model.js";
import { withOwnHeads } from "./untied.js";

const EMBEDDING = "model.embed_tokens.weight";
const HEAD = "lm_head.weight";

function checkpoint(config: string | null, ...names: readonly string[]): Checkpoint {
  const tensors = names.map((name, index): [string, StoredTensor] => {
    return [name, { name, dtype: "F32", shape: [8, 2], offset: 64 * index, length: 64, shard: 0 }];
  });
  return {
    label: "m",
    name: "m",
    location: "",
    shards: [],
    tensors: new Map(tensors),
    config: config === null ? null : (JSON.parse(config) as Checkpoint["config"]),
    configText: config,
    sideFiles: [],
    notes: [],
    close: () => Promise.resolve(),
  };
}

const TIED = '{"model_type": "llama", "tie_word_embeddings": true, "eps": 1e-06}';
const UNTIED = '{"model_type": "llama", "tie_word_embeddings": false}';

describe("heads of tied and untied checkpoints", () => {
  it("are the embedding for a tied one, whose config then says that they are two", () => {
    const [tied, untied] = withOwnHeads([checkpoint(TIED, EMBEDDING), checkpoint(UNTIED, EMBEDDING, HEAD)]);
    assert.deepEqual(tied!.tensors.get(HEAD), { ...tied!.tensors.get(EMBEDDING)!, name: HEAD });
    assert.equal(tied!.configText, '{"model_type": "llama", "tie_word_embeddings": false, "eps": 1e-06}');
    assert.equal(tied!.config!["tie_word_embeddings"], false);
    assert.match(tied!.notes.join(), /the result has one/);
    assert.deepEqual([...untied!.tensors.keys()], [EMBEDDING, HEAD]);
  });

  it("stay as they are where a tied checkpoint stores a copy", () => {
    const [tied] = withOwnHeads([checkpoint(TIED, EMBEDDING, HEAD), checkpoint(UNTIED, EMBEDDING, HEAD)]);
    assert.equal(tied!.tensors.get(HEAD)!.offset, 64);
    assert.equal(tied!.config!["tie_word_embeddings"], false);
  });

  it("are left alone where all are tied, all are untied, or nothing is said", () => {
    for (const configs of [
      [TIED, TIED],
      [UNTIED, UNTIED],
      [TIED, null],
    ] as const) {
      const all = configs.map((config) => checkpoint(config, EMBEDDING, ...(config === TIED ? [] : [HEAD])));
      for (const [index, seen] of withOwnHeads(all).entries()) assert.equal(seen, all[index]);
    }
  });

  it("are told where the config of the language model inside says so, or the family's default", () => {
    const inner = '{"model_type": "x_vl", "text_config": {"tie_word_embeddings": true}}';
    const [seen] = withOwnHeads([checkpoint(inner, EMBEDDING), checkpoint(UNTIED, EMBEDDING, HEAD)]);
    assert.deepEqual(seen!.config, {
      tie_word_embeddings: false,
      model_type: "x_vl",
      text_config: { tie_word_embeddings: false },
    });
    const family = '{\n  "model_type": "gemma"\n}';
    const [gemma] = withOwnHeads([checkpoint(family, EMBEDDING), checkpoint(UNTIED, EMBEDDING, HEAD)]);
    assert.equal(gemma!.configText, '{\n  "tie_word_embeddings": false,\n  "model_type": "gemma"\n}');
  });

  it("never part what is always one", () => {
    const t5 = '{"model_type": "t5", "tie_word_embeddings": true}';
    const shared = ["shared.weight", "encoder.embed_tokens.weight"];
    const untied = '{"model_type": "t5", "tie_word_embeddings": false}';
    const [seen] = withOwnHeads([checkpoint(t5, ...shared), checkpoint(untied, ...shared, HEAD)]);
    assert.deepEqual([...seen!.tensors.keys()], [...shared, HEAD]);
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { shardName } from "../formats/safetensors/shard.js";
import { isPickle, isSideFile, modelName, shardNumber, USUAL_SIDE_FILES } from "./files.js";
import { isPlainName } from "./folder.js";

describe("files that travel with the weights", () => {
  const travel = [
    ...USUAL_SIDE_FILES,
    "tokenizer.model.v3",
    "additional_chat_templates/tool_use.jinja",
    "image_processor.json",
    "feature_extractor_config.json",
    "normalizer.json",
    "qwen.tiktoken",
    "source.spm",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
  ].filter((name) => name !== "tokenizer.model.v3");
  for (const name of travel) it(name, () => assert.ok(isSideFile(name)));

  const stay = [
    "config.json",
    "README.md",
    "LICENSE",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "modeling_custom.py",
    "tokenization_custom.py",
    "tokenizer.py",
    ".gitattributes",
    ".tokenizer.json",
    ".hidden.model",
    "adapter_config.json",
    "trainer_state.json",
    "text.json",
    "additional_chat_templates/run.py",
    "additional_chat_templates/../tokenizer.json",
    "sub/tokenizer.json",
    "../tokenizer.json",
    "tokenizer/../../x.json",
  ];
  for (const name of stay) it(`not ${name}`, () => assert.ok(!isSideFile(name)));
});

describe("pickles", () => {
  for (const name of [
    "pytorch_model.bin",
    "pytorch_model-00001-of-00002.bin",
    "a.pt",
    "a.pth",
    "A.CKPT",
    "x.pkl",
    "pytorch_model.bin.index.json",
  ]) {
    it(name, () => assert.ok(isPickle(name)));
  }
  for (const name of ["model.safetensors", "model.safetensors.index.json", "binary.txt", "bin"]) {
    it(`not ${name}`, () => assert.ok(!isPickle(name)));
  }
});

describe("plain names", () => {
  for (const name of ["model.safetensors", "a b", ".hidden", "..a", "é", "model-00001-of-00002.safetensors"]) {
    it(JSON.stringify(name), () => assert.ok(isPlainName(name)));
  }
  const others = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "..\\a",
    "C:a",
    "a:stream",
    "a\u0000",
    "a\nb",
    "\u009b1m",
    "x".repeat(256),
  ];
  for (const name of others) it(`not ${JSON.stringify(name.slice(0, 20))}`, () => assert.ok(!isPlainName(name)));
});

describe("shard numbers", () => {
  it("are read as they are written", () => {
    assert.equal(shardName("model", 2, 12), "model-00002-of-00012.safetensors");
    assert.deepEqual(shardNumber("model-00002-of-00012.safetensors"), { stem: "model", shard: 2, of: 12 });
    assert.equal(shardNumber("model.safetensors"), null);
    assert.equal(shardNumber("model-2-of-12.safetensors"), null);
  });
});

describe("the name of a model", () => {
  const cases: readonly [label: string, name: string][] = [
    ["models/llama-fr", "llama-fr"],
    ["models/llama-fr/", "llama-fr"],
    ["./llama-fr/.", "llama-fr"],
    ["C:\\models\\llama-fr", "llama-fr"],
    ["models/style.safetensors", "style"],
    ["~/hub/models--org--llama-fr", "llama-fr"],
    ["~/hub/models--gpt2", "gpt2"],
    ["~/hub/models--org--llama-fr/snapshots/0123abcd", "llama-fr"],
    ["work/snapshots/step-100", "step-100"],
    ["https://huggingface.co/org/llama-fr/resolve/main", "llama-fr"],
    ["https://huggingface.co/org/llama-fr/resolve/main/", "llama-fr"],
    ["https://example.org/llama-fr?token=secret", "llama-fr"],
    ["/", "model"],
  ];
  for (const [label, name] of cases) it(`${label} is ${name}`, () => assert.equal(modelName(label), name));
});

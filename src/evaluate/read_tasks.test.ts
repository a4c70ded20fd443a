import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { parseTasks } from "./read_tasks.js";

const wrong = (text: string) => {
  try {
    parseTasks(text, "tasks.yaml");
  } catch (error) {
    assert.ok(error instanceof MergewrightError);
    return error;
  }
  return assert.fail("no error");
};

describe("tasks in YAML", () => {
  it("the short forms, with every default", () => {
    const tasks = parseTasks(
      "tasks:\n" +
        "  - {name: mnist, type: image-classification, data: m.safetensors, head: zoo/mnist}\n" +
        "  - {name: french, type: language-modelling, data: f.json}\n" +
        "  - {name: quiz, type: multiple-choice, data: q.json}\n" +
        "  - {name: mood, type: sequence-classification, data: s.json}\n" +
        "  - {name: own, type: command, command: ./score.sh}\n",
    );
    assert.deepEqual(tasks, [
      {
        name: "mnist",
        type: "image-classification",
        data: "m.safetensors",
        columns: null,
        head: "zoo/mnist",
        classes: null,
        normalise: null,
      },
      {
        name: "french",
        type: "language-modelling",
        data: "f.json",
        columns: null,
        window: 256,
        stride: 256,
        begin: { kind: "model" },
      },
      {
        name: "quiz",
        type: "multiple-choice",
        data: "q.json",
        columns: null,
        likelihood: "sum",
        begin: { kind: "model" },
      },
      {
        name: "mood",
        type: "sequence-classification",
        data: "s.json",
        columns: null,
        head: null,
        classes: null,
        longest: null,
      },
      { name: "own", type: "command", command: "./score.sh", timeout: 600, metric: "score", better: "higher" },
    ]);
  });

  it("every key", () => {
    const tasks = parseTasks(
      [
        "tasks:",
        "- name: a",
        "  type: image-classification",
        "  data: a.safetensors",
        "  classes: 12",
        "  normalise: {scale: 0.5, mean: [0.1, 0.2, 0.3], std: 2}",
        "- {name: b, type: language-modelling, data: b.json, window: 128, stride: 64, begin: <s>}",
        "- {name: c, type: multiple-choice, data: c.json, likelihood: per-byte, begin: none}",
        "- {name: t, type: text-to-text, data: 't-{split}.jsonl', columns: {input: source}, begin: none, end: </s>}",
        "- {name: d, type: sequence-classification, data: d.json, head: h, classes: 3, longest: 64}",
        "- {name: e, type: command, command: [python, score.py, '{model}'], timeout: 1.5, metric: BLEU, better: lower}",
      ].join("\n"),
    );
    assert.deepEqual(tasks, [
      {
        name: "a",
        type: "image-classification",
        data: "a.safetensors",
        columns: null,
        head: null,
        classes: 12,
        normalise: { scale: 0.5, mean: [0.1, 0.2, 0.3], std: [2] },
      },
      {
        name: "b",
        type: "language-modelling",
        data: "b.json",
        columns: null,
        window: 128,
        stride: 64,
        begin: { kind: "token", text: "<s>" },
      },
      {
        name: "c",
        type: "multiple-choice",
        data: "c.json",
        columns: null,
        likelihood: "per-byte",
        begin: { kind: "none" },
      },
      {
        name: "t",
        type: "text-to-text",
        data: "t-{split}.jsonl",
        columns: { input: "source" },
        begin: { kind: "none" },
        end: { kind: "token", text: "</s>" },
      },
      { name: "d", type: "sequence-classification", data: "d.json", columns: null, head: "h", classes: 3, longest: 64 },
      {
        name: "e",
        type: "command",
        command: ["python", "score.py", "{model}"],
        timeout: 1.5,
        metric: "BLEU",
        better: "lower",
      },
    ]);
  });

  it("names line, column and key of everything wrong, at once", () => {
    const error = wrong(
      "tasks:\n" +
        "  - {name: a, type: image-classification, dat: x}\n" +
        "  - {name: a, type: language-modelling, data: y, window: 1, stride: 0}\n" +
        "  - {name: c, type: image-clasification, data: z}\n",
    );
    assert.match(
      error.message,
      /unknown key "dat"\n {2}where: {4}tasks\.yaml:2:43, tasks\.0\.dat\n.*\n {2}do: {7}write data/,
    );
    assert.match(error.message, /tasks\.0 has no "data"\n {2}where: {4}tasks\.yaml:2:5/);
    assert.match(error.message, /tasks\.1\.window is out of range\n {2}where: {4}tasks\.yaml:3:/);
    assert.match(error.message, /tasks\.1\.stride is out of range/);
    assert.match(
      error.message,
      /"image-clasification" is no value of tasks\.2\.type[^]*do: {7}write image-classification/,
    );
  });

  it("a name twice, a file without tasks, no tasks, no YAML, a merge in the place of a path", () => {
    const twice =
      "tasks:\n- {name: a, type: language-modelling, data: y}\n- {name: a, type: language-modelling, data: y}";
    assert.match(wrong(twice).message, /tasks\.1\.name is out of range[^]*a name of its own/);
    assert.match(wrong("method: ties").message, /unknown key "method"[^]*the file has no "tasks"/);
    assert.match(wrong("tasks: []").message, /a list of tasks, one or more/);
    assert.match(wrong("").message, /tasks is of the wrong type[^]*found: {4}nothing/);
    assert.match(wrong("tasks: [").message, /^the tasks file is not valid YAML/);
    const merge = "tasks: [{name: a, type: language-modelling, data: {merge: {method: average}}}]";
    assert.match(wrong(merge).message, /a path or address, not a merge/);
  });

  it("a command that is neither a line nor a list of words", () => {
    for (const command of ["[]", "{a: b}", "''", "7", "[a, [b]]"]) {
      assert.match(wrong(`tasks: [{name: a, type: command, command: ${command}}]`).message, /tasks\.0\.command/);
    }
  });
});

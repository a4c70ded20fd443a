/** mergewright eval on the zoo: what the reference implementation counts, mistakes, programs as scorers. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { mergewright, outcomeOf, root, scratch } from "./support.js";

const at = scratch(after);
process.env["MERGEWRIGHT_CACHE"] = at("cache");

const reference = JSON.parse(readFileSync(path.join(root, "zoo", "reference.json"), "utf8"));
const TASKS: readonly string[] = reference.vision.tasks;

function tasksFile(name: string, lines: readonly string[]): string {
  writeFileSync(at(name), `tasks:\n${lines.map((line) => `  - ${line}\n`).join("")}`);
  return at(name);
}

const imageTask = (name: string, head = `, head: zoo/vision/${name}`) =>
  `{name: ${name}, type: image-classification, data: zoo/vision/${name}/data.safetensors${head}}`;

describe("mergewright eval", () => {
  it("counts a model's right answers as the reference does, once", async () => {
    const tasks = tasksFile("one.yaml", [imageTask("hebrew")]);
    const { json } = await outcomeOf("eval", "zoo/vision/hebrew", "--tasks", tasks);
    const [task] = json.tasks;
    const expected = reference.vision.rows.individual.correct[TASKS.indexOf("hebrew")];
    assert.ok(Math.abs(task.correct - expected) <= 2, `${task.correct} beside ${expected}`);
    assert.deepEqual([task.name, task.metric, task.total, task.cached], ["hebrew", "accuracy", 600, false]);
    assert.equal(json.mean, task.value);
    const again = await outcomeOf("eval", "zoo/vision/hebrew", "--tasks", tasks);
    assert.deepEqual([again.json.tasks[0].cached, again.json.tasks[0].correct], [true, task.correct]);
  });

  it("prints a table, and writes it with the numbers where asked", async () => {
    const tasks = tasksFile("two.yaml", [imageTask("mnist"), imageTask("hebrew")]);
    const flags = ["--tasks", tasks, "--against", "zoo/vision/hebrew", "--report", at("report")];
    const { code, out, err } = await mergewright("eval", "zoo/vision/mnist", ...flags);
    assert.equal(code, 0, err);
    assert.match(out, /^Scores of zoo\/vision\/mnist, beside zoo\/vision\/hebrew$/m);
    assert.match(
      out,
      /^\| mnist \| accuracy \| 99\.\d\d % \| 9\d\.\d\d to 9\d\.\d\d % \| 59\d of 600 \| .* \| this model, p < 0\.0001 \|$/m,
    );
    assert.match(out, /^\| hebrew \| .* \| other model, p/m);
    assert.match(out, /^\| mean \| accuracy /m);
    const written = JSON.parse(readFileSync(at("report", "evaluation.json"), "utf8"));
    assert.equal(written.tasks.length, 2);
    assert.ok(readFileSync(at("report", "evaluation.md"), "utf8").includes("| mnist | accuracy | 99."));
  });

  it("takes heads from a folder or by name", async () => {
    const tasks = tasksFile("heads.yaml", [imageTask("mnist", "")]);
    const bare = await mergewright("eval", "zoo/vision/base", "--tasks", tasks);
    assert.equal(bare.code, 2);
    assert.match(bare.err, /the head does not tell apart[^]*expected: 10 classes[^]*found: {4}657 classes/);
    const folder = await outcomeOf("eval", "zoo/vision/base", "--tasks", tasks, "--head-from", "zoo/vision");
    const named = await outcomeOf("eval", "zoo/vision/base", "--tasks", tasks, "--head-from", "mnist=zoo/vision/mnist");
    assert.equal(folder.json.tasks[0].head, path.join("zoo", "vision", "mnist"));
    assert.equal(folder.json.tasks[0].correct, named.json.tasks[0].correct);
    const typo = await mergewright(
      "eval",
      "zoo/vision/base",
      "--tasks",
      tasks,
      "--head-from",
      "mnits=zoo/vision/mnist",
    );
    assert.match(typo.err, /names no head of any task[^]*do: {7}write mnist=MODEL/);
  });

  it("says what is wrong with tasks, data, split and model", async () => {
    const good = tasksFile("good.yaml", [imageTask("mnist")]);
    const ask = async (...args: readonly string[]) => (await mergewright("eval", ...args)).err;
    assert.match(await ask("zoo/vision/mnist"), /--tasks <file> is missing/);
    assert.match(await ask("zoo/vision/mnist", "--tasks", at("no.yaml")), /there is no such tasks file/);
    assert.match(await ask("zoo/vision/mnist", "--tasks", good, "--split", "dev"), /found: {4}test, train, val/);
    const lost = tasksFile("lost.yaml", [imageTask("mnist").replace("data.safetensors", "dta.safetensors")]);
    assert.match(
      await ask("zoo/vision/mnist", "--tasks", lost),
      /there is no such file[^]*zoo\/vision\/mnist\/dta\.safetensors/,
    );
    const typo = tasksFile("typo.yaml", [imageTask("mnist").replace("head:", "haed:")]);
    assert.match(await ask("zoo/vision/mnist", "--tasks", typo), /typo\.yaml:2:\d+, tasks\.0\.haed[^]*write head/);
  });

  it("an unknown architecture is named, with the known ones and what still works", async () => {
    const model = at("alien");
    const { cpSync, mkdirSync } = await import("node:fs");
    mkdirSync(model);
    cpSync(path.join(root, "zoo/vision/mnist/model.safetensors"), path.join(model, "model.safetensors"));
    const config = JSON.parse(readFileSync(path.join(root, "zoo/vision/mnist/config.json"), "utf8"));
    writeFileSync(path.join(model, "config.json"), JSON.stringify({ ...config, architectures: ["AlienForImages"] }));
    const tasks = tasksFile("alien.yaml", [imageTask("mnist", "")]);
    const { code, err } = await mergewright("eval", model, "--tasks", tasks);
    assert.equal(code, 2);
    assert.match(err, /cannot be run[^]*ViTForImageClassification[^]*found: {4}AlienForImages[^]*external command/);
  });
});

describe("programs as scorers", () => {
  const node = JSON.stringify(process.execPath);
  let scripts = 0;
  const script = (code: string, keys = "") =>
    tasksFile(`command-${scripts++}.yaml`, [
      `{name: own, type: command, command: [${node}, -e, ${JSON.stringify(code)}, "{model}", "{split}"]${keys}}`,
    ]);
  const ask = (file: string) => mergewright("eval", "zoo/vision/mnist", "--tasks", file, "--json");

  it("the last line is the number; the model's folder and the split are told", async () => {
    const code =
      "console.log('loading'); console.log(process.argv[1].length + process.env.MERGEWRIGHT_MODEL.length / 1000)";
    const { out, err } = await ask(script(code, ", metric: BLEU, better: lower"));
    assert.equal(err, "");
    const { length } = path.join(root, "zoo", "vision", "mnist");
    const [task] = JSON.parse(out).tasks;
    assert.deepEqual([task.value, task.metric, task.better, task.total], [length + length / 1000, "BLEU", "lower", 1]);
    assert.deepEqual([task.correct, task.interval], [null, null]);
    const shell = tasksFile("shell.yaml", [
      "{name: own, type: command, command: 'echo $MERGEWRIGHT_TASK >&2; echo 0.5'}",
    ]);
    assert.equal(JSON.parse((await ask(shell)).out).mean, 0.5);
  });

  it("one that fails, cannot be started, or prints no number", async () => {
    for (const [file, message] of [
      [script("console.error('no GPU'); process.exit(3)"), /a scorer failed[^]*exit code 3; it said: no GPU/],
      [script("process.kill(process.pid)"), /a scorer failed[^]*ended by signal SIGTERM/],
      [tasksFile("none.yaml", ["{name: own, type: command, command: [/no/such/program]}"]), /could not be started/],
      [script("console.log('0.5'); console.log('done')"), /a scorer printed no number[^]*found: {4}\\"done\\"/],
      [script(""), /a scorer printed no number[^]*found: {4}nothing/],
      [script("console.log('NaN')"), /a scorer printed no number/],
    ] as const) {
      const { code, err } = await ask(file);
      assert.equal(code, 2);
      assert.match(JSON.parse(err).error.text.replaceAll('"', '\\"'), message);
    }
  });

  it("one that hangs is ended, with what it started", async () => {
    const mark = at("alive");
    const child = `setTimeout(() => require('fs').writeFileSync(${JSON.stringify(mark)}, ''), 4000)`;
    const code = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}]); setInterval(() => {}, 1000)`;
    const started = performance.now();
    const { code: exit, err } = await ask(script(code, ", timeout: 0.5"));
    assert.equal(exit, 2);
    assert.match(err, /did not come to an end/);
    assert.ok(performance.now() - started < 20_000);
    await new Promise((resolve) => setTimeout(resolve, 5000));
    assert.equal(existsSync(mark), false);
  });
});

/** Networks that choose per input, held to the golden layer, to materialised models and to routers' promises. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { openAlgebra } from "../../src/algebra/algebra.js";
import { openArtifact } from "../../src/artifacts/open.js";
import { rightByTask, routerWeights, trainLogistic, trainMlp } from "../../src/experts/router.js";
import type { RouterData } from "../../src/experts/router.js";
import { readRouter, routerBytes } from "../../src/experts/router_file.js";
import { openExperts } from "../../src/experts/stacks.js";
import { openRouted as openInBrowser } from "../../src/browser.js";
import { mergeModels } from "../../src/merge.js";
import { openRouted } from "../../src/node.js";
import { openNetwork } from "../../src/platform/node/network.js";
import { nodePlatform, openModel } from "../../src/platform/node/platform.js";
import { definitions } from "../../src/runtime/kernels/definitions.js";
import { f64Machine } from "../../src/runtime/kernels/machine.js";
import type { Batch } from "../../src/runtime/network.js";
import type { Routing } from "../../src/runtime/routing.js";
import { weightsOf } from "../../src/runtime/weights.js";
import { Folder, recipeOf } from "../laws/support/family.js";
import { normals } from "../laws/support/random.js";
import { outcomeOf } from "../cli/support.js";
import { write } from "./support.js";

const folder = new Folder();
after(() => folder.remove());

interface Golden {
  readonly W0: number[][];
  readonly b0: number[];
  readonly W: number[][][];
  readonly b: number[][];
  readonly x: number[][];
}
type Setting = { readonly gate_scores: number[][]; readonly y: number[][] };
const golden = (JSON.parse(fs.readFileSync("test/golden/methods.json", "utf8")) as { smile: Golden }).smile;

describe("SMILE's layer", () => {
  for (const [gateRank, rank, top] of [
    [1, 1, 1],
    [2, 2, 1],
    [1, 1, 2],
  ] as const) {
    it(`is the golden one with gates of rank ${gateRank}, experts of rank ${rank}, top ${top}`, () => {
      const { W0, b0, W, b, x } = golden;
      const expected = (golden as unknown as Record<string, Setting>)[`gate_k=${gateRank},k=${rank},top=${top}`]!;
      const [inputs, outputs, rows] = [3, 2, 2];
      const machine = f64Machine(400);
      const { f } = machine;
      const [X, P, S, C, G, R, L, B, T, Y] = [1, 10, 20, 30, 40, 50, 70, 90, 100, 200] as const;
      f.set(x.flat(), X);
      for (const [expert, own] of W.entries()) {
        const data = Float64Array.from(own.flat().map((value, at) => value - W0.flat()[at]!));
        const { u, s, vt } = openAlgebra().svd({ rows: outputs, columns: inputs, data });
        for (let row = 0; row < rows; row++) {
          for (let k = 0; k < gateRank; k++) {
            const sum = [0, 1, 2].reduce((total, c) => total + vt.data[k * inputs + c]! * x[row]![c]!, 0);
            f[P + (row * 2 + expert) * gateRank + k] = sum;
          }
          const own = f.subarray(P + (row * 2 + expert) * gateRank, P + (row * 2 + expert + 1) * gateRank);
          const score = Math.hypot(...own);
          assert.ok(Math.abs(score - expected.gate_scores[row]![expert]!) < 1e-7);
        }
        for (let k = 0; k < rank; k++) {
          f.set(vt.data.subarray(k * inputs, (k + 1) * inputs), R + (expert * rank + k) * inputs);
          for (let o = 0; o < outputs; o++)
            f[L + (expert * rank + k) * outputs + o] = u.data[o * u.columns + k]! * s[k]!;
        }
        for (let o = 0; o < outputs; o++) f[B + expert * outputs + o] = b[expert]![o]! - b0[o]!;
      }
      for (let row = 0; row < rows; row++) {
        for (let o = 0; o < outputs; o++) {
          f[Y + row * outputs + o] = W0[o]!.reduce((sum, weight, c) => sum + weight * x[row]![c]!, b0[o]!);
        }
      }
      definitions.gate(machine, P, S, C, G, rows, 2, gateRank, top);
      definitions.experts(machine, X, C, G, R, L, B, T, T + 20, T + 40, Y, rows, inputs, outputs, rank, 2, top);
      for (const [row, wanted] of expected.y.entries()) {
        for (const [o, value] of wanted.entries())
          assert.ok(Math.abs(f[Y + row * outputs + o]! - value) < 1e-6, `${row} ${o}`);
      }
    });
  }
});

const vision = (name: string) => `zoo/vision/${name}`;
const TASKS = ["mnist", "fashion"];

function images(count: number): Batch {
  return { kind: "images", count, channels: 1, height: 28, width: 28, pixels: normals(count * 784, 5, 0.5) };
}

function farthest(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at]!)), 0);
}

async function logitsOf(model: string, batch: Batch): Promise<Float32Array> {
  const checkpoint = await openModel(model);
  const network = await openNetwork(weightsOf(checkpoint), { threads: 1 });
  try {
    return (await network.logits(batch)).values;
  } finally {
    await network.close();
    await checkpoint.close();
  }
}

async function build(method: string, parameters: Record<string, number>): Promise<string> {
  const out = folder.fresh();
  const models = TASKS.map(vision);
  const rest = { exclude: ["classifier.*"], heads: "separate", output: { dtype: "float32" } };
  await mergeModels(recipeOf({ method, base: vision("base"), models, parameters, ...rest }), nodePlatform, {
    out,
    threads: 2,
  });
  return out;
}

/** Logits with the head of the first task. */
async function routedLogits(label: string, batch: Batch, weights: readonly number[][] | null): Promise<Float32Array> {
  const artifact = await openArtifact(label, nodePlatform);
  const experts = await openExperts(artifact);
  const { checkpoint } = await artifact.openTask(TASKS[0]!);
  const head = weightsOf(checkpoint);
  const routing: Routing = {
    examples:
      experts.stacks === null
        ? null
        : {
            experts: experts.stacks,
            choose: () =>
              Promise.resolve(
                weights!.map((own) => ({
                  expert: own.includes(1) ? own.indexOf(1) : null,
                  weights: Float32Array.from(own),
                })),
              ),
          },
    tokens: experts.tokens,
  };
  const shared = experts.withStacks({ ...weightsOf(artifact.base), config: checkpoint.config });
  const network = await openNetwork(shared, { threads: 1, head, routing });
  try {
    await assert.rejects(network.gradients(batch, { kind: "entropy" }), /no gradients/);
    return (await network.logits(batch)).values;
  } finally {
    await network.close();
    await artifact.close();
  }
}

let twin: string;
let smile: string;
before(async () => {
  twin = await build("twin", { lambda: 0.2, density: 0.1 });
  smile = await build("smile", { gate_rank: 4, rank: 8, top_k: 1 });
});

describe("a network with experts per input", () => {
  it("gives each input the logits of the model that is materialised for its weights", async () => {
    const batch = images(5);
    const routed = await routedLogits(twin, batch, [
      [1, 0],
      [1, 0],
      [0.7, 0.3],
      [0.7, 0.3],
      [0.25, 0.5],
    ]);
    const classes = routed.length / 5;
    const mixed = async (weights: Record<string, number>) => {
      const out = folder.fresh();
      await write(twin, { task: "mnist", out, weights });
      return logitsOf(out, batch);
    };
    const own = await logitsOf(`${twin}#mnist`, batch);
    const some = await mixed({ mnist: 0.7, fashion: 0.3 });
    const other = await mixed({ mnist: 0.25, fashion: 0.5 });
    const rows = (values: Float32Array, first: number, count: number) =>
      values.subarray(first * classes, (first + count) * classes);
    assert.ok(farthest(rows(routed, 0, 2), rows(own, 0, 2)) < 2e-4);
    assert.ok(farthest(rows(routed, 2, 2), rows(some, 2, 2)) < 2e-4);
    assert.ok(farthest(rows(routed, 4, 1), rows(other, 4, 1)) < 2e-4);
    assert.ok(farthest(own, some) > 0.01, "the weights make a difference");
  });

  it("takes the router that was trained for it and no other", async () => {
    const artifact = await openArtifact(twin, nodePlatform);
    const { data } = clusters();
    const router = trainLogistic(data, 2);
    const shared = artifact.manifest.base.fingerprint;
    const record = { kind: "logistic" as const, shared, tasks: TASKS, seed: 0, scores: [] };
    const put = (bytes: Uint8Array) => {
      fs.mkdirSync(path.join(twin, "router"), { recursive: true });
      fs.writeFileSync(path.join(twin, "router/model.safetensors"), bytes);
    };
    await assert.rejects(readRouter(artifact, nodePlatform), /no router[^]*collect router/);
    put(routerBytes(router, record));
    assert.deepEqual((await readRouter(artifact, nodePlatform)).layers, router.layers);
    const broken = routerBytes(router, record);
    broken[broken.length - 2]! ^= 8;
    for (const [bytes, said] of [
      [routerBytes(router, { ...record, tasks: ["fashion", "mnist"] }), /other tasks[^]*mnist, fashion/],
      [routerBytes(router, { ...record, shared: "0123456789abcdef" }), /another shared model/],
      [broken, /not as it was written/],
    ] as const) {
      put(bytes);
      await assert.rejects(readRouter(artifact, nodePlatform), said);
    }
    const whole = routerBytes(router, record);
    put(whole.subarray(0, whole.length - 4));
    await assert.rejects(readRouter(artifact, nodePlatform));
    await artifact.close();
  });
});

/** A folder's files by name, folders inside it too, as a browser has them. */
function filesIn(place: string): Record<string, Uint8Array> {
  const names = fs.readdirSync(place, { recursive: true, encoding: "utf8" });
  const files = names.filter((name) => fs.statSync(path.join(place, name)).isFile());
  return Object.fromEntries(files.map((name) => [name, fs.readFileSync(path.join(place, name))]));
}

describe("an artifact opened to be called", () => {
  it("refuses gates that are not as they were written", async () => {
    for (const change of [
      (file: string, bytes: Buffer) =>
        fs.writeFileSync(file, bytes.fill(bytes[bytes.length - 5]! ^ 1, bytes.length - 5, bytes.length - 4)),
      (file: string, bytes: Buffer) => fs.truncateSync(file, bytes.length - 8),
    ]) {
      const copy = folder.fresh();
      fs.cpSync(smile, copy, { recursive: true });
      const file = path.join(copy, "gates/fashion/model.safetensors");
      change(file, fs.readFileSync(file));
      await assert.rejects(openRouted(copy, { threads: 1 }), /gates\/fashion/);
    }
  });

  it("routes by its router, and tells the weights", async () => {
    const routing = folder.fresh();
    fs.cpSync(twin, routing, { recursive: true });
    fs.rmSync(path.join(routing, "router"), { recursive: true, force: true });
    const batch = images(3);
    const width = 128;
    const weight = normals(2 * width, 8, 0.2);
    const layers = [{ inputs: width, outputs: 2, weight, bias: new Float32Array(2) }];
    const mean = new Float32Array(width);
    const router = { kind: "logistic" as const, mean, scale: new Float32Array(width).fill(1), layers };
    const artifact = await openArtifact(routing, nodePlatform);
    const shared = artifact.manifest.base.fingerprint;
    await artifact.close();
    fs.mkdirSync(path.join(routing, "router"));
    const record = { kind: router.kind, shared, tasks: TASKS, seed: 0, scores: [] };
    fs.writeFileSync(path.join(routing, "router/model.safetensors"), routerBytes(router, record));
    const network = await openRouted(routing, { threads: 1 });
    assert.deepEqual([network.routing, network.experts, network.classes], ["soft", TASKS, 10]);
    const [found, again] = await Promise.all([network.logits(batch), network.logits(batch)]);
    await network.close();
    assert.deepEqual(found, again, "calls that overlap");
    const weights = [0, 1, 2].map((row) => [...found.weights!.subarray(2 * row, 2 * row + 2)]);
    assert.ok(weights.every(([one, other]) => Math.abs(one! + other! - 1) < 1e-6));
    assert.deepEqual(found.values, await routedLogits(routing, batch, weights));
    await assert.rejects(openRouted(routing, { threads: 1, routing: "tokens" }), { code: "artifact/task" });
    await assert.rejects(openRouted(routing, { threads: 1, task: "latin" }), /latin/);
    // Inputs of a task that nobody trained: its head comes from elsewhere, and the entropy tells how unsure the router is.
    const pixels = Uint8Array.from(normals(12 * 784, 6, 60), (value) => value + 128);
    const place = folder.write("foreign", [
      { name: "test.images", dtype: "U8", shape: [12, 28, 28], bytes: pixels },
      { name: "test.labels", dtype: "U8", shape: [12], bytes: Uint8Array.from({ length: 12 }, (_, at) => at % 27) },
    ]);
    const data = path.join(place, "model.safetensors");
    const foreign = { name: "hebrew", type: "image-classification", data, head: vision("hebrew"), classes: 27 };
    fs.writeFileSync(path.join(place, "tasks.yaml"), JSON.stringify({ tasks: [foreign] }));
    const { json } = await outcomeOf("eval", routing, "--tasks", path.join(place, "tasks.yaml"));
    const [{ name, right, entropy }] = json.routed;
    assert.deepEqual([name, right], ["hebrew", null]);
    assert.ok(entropy > 0 && entropy <= 1);
    const oracle = await openRouted(routing, { threads: 1, task: "fashion", routing: "oracle" });
    const own = await oracle.logits(batch);
    await oracle.close();
    assert.equal(own.weights, null);
    assert.ok(farthest(own.values, await logitsOf(`${routing}#fashion`, batch)) < 2e-4);
  });

  it("routes by its gates, and tells their shares, in Node and in the browser alike", async () => {
    const batch = images(3);
    const network = await openRouted(smile, { threads: 1, task: "mnist" });
    const found = await network.logits(batch);
    await network.close();
    assert.deepEqual(found.values, await routedLogits(smile, batch, null));
    assert.equal(found.gates.size, 36);
    for (const [layer, { rows, shares }] of found.gates) {
      // The last layer's rows but the class token's may not be needed.
      assert.ok(rows === 150 || rows === 3, `${layer}: ${rows}`);
      for (let row = 0; row < rows; row++) assert.ok(Math.abs(shares[2 * row]! + shares[2 * row + 1]! - 1) < 1e-6);
    }
    const models = { picked: filesIn(smile), [vision("base")]: filesIn(vision("base")) };
    const inBrowser = await openInBrowser("picked", models, { task: "mnist" });
    assert.deepEqual(await inBrowser.logits(batch), found);
    await inBrowser.close();
  });
});

describe("a network with experts per token", () => {
  it("of full rank and through all experts is the base plus the mean of what they add, where gates are equal", async () => {
    // Twice the same expert: both gates see the same, so each token goes half through each.
    const out = folder.fresh();
    const models = [vision("mnist"), { model: vision("mnist"), name: "again" }];
    const recipe = { method: "smile", base: vision("base"), models, exclude: ["classifier.*"], heads: "separate" };
    const parameters = { gate_rank: 4, rank: 128, top_k: 2 };
    const rest = { parameters, allow_duplicates: true, output: { dtype: "float32" } };
    await mergeModels(recipeOf({ ...recipe, ...rest }), nodePlatform, { out, threads: 2 });
    const batch = images(3);
    assert.ok(farthest(await routedLogits(out, batch, null), await logitsOf(`${out}#mnist`, batch)) < 2e-3);
  });
});

/** Two clouds of points. */
function clusters(): { readonly data: RouterData; readonly other: RouterData } {
  const make = (seed: number): RouterData => {
    const [count, width] = [120, 6];
    const values = normals(count * width, seed, 1);
    const tasks = Int32Array.from({ length: count }, (_, row) => row % 2);
    for (let row = 0; row < count; row++) values[row * width]! += tasks[row] === 1 ? 3 : -3;
    return { count, width, values, tasks };
  };
  return { data: make(1), other: make(2) };
}

describe("routers", () => {
  const { data, other } = clusters();

  it("tell apart what can be told apart, and their weights sum to 1", () => {
    const logistic = trainLogistic(data, 2);
    const mlp = trainMlp(openAlgebra(), data, other, 2, { epochs: 60, batch: 40, rate: 5e-3 });
    for (const router of [logistic, mlp]) {
      const right = rightByTask(router, other, 2).reduce((sum, one) => sum + one, 0);
      assert.ok(right >= 112, `${router.kind}: ${right} of 120`);
      const weights = routerWeights(router, other.values, other.width);
      for (let row = 0; row < other.count; row++)
        assert.ok(Math.abs(weights[2 * row]! + weights[2 * row + 1]! - 1) < 1e-6);
    }
  });

  it("are the same for the same seed, and others for another", () => {
    const train = (seed: number) =>
      trainMlp(openAlgebra(), data, null, 2, { epochs: 3, batch: 40, seed }).layers[0]!.weight;
    assert.deepEqual(train(1), train(1));
    assert.notDeepEqual(train(1), train(2));
  });
});

describe("the report of a routed evaluation", () => {
  it("shows what every task's tokens chose, layer by layer", async () => {
    const report = folder.fresh();
    const pixels = Uint8Array.from(normals(24 * 784, 6, 60), (value) => value + 128);
    const labels = Uint8Array.from({ length: 24 }, (_, image) => image % 10);
    const place = folder.write("few", [
      { name: "test.images", dtype: "U8", shape: [24, 28, 28], bytes: pixels },
      { name: "test.labels", dtype: "U8", shape: [24], bytes: labels },
    ]);
    const task = { name: "mnist", type: "image-classification", data: path.join(place, "model.safetensors") };
    const list = path.join(place, "tasks.yaml");
    fs.writeFileSync(list, JSON.stringify({ tasks: [task] }));
    const { json } = await outcomeOf("eval", smile, "--tasks", list, "--report", report);
    const written = JSON.parse(fs.readFileSync(path.join(report, "routing.json"), "utf8"));
    assert.deepEqual([written.routing, written.experts], ["tokens", TASKS]);
    assert.deepEqual(written.routed, json.routed);
    const [{ shares, layers }] = written.routed;
    assert.ok(Math.abs(shares[0] + shares[1] - 1) < 1e-9);
    assert.deepEqual(written.charts.shares.values, [shares]);
    assert.equal(written.charts.layers.values.length, layers.length);
    assert.equal(written.charts.layers.values[0][0], layers[0].shares[0]);
    for (const picture of ["routing.svg", "routing-layers.svg"]) {
      assert.match(fs.readFileSync(path.join(report, picture), "utf8"), /^<svg [^]*mnist[^]*<\/svg>\s*$/);
    }
  });
});

/**
 * The ONNX back end against the kernels on every architecture: graphs are run by plain loops, so that what is tested is the
 * file that a runtime would get; and by onnxruntime-node itself where it is installed.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import { openNetwork } from "../../src/platform/node/network.js";
import type { Batch, ImageBatch, Loss, TappedNetwork } from "../../src/runtime/network.js";
import { OnnxEngine, type OnnxRuntime } from "../../src/runtime/onnx/engine.js";
import { openNetworkOn } from "../../src/runtime/opened_network.js";
import { batchOf, fixtureWeights, names, readFixture } from "./fixtures.js";
import { largestDifference } from "./zoo.js";
import { runOnnx } from "./onnx_interpreter.js";

/** Counts sessions, so that their re-use can be seen, and notes in which lanes they run. */
function loops(lanes = 1) {
  const count = { opened: 0, open: 0, runs: [] as (number | null)[] };
  const runtime: OnnxRuntime = {
    lanes,
    close: async () => {},
    async open(file, lane) {
      count.opened++;
      count.open++;
      return {
        async run(feeds, into) {
          count.runs.push(lane);
          const grids = Object.entries(feeds).map(([name, { dims, data }]) => {
            return [name, { dims, data: Float64Array.from(data) }] as const;
          });
          const found = runOnnx(file, Object.fromEntries(grids));
          assert.deepEqual([...found.keys()], Object.keys(into));
          for (const [name, { dims, data }] of found) {
            assert.deepEqual(into[name]!.dims, dims, name);
            into[name]!.data.set(data);
          }
        },
        close: async () => void count.open--,
      };
    },
  };
  return { count, runtime };
}

async function open(name: string, runtime: OnnxRuntime): Promise<TappedNetwork> {
  return openNetworkOn(
    await fixtureWeights(name, readFixture(name)),
    {},
    { open: (definition, rule) => new OnnxEngine(definition, rule, runtime), close: () => Promise.resolve() },
  );
}

const own = async (name: string) => openNetwork(await fixtureWeights(name, readFixture(name)), { threads: 1 });

function lossesOf(rows: number, classes: number): Loss[] {
  const targets = Int32Array.from({ length: rows }, (_, row) => (row === 1 ? -1 : row % classes));
  const weights = Float32Array.from({ length: rows }, (_, row) => (row === 1 ? 0 : 0.1 + row / rows));
  return [
    { kind: "cross-entropy", targets, weights },
    { kind: "entropy", weights },
  ];
}

/** Relative to the size of what is compared. */
function near(found: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  const size = Math.max(1e-3, ...Array.from(expected, Math.abs));
  const difference = largestDifference(found, expected);
  assert.ok(difference <= 2e-5 * size, `${what}: ${difference} of ${size}`);
}

async function same(one: TappedNetwork, other: TappedNetwork, batch: Batch): Promise<void> {
  const [mine, theirs] = [await one.logits(batch), await other.logits(batch)];
  assert.deepEqual([mine.rows, mine.classes], [theirs.rows, theirs.classes]);
  near(mine.values, theirs.values, "logits");
  for (const loss of lossesOf(mine.rows, mine.classes)) {
    const [a, b] = [await one.gradients(batch, loss), await other.gradients(batch, loss)];
    near([a.loss], [b.loss], loss.kind);
    assert.deepEqual([...a.parameters.keys()], [...b.parameters.keys()]);
    for (const [name, gradient] of b.parameters) near(a.parameters.get(name)!, gradient, `${loss.kind} ${name}`);
    if (loss.kind === "entropy") continue;
    const layers = one.layers.slice(0, 2).map(({ name }) => name);
    const [x, y] = [await one.activations(batch, layers, loss), await other.activations(batch, layers, loss)];
    const [g, h] = [await one.grams(batch, layers, loss), await other.grams(batch, layers, loss)];
    for (const layer of layers) {
      near(x.get(layer)!.inputs, y.get(layer)!.inputs, `inputs of ${layer}`);
      near(x.get(layer)!.outputGradients!, y.get(layer)!.outputGradients!, `output gradients of ${layer}`);
      near(g.get(layer)!.outputGradients!, h.get(layer)!.outputGradients!, `Gram of ${layer}`);
      assert.equal(g.get(layer)!.rows, h.get(layer)!.rows);
    }
  }
}

/** Long enough for two spans, and not full. */
async function sameOnLongText(one: TappedNetwork, other: TappedNetwork): Promise<void> {
  const length = 130;
  const ids = Int32Array.from({ length }, (_, index) => (index * 7) % 40);
  const batch: Batch = { kind: "text", count: 1, length, ids, lengths: Int32Array.of(length - 5) };
  const [mine, theirs] = [await one.logits(batch), await other.logits(batch)];
  near(mine.values, theirs.values, "logits");
  const loss = { kind: "cross-entropy", targets: ids } as const;
  const [a, b] = [await one.gradients(batch, loss), await other.gradients(batch, loss)];
  for (const [parameter, gradient] of b.parameters) near(a.parameters.get(parameter)!, gradient, parameter);
}

describe("the ONNX back end agrees with the kernels:", () => {
  for (const name of names) {
    it(name, async () => {
      const { count, runtime } = loops(2);
      const [onnx, kernels] = [await open(name, runtime), await own(name)];
      await same(onnx, kernels, batchOf(readFixture(name).inputs));
      await onnx.close();
      await kernels.close();
      assert.equal(count.open, 0);
    });
  }

  it("a long text, whose causal attention goes in spans of queries", async () => {
    // It has a window, too.
    const [onnx, kernels] = [await open("mistral", loops().runtime), await own("mistral")];
    await sameOnLongText(onnx, kernels);
    await onnx.close();
    await kernels.close();
  });

  it("logits of every part go straight to their rows of the memory that they are asked into", async () => {
    let run = 0;
    const counting: OnnxRuntime = {
      lanes: 1,
      close: async () => {},
      open: async () => ({
        run: async (_, into) => {
          run++;
          for (const { data } of Object.values(into)) data.fill(run);
        },
        close: async () => {},
      }),
    };
    const onnx = await open("vit", counting);
    const one = batchOf(readFixture("vit").inputs) as ImageBatch;
    const count = 4000;
    const batch = { ...one, count, pixels: new Float32Array((one.pixels.length / one.count) * count) };
    const into = new Float32Array(count * onnx.classes + 5);
    const { values, rows, classes } = await onnx.logits(batch, into);
    assert.ok(run > 1 && values.buffer === into.buffer && values.length === rows * classes);
    const size = Math.ceil(count / run);
    assert.deepEqual(
      [...values],
      Array.from({ length: rows * classes }, (_, at) => Math.floor(at / classes / size) + 1),
    );
    await onnx.close();
  });

  it("examples are shared out over lanes, of which the first begins last; what runs backward has all threads", async () => {
    const { count, runtime } = loops(3);
    const [onnx, kernels] = [await open("vit", runtime), await own("vit")];
    const one = batchOf(readFixture("vit").inputs) as ImageBatch;
    const images = 7;
    const pixels = Float32Array.from({ length: (one.pixels.length / one.count) * images }, (_, at) => Math.sin(at));
    const batch = { ...one, count: images, pixels };
    const targets = Int32Array.from({ length: images }, (_, row) => row % onnx.classes);
    near((await onnx.logits(batch)).values, (await kernels.logits(batch)).values, "logits");
    assert.deepEqual(count.runs.splice(0), [2, 1, 0]);
    near(await onnx.losses(batch, targets), await kernels.losses(batch, targets), "losses");
    assert.deepEqual(count.runs.splice(0), [2, 1, 0]);
    const loss = { kind: "cross-entropy", targets } as const;
    near([(await onnx.gradients(batch, loss)).loss], [(await kernels.gradients(batch, loss)).loss], "loss");
    await onnx.logits({ ...batch, count: 2, pixels: pixels.subarray(0, (2 * pixels.length) / images) });
    assert.deepEqual(count.runs.splice(0), [null, null]);
    await onnx.close();
    await kernels.close();
  });

  it("a lane that fails is told of when all have ended, and the next pass runs", async () => {
    const ended: (number | null)[] = [];
    let fails = true;
    const { runtime } = loops(2);
    const failing: OnnxRuntime = {
      ...runtime,
      open: async (file, lane) => {
        const session = await runtime.open(file, lane);
        const run: typeof session.run = async (feeds, into) => {
          if (lane === 1 && fails) throw new RangeError("no memory");
          await session.run(feeds, into);
          ended.push(lane);
        };
        return { ...session, run };
      },
    };
    const onnx = await open("vit", failing);
    const batch = batchOf(readFixture("vit").inputs);
    await assert.rejects(onnx.logits(batch), /no memory/);
    assert.deepEqual(ended.splice(0), [0]);
    fails = false;
    await onnx.logits(batch);
    assert.deepEqual(new Set(ended), new Set([0, 1]));
    await onnx.close();
  });

  it("one session serves every model of an architecture", async () => {
    const { count, runtime } = loops();
    const [onnx, weights] = [await open("vit", runtime), await fixtureWeights("vit", readFixture("vit"))];
    const batch = batchOf(readFixture("vit").inputs);
    const before = await onnx.logits(batch);
    await onnx.load({ ...weights, tensor: async (name) => (await weights.tensor(name)).map((value) => value / 2) });
    const after = await onnx.logits(batch);
    assert.equal(count.opened, 1);
    assert.notDeepEqual(after.values, before.values);
    await onnx.close();
  });

  it("says what it cannot do", async () => {
    const onnx = await open("vit", loops().runtime);
    const batch = batchOf(readFixture("vit").inputs);
    await assert.rejects(
      onnx.squaredGradients(batch, { kind: "expectation" }),
      (error) => error instanceof MergewrightError && error.code === "runtime/backend",
    );
    await onnx.close();
  });
});

describe("onnxruntime-node", () => {
  it("agrees with the kernels where it is installed, and is asked for by name where it is not", async (t) => {
    const weights = await fixtureWeights("llama", readFixture("llama"));
    const opened = await openNetwork(weights, { threads: 1, backend: "onnx" }).catch((error: unknown) => error);
    if (opened instanceof Error) {
      assert.ok(opened instanceof MergewrightError && opened.code === "runtime/backend", String(opened));
      assert.match(opened.message, /npm install onnxruntime-node/);
      t.diagnostic("onnxruntime-node is not installed");
      return;
    }
    await (opened as TappedNetwork).close();
    for (const name of names) {
      const network = await openNetwork(await fixtureWeights(name, readFixture(name)), { threads: 2, backend: "onnx" });
      const kernels = await own(name);
      await same(network, kernels, batchOf(readFixture(name).inputs));
      if (name === "llama" || name === "mistral") await sameOnLongText(network, kernels);
      await network.close();
      await kernels.close();
    }
  });
});

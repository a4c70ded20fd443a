/** With a peer that stands in for onnxruntime-node, which need not be installed. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { OnnxLane } from "./onnx_lane.js";

/** The output is the product of both inputs and the first byte of the file; no product of nothing is made. */
const PEER = `
exports.Tensor = class { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } };
exports.InferenceSession = {
  async create([factor], { intraOpNumThreads }) {
    return {
      async run({ x, weight }, { y }) {
        if (intraOpNumThreads !== 1 || x.data.length === 0) throw new Error("nothing to multiply");
        for (const [at, value] of x.data.entries()) y.data[at] = factor * value * weight.data[at];
      },
      async release() {},
    };
  },
};
`;

const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-lane-"));
const home = path.join(folder, "node_modules/onnxruntime-node");
mkdirSync(home, { recursive: true });
writeFileSync(path.join(home, "index.js"), PEER);
const place = pathToFileURL(path.join(folder, "package.json")).href;
after(() => rmSync(folder, { recursive: true }));

const vector = (...values: number[]) => ({ dims: [values.length], data: Float32Array.from(values) });

describe("a lane of the back end onnx", () => {
  it("runs sessions in a thread of its own, with the weights that were given last", async () => {
    const lane = new OnnxLane(place);
    const [twice, thrice] = [await lane.open(Uint8Array.of(2)), await lane.open(Uint8Array.of(3))];
    const y = vector(0, 0);
    const weight = { ...vector(10, 100), lasts: true };
    await twice.run({ x: vector(1, 2), weight }, { y });
    assert.deepEqual([...y.data], [20, 400]);
    // Known already, under the same name in another session; what is given is still the caller's.
    await thrice.run({ x: vector(3, 4), weight }, { y });
    assert.deepEqual([...y.data], [90, 1200]);
    assert.deepEqual([...weight.data], [10, 100]);
    await twice.run({ x: vector(1, 1), weight: { ...vector(5, 7), lasts: true } }, { y });
    assert.deepEqual([...y.data], [10, 14]);
    await twice.close();
    await thrice.run({ x: vector(1, 1), weight }, { y });
    assert.deepEqual([...y.data], [30, 300]);
    await lane.close();
  });

  it("tells of what a session fails with, and goes on", async () => {
    const lane = new OnnxLane(place);
    const session = await lane.open(Uint8Array.of(2));
    const weight = { ...vector(1), lasts: true };
    await assert.rejects(session.run({ x: vector(), weight }, { y: vector(0) }), /nothing to multiply/);
    const y = vector(0);
    await session.run({ x: vector(4), weight }, { y });
    assert.deepEqual([...y.data], [8]);
    await lane.close();
  });

  it("that cannot begin says so each time", async () => {
    const lane = new OnnxLane(pathToFileURL(path.join(os.tmpdir(), "package.json")).href);
    await assert.rejects(lane.open(Uint8Array.of(2)), /worker thread failed/);
    await assert.rejects(lane.open(Uint8Array.of(2)), /worker thread failed/);
    await lane.close();
  });
});

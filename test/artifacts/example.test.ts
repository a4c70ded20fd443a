/** The example of routing with an artifact: TypeScript that compiles as a user's would, finds the digits and their expert. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import { trainRouter } from "../../src/experts/train_router.js";
import { mergeModels } from "../../src/merge.js";
import { evaluatePlatform } from "../../src/platform/node/evaluate.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { soloTeam } from "../../src/runtime/team.js";
import { Folder, readTensors, recipeOf } from "../laws/support/family.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const folder = new Folder();
after(() => folder.remove());
const run = (...args: readonly string[]) => execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" });

async function build(method: string): Promise<string> {
  const artifact = folder.fresh();
  const models = ["mnist", "fashion"].map((name) => path.join(root, "zoo/vision", name));
  const rest = { base: path.join(root, "zoo/vision/base"), exclude: ["classifier.*"], heads: "separate" };
  await mergeModels(recipeOf({ method, models, ...rest }), nodePlatform, { out: artifact, threads: 1 });
  return artifact;
}

describe("examples/routed-inference.ts", () => {
  // Beside the compiled program, where the package's own name leads to it.
  const out = path.join(root, "dist/examples");
  const data = "zoo/vision/mnist/data.safetensors";
  const told = (artifact: string) =>
    run(path.join(out, "routed-inference.js"), artifact, "mnist", data).trim().split("\n");
  let labels: Uint8Array;

  before(async () => {
    const how = ["--ignoreConfig", "--strict", "--noUncheckedIndexedAccess", "--skipLibCheck", "--types", "node"];
    const target = ["--target", "es2022", "--lib", "es2023,dom", "--module", "nodenext", "--rootDir", "examples"];
    const tsc = path.join(root, "node_modules/typescript/bin/tsc");
    run(tsc, ...how, ...target, "--outDir", out, "examples/routed-inference.ts");
    labels = (await readTensors(path.join(root, data))).get("test.labels")!.bytes;
  });

  it("routes images by a trained router", async () => {
    const twin = await build("twin");
    const tasks = ["mnist", "fashion"].map((name) => {
      const data = path.join(root, `zoo/vision/${name}/data.safetensors`);
      return { name, type: "image-classification", data };
    });
    const list = parseTasks(JSON.stringify({ tasks }));
    const how = { kind: "logistic", examples: 40, select: null, report: null } as const;
    const { bytes } = await trainRouter(twin, list, { ...nodePlatform, ...evaluatePlatform, openTeam: soloTeam }, how);
    fs.mkdirSync(path.join(twin, "router"));
    fs.writeFileSync(path.join(twin, "router/model.safetensors"), bytes);
    const found = told(twin);
    assert.equal(found.length, 8);
    for (const [at, line] of found.entries()) {
      assert.match(line, new RegExp(`^image ${at}: class ${labels[at]!}, mnist \\d+ %$`));
    }
  });

  it("routes images by the gates of every layer", async () => {
    const found = told(await build("smile"));
    assert.equal(found.length, 8);
    for (const [at, line] of found.entries()) {
      assert.match(line, new RegExp(`^image ${at}: class ${labels[at]!}, (mnist|fashion) \\d+ %$`));
    }
  });
});

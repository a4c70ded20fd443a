/** The example of serving a task of an artifact: it is TypeScript that compiles as a user's would, and it finds the digits. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { after, it } from "node:test";
import { fileURLToPath } from "node:url";
import { mergeModels } from "../../src/merge.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { Folder, readTensors, recipeOf } from "../laws/support/family.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const folder = new Folder();
after(() => folder.remove());

it("examples/routed-inference.ts classifies images with one expert of an artifact", async () => {
  const artifact = folder.fresh();
  const models = ["mnist", "fashion"].map((name) => path.join(root, "zoo/vision", name));
  const rest = { base: path.join(root, "zoo/vision/base"), exclude: ["classifier.*"], heads: "separate" };
  await mergeModels(recipeOf({ method: "twin", models, ...rest }), nodePlatform, { out: artifact, threads: 1 });
  // Beside the compiled program, where the package's own name leads to it.
  const out = path.join(root, "dist/examples");
  const how = ["--ignoreConfig", "--strict", "--noUncheckedIndexedAccess", "--skipLibCheck", "--types", "node"];
  const target = ["--target", "es2022", "--lib", "es2023,dom", "--module", "nodenext", "--rootDir", "examples"];
  const tsc = path.join(root, "node_modules/typescript/bin/tsc");
  const run = (...args: readonly string[]) => execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  run(tsc, ...how, ...target, "--outDir", out, "examples/routed-inference.ts");
  const data = "zoo/vision/mnist/data.safetensors";
  const found = run(path.join(out, "routed-inference.js"), artifact, "mnist", data).trim().split("\n");
  const labels = (await readTensors(path.join(root, data))).get("test.labels")!.bytes;
  assert.deepEqual(
    found,
    found.map((_, at) => `image ${at}: class ${labels[at]!}`),
  );
  assert.equal(found.length, 8);
});

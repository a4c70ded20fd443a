import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { MergewrightError } from "../../src/errors.js";
import { mergewright, root, scratch, VISION } from "./support.js";

const at = scratch(after);
const bundle = path.join(root, "dist/cli");

describe("the bundled command line", () => {
  it("has every thread's module beside the modules that start it", () => {
    // Others are started as they are compiled: their address is below src.
    const beside = /new (?:\w+\.)?Worker\(new URL\("([^"]+)",(?:import\.meta\.url|bundleAddress)\)/g;
    const threads = readdirSync(bundle)
      .filter((name) => /\.c?js$/.test(name))
      .flatMap((name) => [...readFileSync(path.join(bundle, name), "utf8").matchAll(beside)])
      .map(([, file]) => path.normalize(file!));
    assert.deepEqual([...new Set(threads)].sort(), ["team_worker.js", "worker.js"]);
    for (const file of threads) assert.ok(existsSync(path.join(bundle, file)), file);
  });

  it("carries the licences of what it bundles", () => {
    const text = readFileSync(path.join(bundle, "LICENSES.txt"), "utf8");
    for (const name of ["commander", "yaml", "valibot"]) assert.match(text, new RegExp(`^${name} \\d`, "m"));
    assert.match(text, /Permission is hereby granted|Permission to use, copy/);
  });

  it("knows an error of another copy of the package", async () => {
    const address = `${pathToFileURL(path.join(root, "dist/src/errors.js")).href}?copy`;
    const copy = (await import(address)) as { MergewrightError: typeof MergewrightError };
    assert.notEqual(copy.MergewrightError, MergewrightError);
    const error = new copy.MergewrightError("a defect", { kind: "check", code: "method/failed" });
    assert.ok(error instanceof MergewrightError);
    assert.ok(!(new Error("another") instanceof MergewrightError));
    assert.equal(error.kind, "check");
  });

  it("keeps what V8 compiled, and runs the same with it", () => {
    const place = at("kept");
    mkdirSync(path.join(place, "dist/cli"), { recursive: true });
    writeFileSync(path.join(place, "package.json"), '{ "type": "module" }');
    cpSync(path.join(root, "bin"), path.join(place, "bin"), { recursive: true });
    for (const name of readdirSync(bundle).filter((file) => /\.(js|cjs|wasm)$/.test(file))) {
      cpSync(path.join(bundle, name), path.join(place, "dist/cli", name));
    }
    const run = (...words: string[]) =>
      execFileSync(process.execPath, [path.join(place, "bin/mergewright.js"), ...words], { encoding: "utf8" });
    const kept = () => readdirSync(path.join(place, "dist/cli")).filter((name) => name.endsWith(".cache"));
    const merged = ["first", "second"].map((name) => {
      const out = at(`kept-${name}`);
      run("merge", "--method", "ties", ...VISION, "--threads", "2", "-o", out);
      assert.deepEqual(
        kept().map((file) => file.replace(/-[A-Z0-9]{8}\.cjs/, "")),
        ["main", "worker"].map((file) => `${file}.${process.version}-${process.arch}.cache`),
      );
      return readFileSync(path.join(out, "model.safetensors"));
    });
    assert.deepEqual(merged[0], merged[1]);
    // What is damaged is not run but written again.
    const files = kept().map((name) => path.join(place, "dist/cli", name));
    for (const file of files) {
      const bytes = readFileSync(file);
      writeFileSync(file, bytes.fill(0, bytes.length / 2));
    }
    run("merge", "--method", "ties", ...VISION, "--threads", "2", "-o", at("kept-again"));
    assert.deepEqual(readFileSync(path.join(at("kept-again"), "model.safetensors")), merged[0]);
    for (const file of files)
      assert.ok(
        readFileSync(file)
          .subarray(-1000)
          .some((byte) => byte !== 0),
        file,
      );
    // Of verbs that are bundled apart, too.
    assert.match(run("verify", at("kept-second")), /is what the merge wrote/);
    // A place that cannot be written to is no failure, and nothing half-written stays.
    for (const name of kept()) {
      rmSync(path.join(place, "dist/cli", name));
      mkdirSync(path.join(place, "dist/cli", name));
    }
    run("merge", "--method", "ties", ...VISION, "--threads", "2", "-o", at("kept-third"));
    assert.equal(readdirSync(path.join(place, "dist/cli")).filter((name) => name.includes(".cache")).length, 2);
  });

  it("passes on what an own method throws in the words of the package", async () => {
    const folder = at("own-error");
    mkdirSync(folder);
    const file = path.join(folder, "refusing.mjs");
    const errors = JSON.stringify(pathToFileURL(path.join(root, "dist/src/errors.js")).href);
    writeFileSync(
      file,
      `import { MergewrightError } from ${errors};
       export default { name: "refusing", combine() {
         throw new MergewrightError("nothing is merged today", { kind: "check", code: "method/failed" });
       } };`,
    );
    const out = at("own-error-out");
    const { code, err } = await mergewright("merge", "--use", file, "--method", "refusing", ...VISION, "-o", out);
    assert.equal(code, 1, err);
    assert.match(err, /nothing is merged today/);
  });
});

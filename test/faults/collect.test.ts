/** Collections that are killed: each kind goes on from what it kept, and ends with the bytes of one that was left alone. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { root, scratch } from "../cli/support.js";

const at = scratch(after);
const script = fileURLToPath(new URL("collect_kill.js", import.meta.url));

/** @returns what it said. @param killed as soon as it says that something is kept. */
async function run(kind: string, out: string, killed: boolean): Promise<string> {
  const child = spawn(process.execPath, [script, kind, out], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (text: Buffer) => {
    said += text.toString();
    if (killed) child.kill("SIGKILL");
  });
  const signal = await new Promise((resolve) => child.on("close", (_, by) => resolve(by)));
  assert.equal(signal, killed ? "SIGKILL" : null);
  return said;
}

describe("a collection that is killed", () => {
  for (const [kind, from] of [
    ["kfac", 32],
    ["fisher", 32],
    ["coefficients", 1],
    ["signs", 1],
  ] as const) {
    it(`of ${kind} goes on where it was`, { timeout: 120_000 }, async () => {
      const [disturbed, alone] = [at(`${kind}.safetensors`), at(`${kind}.alone.safetensors`)];
      await run(kind, disturbed, true);
      const rest = Number(/from (\d+)/.exec(await run(kind, disturbed, false))?.[1]);
      assert.ok(rest >= from, `it began at ${rest}`);
      await run(kind, alone, false);
      assert.deepEqual(readFileSync(disturbed), readFileSync(alone));
    });
  }
});

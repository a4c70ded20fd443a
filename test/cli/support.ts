import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readArguments } from "../../src/cli/program.js";
import { openTerminal } from "../../src/cli/terminal.js";
import { layoutHeader } from "../../src/formats/safetensors/layout.js";

/** The repository; commands run in it, so that the zoo's paths are short. */
export const root = fileURLToPath(new URL("../../../", import.meta.url));
/** What a user runs; where coverage is measured, what it was bundled from. */
const program = path.join(
  root,
  process.env["NODE_V8_COVERAGE"] === undefined ? "bin/mergewright.js" : "dist/src/cli/main.js",
);

/** Two models of the vision zoo and their base, whose heads differ. */
export const VISION = [
  "--base",
  "zoo/vision/base",
  "zoo/vision/mnist",
  "zoo/vision/fashion",
  "--exclude",
  "classifier.*",
];
export const TIES = ["--method", "ties", ...VISION];

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the program with pipes instead of a terminal. */
export function mergewright(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [program, ...args], { cwd: root, env: plainEnv() }, (_, out, err) => {
      resolve({ code: child.exitCode, out, err });
    });
  });
}

export function startMergewright(...args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [program, ...args], { cwd: root, env: plainEnv(), stdio: ["ignore", "pipe", "pipe"] });
}

function plainEnv(): NodeJS.ProcessEnv {
  const { NO_COLOR: _, FORCE_COLOR: _forced, ...env } = process.env;
  return env;
}

/** What a verb says, as JSON, without a process of its own. */
export async function outcomeOf(...args: readonly string[]) {
  process.chdir(root);
  const asked = readArguments(args, openTerminal(args));
  if (typeof asked === "number") throw new RangeError("nothing is asked");
  const run = await asked.verb.load();
  const { exitCode, json } = await run(asked);
  return { exitCode, json: JSON.parse(JSON.stringify(json)) };
}

/** A folder of its own, with everything in it removed after the tests. */
export function scratch(after: (remove: () => void) => void): (...parts: readonly string[]) => string {
  const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-cli-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return (...parts) => path.join(folder, ...parts);
}

/** A model of one tensor of zeros that takes no room on the disk. */
export function hollowModel(folder: string, entries: number): string {
  mkdirSync(folder, { recursive: true });
  const { header, fileSize } = layoutHeader([{ name: "weight", dtype: "F32", shape: [entries] }], {});
  const file = openSync(path.join(folder, "model.safetensors"), "w");
  writeSync(file, header);
  ftruncateSync(file, fileSize);
  closeSync(file);
  return folder;
}

// Runs the compiled tests (all, or those whose path contains an argument) and ends with "N passed, N failed".
import { existsSync, readdirSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = path.join(root, "dist");
const wanted = process.argv.slice(2);
const files = readdirSync(dist, { recursive: true })
  // What was compiled from a file that is gone is nobody's test any more.
  .filter((name) => existsSync(path.join(root, name.replace(/\.js$/, ".ts"))))
  .filter((name) => name.endsWith(".test.js") && (wanted.length === 0 || wanted.some((part) => name.includes(part))))
  .map((name) => path.join(dist, name))
  .sort();

let passed = 0;
let failed = 0;
const stream = run({ files, concurrency: os.availableParallelism() });
stream.on("test:pass", ({ details, skip, todo }) => {
  if (details.type !== "suite" && skip === undefined && todo === undefined) passed++;
});
stream.on("test:fail", ({ details }) => {
  if (details.type !== "suite") failed++;
});
stream.on("end", () => {
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
  // After the reporter's own summary.
  setImmediate(() => process.stdout.write(`\n${passed} passed, ${failed} failed\n`));
});
stream.compose(new spec()).pipe(process.stdout);

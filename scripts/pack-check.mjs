// The package holds what a user needs and nothing else.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const output = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
  cwd: root,
  encoding: "utf8",
});
const [{ files, size }] = JSON.parse(output);
const names = files.map(({ path }) => path);
const problems = [];
for (const needed of [
  "bin/mergewright.js",
  "dist/src/node.js",
  "dist/src/node.d.ts",
  "dist/src/browser.js",
  "dist/src/kernels/binary.js",
  "dist/src/platform/node/worker.js",
  "LICENSE",
  "README.md",
]) {
  if (!names.includes(needed)) problems.push(`lacks ${needed}`);
}
for (const name of names) {
  if (/\.test\.|^zoo\/|^test\/|^dist\/(test|bench)\/|bench\.js$/.test(name)) problems.push(`holds ${name}`);
}
if (problems.length > 0) {
  process.stderr.write(`the package ${problems.join("\nthe package ")}\n`);
  process.exit(1);
}
process.stdout.write(`package: ${names.length} files, ${(size / 1e3).toFixed(0)} kB packed\n`);

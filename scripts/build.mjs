// The whole build: the catalogue of methods, then the kernels and TypeScript side by side, then the command line's bundle.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** @throws where the script ends with an error, which it has told itself. */
function run(script, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL(script, import.meta.url)), ...args], {
      cwd: root,
      stdio: "inherit",
    });
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`${script} failed`))));
  });
}

// Builds before these declarations were there left a file that hides them.
for (const name of ["src/kernels", "src/algebra/kernels", "src/runtime/kernels"]) {
  rmSync(`${root}/${name}/binary.ts`, { force: true });
}
try {
  await run("./catalogue.mjs");
  const results = await Promise.allSettled([
    run("./build-kernels.mjs"),
    run("../node_modules/typescript/bin/tsc", "-p", "tsconfig.json"),
  ]);
  const failed = results.find(({ status }) => status === "rejected");
  if (failed !== undefined) throw failed.reason;
  await run("./bundle.mjs");
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

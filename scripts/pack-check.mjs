// The package holds what a user needs and nothing else, and merges once it is unpacked.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
// Below the repository, so that the unpacked package finds its dependencies.
const folder = `${root}/out/package`;
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });

const packed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
  cwd: root,
  encoding: "utf8",
});
const [{ files, size, filename }] = JSON.parse(packed);
const superfluous = files
  .map(({ path }) => path)
  .filter((name) =>
    /\.test\.|^zoo\/|^test\/|^dist\/(test|bench)\/|^dist\/src\/kernels\/.*bench\.|\.tsbuildinfo$/.test(name),
  );
if (superfluous.length > 0) {
  process.stderr.write(`the package holds what no user needs:\n${superfluous.join("\n")}\n`);
  process.exit(1);
}

execFileSync("tar", ["-xzf", `${folder}/${filename}`, "-C", folder]);
const merge = ["merge", "examples/vision-ties.yaml", "-o", `${folder}/merged`, "--threads", "2", "--quiet"];
execFileSync(process.execPath, [`${folder}/package/bin/mergewright.js`, ...merge], {
  cwd: root,
  stdio: ["ignore", "ignore", "inherit"],
});
rmSync(folder, { recursive: true });
process.stdout.write(`package: ${files.length} files, ${(size / 1e3).toFixed(0)} kB packed; unpacked, it merges\n`);

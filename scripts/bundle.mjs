// Bundles the command line into dist/cli, because a process that starts several threads would otherwise look up and open
// hundreds of small files, and a merge of a second would spend a third of it on that. The library stays as it is compiled.
import * as esbuild from "esbuild";
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const compiled = path.join(root, "dist/src");
const target = path.join(root, "dist/cli");

/** Modules that start a thread, and the thread's module: it lies beside them here, too. */
const THREADS = {
  "platform/node/threads.js": "platform/node/worker.js",
  "platform/node/team.js": "platform/node/team_worker.js",
};

/**
 * `import.meta.url` is the address of the compiled module, as it was: tasks tell other threads where they are found by it,
 * and packages are looked up from it. Those threads then load compiled modules, and only plain data passes between.
 */
const addresses = {
  name: "addresses",
  setup(build) {
    build.onLoad({ filter: /\.js$/ }, async ({ path: file }) => {
      const name = path.relative(compiled, file);
      if (name.startsWith("..") || name in THREADS) return null;
      const contents = await readFile(file, "utf8");
      if (!contents.includes("import.meta.url")) return null;
      const own = `new URL(${JSON.stringify(path.relative(target, file))}, import.meta.url).href`;
      return { contents: contents.replaceAll("import.meta.url", own), loader: "js" };
    });
  },
};

/** Packages that few runs load, and then from where they are installed. */
const external = [
  "@huggingface/tokenizers",
  "@jsquash/jpeg",
  "d3-scale",
  "d3-shape",
  "fast-png",
  "hyparquet",
  "hyparquet-compressors",
];

const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  outdir: target,
  sourcemap: "linked",
  sourcesContent: false,
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
  external,
  plugins: [addresses],
  // Packages in the older module format ask for Node's own modules by this name.
  banner: {
    js: 'import { createRequire as requireAt } from "node:module"; const require = requireAt(import.meta.url);',
  },
};

await rm(target, { recursive: true, force: true });
const built = [
  await esbuild.build({ ...common, entryPoints: [path.join(compiled, "cli/main.js")], splitting: true }),
  // A thread loads one file.
  ...(await Promise.all(
    Object.values(THREADS).map((file) => esbuild.build({ ...common, entryPoints: [path.join(compiled, file)] })),
  )),
];

/** The folder of the package that a bundled file comes from, or `null` for our own. */
function packageOf(file) {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path.resolve(root, file))?.[0] ?? null;
}

const inputs = built.flatMap(({ metafile }) => Object.keys(metafile.inputs));
const packages = [...new Set(inputs.map(packageOf))].filter((folder) => folder !== null).sort();
const notices = await Promise.all(
  packages.map(async (folder) => {
    const { name, version, license } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
    const files = (await readdir(folder)).filter((file) => /^(licen[cs]e|notice)/i.test(file)).sort();
    const texts = await Promise.all(files.map((file) => readFile(path.join(folder, file), "utf8")));
    return [`${name} ${version} (${license})`, ...texts.map((text) => text.trim())].join("\n\n");
  }),
);
await writeFile(path.join(target, "LICENSES.txt"), `${notices.join(`\n\n${"-".repeat(80)}\n\n`)}\n`);

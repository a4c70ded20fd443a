// Bundles the command line into dist/cli, because a process that starts several threads would otherwise look up and open
// hundreds of small files, and a merge of a second would spend a third of it on that. The library stays as it is compiled.
// `merge`, the verb that is waited for, is bundled with the program itself and apart from all others. The program and the
// thread that merges are one file each, in the form of Node's older modules: of those V8 can keep what it compiled
// (platform/node/code_cache.ts), of the newer ones not.
import * as esbuild from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const compiled = path.join(root, "dist/src");
const target = path.join(root, "dist/cli");

/** Modules that start a thread, whose module lies beside them here, too. */
const STARTING_THREADS = new Set(["platform/node/threads.js", "platform/node/team.js"]);

/**
 * `import.meta.url` is the address of the compiled module, as it was: tasks tell other threads where they are found by it,
 * and packages are looked up from it. Those threads then load compiled modules, and only plain data passes between.
 */
const addresses = {
  name: "addresses",
  setup(build) {
    build.onLoad({ filter: /\.js$/ }, async ({ path: file }) => {
      const name = path.relative(compiled, file);
      if (name.startsWith("..") || STARTING_THREADS.has(name)) return null;
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

/** Modules of WebAssembly as files of their own, which only a thread that compiles one reads. */
const kernels = {
  name: "kernels",
  setup(build) {
    build.onLoad({ filter: /[\\/]kernels[\\/]binary\.js$/ }, async ({ path: file }) => {
      const { bytes, MEMORY_FLAGS_AT, UNSHARED_MEMORY } = await import(pathToFileURL(file).href);
      const name = `${path.relative(compiled, path.dirname(file)).replaceAll(path.sep, "_")}.wasm`;
      await writeFile(path.join(target, name), bytes());
      const contents = `import { readFileSync } from "node:fs";
        export const bytes = () => new Uint8Array(readFileSync(new URL("./${name}", import.meta.url)));
        export const MEMORY_FLAGS_AT = ${MEMORY_FLAGS_AT}, UNSHARED_MEMORY = ${UNSHARED_MEMORY};`;
      return { contents, loader: "js" };
    });
  },
};

const verbsFolder = path.join(compiled, "cli/verbs");
const MERGE = path.join(verbsFolder, "merge.js");
/** Name of the file that a verb's module becomes. */
const verbName = (file) => `verb-${path.relative(verbsFolder, file).slice(0, -".js".length).replaceAll(path.sep, "-")}`;

/** The verbs that are bundled apart, which are gathered here, are left to be found beside the program. */
const others = new Set();
const verbs = {
  name: "verbs",
  setup(build) {
    build.onResolve({ filter: /^\.\/verbs\// }, ({ path: name, kind, resolveDir }) => {
      const file = path.join(resolveDir, name);
      if (kind !== "dynamic-import" || file === MERGE) return null;
      others.add(file);
      return { path: `./${verbName(file)}.js`, external: true };
    });
  },
};

/** The threads that the program starts are the ones that its verbs take: they share this module. */
const THREADS_MODULE = path.join(compiled, "platform/node/threads.js");
const threads = {
  name: "threads",
  setup(build) {
    build.onResolve({ filter: /\/threads\.js$/ }, ({ path: name, resolveDir, kind }) =>
      kind !== "entry-point" && path.join(resolveDir, name) === THREADS_MODULE
        ? { path: "./threads.cjs", external: true }
        : null,
    );
  },
};

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
  plugins: [kernels, addresses],
  minifySyntax: true,
  minifyWhitespace: true,
};
const newer = {
  ...common,
  // Packages in the older module format ask for Node's own modules by this name.
  banner: {
    js: 'import { createRequire as requireAt } from "node:module"; const require = requireAt(import.meta.url);',
  },
};
const older = {
  ...common,
  format: "cjs",
  outExtension: { ".js": ".cjs" },
  define: { "import.meta.url": "bundleAddress" },
  banner: { js: 'const bundleAddress = require("node:url").pathToFileURL(__filename).href;' },
};

/** Bundles a module as one file, with a hash in its name, and writes what runs it and gives it `importForBundle`. */
async function cached(file, name, plugins) {
  const built = await esbuild.build({ ...older, entryPoints: [file], entryNames: `${name}-[hash]`, plugins });
  const bundle = Object.keys(built.metafile.outputs).find((output) => output.endsWith(".cjs"));
  const text = await readFile(path.resolve(root, bundle), "utf8");
  await writeFile(path.resolve(root, bundle), text.replaceAll(/(?<![\w$.])import\(/g, "importForBundle("));
  const address = `new URL("./${path.basename(bundle)}", import.meta.url).href`;
  const run = `import { runBundle } from "./code_cache.js";\nrunBundle(${address});\n`;
  await writeFile(path.join(target, `${name}.js`), run);
  return built;
}

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
const program = await cached(path.join(compiled, "cli/main.js"), "main", [...common.plugins, verbs, threads]);
const built = [
  program,
  await esbuild.build({ ...older, entryPoints: [THREADS_MODULE] }),
  await esbuild.build({
    ...newer,
    entryPoints: [...others].map((file) => ({ in: file, out: verbName(file) })),
    splitting: true,
    plugins: [...common.plugins, threads],
  }),
  // A thread loads one file.
  await cached(path.join(compiled, "platform/node/worker.js"), "worker", common.plugins),
  await esbuild.build({
    ...newer,
    entryPoints: ["platform/node/team_worker.js", "platform/node/code_cache.js"].map((file) =>
      path.join(compiled, file),
    ),
  }),
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

// Bundles the command line into dist/cli, because a process that starts several threads would otherwise look up and open
// hundreds of small files, and a merge of a second would spend a third of it on that. The library stays as it is compiled.
// `merge`, the verb that is waited for, is bundled with the program itself and apart from all others, so that it is a few
// files: what it shares with one verb or another would else be a chunk each.
import * as esbuild from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

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

/** The threads that the program starts are the ones that its verbs take. */
const THREADS_MODULE = path.join(compiled, "platform/node/threads.js");
const threads = {
  name: "threads",
  setup(build) {
    build.onResolve({ filter: /\/threads\.js$/ }, ({ path: name, resolveDir }) =>
      path.join(resolveDir, name) === THREADS_MODULE ? { path: "./threads.js", external: true } : null,
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
  // Packages in the older module format ask for Node's own modules by this name.
  banner: {
    js: 'import { createRequire as requireAt } from "node:module"; const require = requireAt(import.meta.url);',
  },
};

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
const program = await esbuild.build({
  ...common,
  entryPoints: [
    { in: path.join(compiled, "cli/main.js"), out: "main" },
    { in: THREADS_MODULE, out: "threads" },
  ],
  splitting: true,
  plugins: [...common.plugins, verbs],
});
const built = [
  program,
  await esbuild.build({
    ...common,
    entryPoints: [...others].map((file) => ({ in: file, out: verbName(file) })),
    splitting: true,
    plugins: [...common.plugins, threads],
  }),
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

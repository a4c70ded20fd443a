// Compiles the AssemblyScript kernels to WebAssembly and embeds each module in a binary.ts beside its sources: those of
// merging, those of linear algebra and those of the runtime, so that a merge loads the first alone. Skipped where no source
// is newer.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import path from "node:path";

const root = fileURLToPath(new URL("..", import.meta.url));
const within = (folder, ending) =>
  readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(ending))
    .map((name) => path.join(folder, name));

async function compile(entry, generated, shared) {
  const asc = (await import("assemblyscript/asc")).default;
  let binary = null;
  const flags = [entry, "--outFile", "out.wasm", "-O3", "--runtime", "stub", "--noAssert"];
  flags.push("--importMemory", "--maximumMemory", "65536", "--initialMemory", "1", "--memoryBase", "1024");
  flags.push("--enable", "simd", "--enable", "threads", ...(shared ? ["--sharedMemory"] : []));
  const messages = [];
  const { error } = await asc.main(flags, {
    stderr: { write: (text) => messages.push(text) },
    readFile: (name, base) => {
      const file = path.resolve(root, base ?? ".", name);
      if (generated.has(file)) return generated.get(file);
      return existsSync(file) ? readFileSync(file, "utf8") : null;
    },
    writeFile: (_name, contents) => {
      binary = contents;
    },
    listFiles: () => [],
  });
  if (error !== null) {
    process.stderr.write(messages.join(""));
    throw error;
  }
  return Buffer.from(binary);
}

/** Sources outside a folder that its kernels import. */
const imported = { "src/runtime/kernels": ["src/algebra/kernels/gemm.as.ts"] };

for (const name of ["src/kernels", "src/algebra/kernels", "src/runtime/kernels"]) {
  const folder = path.join(root, name);
  const target = path.join(folder, "binary.ts");
  // Kernels written out by a program beside them: X.mjs exports the source of X.as.ts.
  const generators = within(folder, ".mjs");
  const others = (imported[name] ?? []).map((file) => path.join(root, file));
  const inputs = [...within(folder, ".as.ts"), ...others, ...generators, fileURLToPath(import.meta.url)];
  const newest = Math.max(...inputs.map((file) => statSync(file).mtimeMs));
  if (existsSync(target) && statSync(target).mtimeMs >= newest && !process.argv.includes("--force")) continue;
  const generated = new Map();
  for (const file of generators) {
    generated.set(file.replace(/\.mjs$/, ".as.ts"), (await import(pathToFileURL(file).href)).source);
  }
  const entry = `${name}/index.as.ts`;
  const shared = await compile(entry, generated, true);
  const unshared = await compile(entry, generated, false);
  // The two differ in one byte, the flags of the imported memory's limits, so one of them is enough.
  const differing = [...shared.keys()].filter((at) => shared[at] !== unshared[at]);
  if (shared.length !== unshared.length || differing.length !== 1)
    throw new Error("the two kernels differ in more than a flag");
  const [flagsAt] = differing;
  const base64 = path.relative(folder, path.join(root, "src/kernels/base64.js")).replaceAll(path.sep, "/");
  const text = `// Written by scripts/build-kernels.mjs; not to be edited.
import { decodeBase64 } from "${base64.startsWith(".") ? base64 : `./${base64}`}";
/** WebAssembly that imports shared memory. */
export function bytes(): Uint8Array<ArrayBuffer> {
  return decodeBase64(
    "${shared.toString("base64")}",
  );
}
/** The byte that says whether the imported memory is shared, and its value for memory that is not. */
export const MEMORY_FLAGS_AT = ${flagsAt};
export const UNSHARED_MEMORY = ${unshared[flagsAt]};
`;
  writeFileSync(target, text);
  process.stdout.write(`${name}: ${shared.length} bytes of WebAssembly\n`);
}

// Compiles the AssemblyScript kernels to WebAssembly and embeds each module in a binary.js beside the compiled modules that
// load it: those of merging, those of linear algebra and those of the runtime, so that a merge loads the first alone. Each is
// compiled by a thread of its own. Skipped where no source is newer.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isMainThread, Worker, workerData } from "node:worker_threads";

const root = fileURLToPath(new URL("..", import.meta.url));
const within = (folder, ending) =>
  readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(ending))
    .map((name) => path.join(folder, name));

/** Kernels written out by a program beside them: X.mjs exports the source of X.as.ts. */
const generatorsIn = (name) => within(path.join(root, name), ".mjs");
const targetOf = (name) => path.join(root, "dist", name, "binary.js");

/** @returns WebAssembly that imports shared memory. */
async function compile(name) {
  const asc = (await import("assemblyscript/asc")).default;
  const generated = new Map();
  for (const file of generatorsIn(name)) {
    generated.set(file.replace(/\.mjs$/, ".as.ts"), (await import(pathToFileURL(file).href)).source);
  }
  let binary = null;
  const flags = [`${name}/index.as.ts`, "--outFile", "out.wasm", "-O3", "--runtime", "stub", "--noAssert"];
  flags.push("--importMemory", "--maximumMemory", "65536", "--initialMemory", "1", "--memoryBase", "1024");
  flags.push("--enable", "simd", "--enable", "threads", "--sharedMemory");
  const messages = [];
  const { error } = await asc.main(flags, {
    stderr: { write: (text) => messages.push(text) },
    readFile: (file, base) => {
      const found = path.resolve(root, base ?? ".", file);
      if (generated.has(found)) return generated.get(found);
      return existsSync(found) ? readFileSync(found, "utf8") : null;
    },
    writeFile: (_file, contents) => {
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

/** Flags of the limits of a memory that has a maximum, which is all by which a module tells shared memory from other. */
const SHARED = 3;
const UNSHARED = 1;

/** Where the imported memory's flags are (WebAssembly core specification with threads, binary format of imports). */
function memoryFlagsAt(wasm) {
  let at = 8;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const skip = (bytes) => void (at += bytes);
  const IMPORTS = 2;
  while (wasm[at++] !== IMPORTS) skip(number());
  number();
  if (number() !== 1) throw new Error("the kernels import more than their memory");
  skip(number());
  skip(number());
  const MEMORY = 2;
  if (wasm[at] !== MEMORY || wasm[at + 1] !== SHARED) throw new Error("the kernels import no shared memory");
  return at + 1;
}

async function build(name) {
  const wasm = await compile(name);
  const flagsAt = memoryFlagsAt(wasm);
  const unshared = Uint8Array.from(wasm);
  unshared[flagsAt] = UNSHARED;
  if (![wasm, unshared].every((module) => WebAssembly.validate(module))) throw new Error(`${name}: no valid module`);
  const target = targetOf(name);
  const base64 = path.relative(path.dirname(target), path.join(root, "dist/src/kernels/base64.js"));
  const text = `// Written by scripts/build-kernels.mjs; binary.d.ts says what is in it.
import { decodeBase64 } from "./${base64.replaceAll(path.sep, "/")}";
export function bytes() {
  return decodeBase64(
    "${wasm.toString("base64")}",
  );
}
export const MEMORY_FLAGS_AT = ${flagsAt};
export const UNSHARED_MEMORY = ${UNSHARED};
`;
  mkdirSync(path.dirname(target), { recursive: true });
  writeFileSync(target, text);
  process.stdout.write(`${name}: ${wasm.length} bytes of WebAssembly\n`);
}

/** Sources outside a folder that its kernels import. */
const imported = { "src/runtime/kernels": ["src/algebra/kernels/gemm.as.ts"] };

function isStale(name) {
  const others = (imported[name] ?? []).map((file) => path.join(root, file));
  const own = within(path.join(root, name), ".as.ts");
  const inputs = [...own, ...others, ...generatorsIn(name), fileURLToPath(import.meta.url)];
  const newest = Math.max(...inputs.map((file) => statSync(file).mtimeMs));
  const target = targetOf(name);
  return !existsSync(target) || statSync(target).mtimeMs < newest || process.argv.includes("--force");
}

/** In a thread; whatever fails there fails here. */
function inThread(name) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: name });
    worker.once("error", reject);
    worker.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`${name} was not compiled`))));
  });
}

if (isMainThread) {
  const names = ["src/kernels", "src/algebra/kernels", "src/runtime/kernels"];
  await Promise.all(names.filter(isStale).map(inThread));
} else await build(workerData);

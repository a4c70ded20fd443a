/** Methods of one's own, loaded from modules: JavaScript that the user names and that runs with the user's rights. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { MergewrightError } from "../../errors.js";
import { findMethod } from "../../methods/catalogue.js";
import { defineMethod } from "../../methods/define.js";
import type { OwnMethod } from "../../methods/define.js";
import type { Method } from "../../methods/method.js";
import { xxh64 } from "../../numbers/checksum.js";
import { systemError } from "./files.js";

/**
 * @param uses paths of modules, relative ones from the working directory, or `file:` addresses; and methods themselves,
 * which only the calling thread then knows. A module's default export is a method or a list of methods.
 * @throws method/invalid, io/read
 */
export async function loadMethods(uses: readonly (string | OwnMethod)[]): Promise<readonly Method[]> {
  const methods: Method[] = [];
  for (const use of uses) {
    const loaded = typeof use === "string" ? await loadModule(use) : [defineMethod(use)];
    for (const method of loaded) {
      if (methods.some(({ name }) => name === method.name))
        throw twice(method.name, typeof use === "string" ? use : method.name);
      methods.push(method);
    }
  }
  return methods;
}

/** A method of the catalogue, or of one's own. */
export function finderOf(own: readonly Method[]): (name: string) => Method {
  return (name) => own.find((method) => method.name === name) ?? findMethod(name)!;
}

async function loadModule(use: string): Promise<Method[]> {
  const url = use.startsWith("file:") ? new URL(use) : pathToFileURL(path.resolve(use));
  const hash = xxh64(contentOf(url, use));
  const { default: exported } = await importModule(url, use);
  if (exported === undefined) {
    throw new MergewrightError("a module has no default export", {
      kind: "request",
      code: "method/invalid",
      where: { file: use },
      expected: "export default a method or a list of methods",
      advice: "docs/own-methods.md shows a complete one",
    });
  }
  const declared = Array.isArray(exported) ? (exported as unknown[]) : [exported];
  return declared.map((own) => ({ ...defineMethod(own as OwnMethod, use), origin: { module: url.href, hash } }));
}

function contentOf(url: URL, use: string): Uint8Array {
  try {
    return readFileSync(fileURLToPath(url));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw systemError("read", use, cause);
    throw new MergewrightError("there is no such module", {
      kind: "request",
      code: "method/invalid",
      where: { file: use },
      expected: "a JavaScript file; a relative path starts at the current folder",
      advice: "check the path",
      cause,
    });
  }
}

async function importModule(url: URL, use: string): Promise<{ readonly default?: unknown }> {
  try {
    return (await import(url.href)) as { readonly default?: unknown };
  } catch (cause) {
    throw new MergewrightError("a module with a method cannot be loaded", {
      kind: "request",
      code: "method/invalid",
      where: { file: use },
      found: cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause),
      advice: "it must be an ES module: a .mjs file, or .js below a package.json with type: module",
      cause,
    });
  }
}

function twice(name: string, file: string): MergewrightError {
  return new MergewrightError(`two own methods are called ${name}`, {
    kind: "request",
    code: "method/invalid",
    where: { file },
    advice: "give each a name of its own",
  });
}

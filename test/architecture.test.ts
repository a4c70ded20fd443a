/** Promises about the structure that a test can keep. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { methods } from "../src/methods/catalogue.js";
import { methodsPage } from "../src/report/manual.js";
import { VERSION } from "../src/version.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const read = (file: string) => readFileSync(path.join(root, file), "utf8");
const sources = readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .map((name) => name.split(path.sep).join("/"))
  .filter(
    (name) => name.endsWith(".ts") && !name.endsWith(".as.ts") && !/\.test\.ts$|^kernels\/(.*\/)?bench\.ts$/.test(name),
  );

/** The table in ARCHITECTURE.md: rooms in the order the data walks. */
function roomsOf(document: string): string[] {
  return [...document.matchAll(/^\| `([\w./]+)` \|/gm)].map((match) => match[1]!.replace(/\/$/, ""));
}

/** `platform/node/crew.ts` is in the room `platform/node`, `merge.ts` is a room of its own. */
function roomOf(file: string, rooms: readonly string[]): string | undefined {
  return rooms.filter((room) => file === room || file.startsWith(`${room}/`)).sort((a, b) => b.length - a.length)[0];
}

function importsOf(file: string): string[] {
  const found = [...read(`src/${file}`).matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]!);
  return found
    .filter((name) => name.startsWith("."))
    .map((name) => path.posix.join(path.posix.dirname(file), name).replace(/\.js$/, ".ts"));
}

describe("the rooms", () => {
  const rooms = roomsOf(read("ARCHITECTURE.md"));

  it("cover every source file", () => {
    assert.ok(rooms.length > 10, "ARCHITECTURE.md has the table of rooms");
    assert.deepEqual(
      sources.filter((file) => roomOf(file, rooms) === undefined),
      [],
    );
  });

  it("import only from earlier rooms", () => {
    // A kernel's binding is declared by the method contract's types alone, and statistics by their value types.
    const typesOnly = new Set(["methods/method.ts"]);
    const wrong = sources.flatMap((file) =>
      importsOf(file)
        .filter((target) => !typesOnly.has(target))
        .filter((target) => rooms.indexOf(roomOf(target, rooms)!) > rooms.indexOf(roomOf(file, rooms)!))
        .map((target) => `${file} imports ${target}`),
    );
    assert.deepEqual(wrong, []);
  });
});

describe("the library", () => {
  it("names Node only in platform/node, the command line and the Node entry", () => {
    const allowed = /^(platform\/node\/|cli\/|node\.ts$)/;
    const naming = sources.filter(
      (file) => !allowed.test(file) && /from "node:|import\("node:/.test(read(`src/${file}`)),
    );
    assert.deepEqual(naming, []);
  });

  it("branches on no method's name in the engine", () => {
    const names = methods.map(({ name }) => name);
    const naming = sources.filter(
      (file) =>
        /^(execute|plan|platform)\//.test(file) && names.some((name) => read(`src/${file}`).includes(`"${name}"`)),
    );
    assert.deepEqual(naming, []);
  });

  it("documents every method, with a paper or a reason for none, and default values within range", () => {
    for (const method of methods) {
      assert.ok(method.title.length > 10 && method.description.includes("theta"), method.name);
      for (const [name, parameter] of Object.entries(method.parameters)) {
        assert.ok(parameter.meaning.length > 5, `${method.name}.${name}`);
        if (parameter.type === "choice") assert.ok(Object.hasOwn(parameter.choices, parameter.default));
      }
      for (const { values } of Object.values(method.dialects)) {
        for (const name of Object.keys(values))
          assert.ok(Object.hasOwn(method.parameters, name), `${method.name}: ${name}`);
      }
    }
  });

  it("has its methods' manual in docs/methods.md", () => {
    assert.equal(read("docs/methods.md"), methodsPage(methods), "run npm run docs");
  });

  it("says the version of package.json", () => {
    assert.equal(VERSION, (JSON.parse(read("package.json")) as { version: string }).version);
  });
});

describe("the package", () => {
  it("exports files that exist after a build", () => {
    const { exports } = JSON.parse(read("package.json")) as {
      exports: Record<string, string | Record<string, string>>;
    };
    for (const target of Object.values(exports).flatMap((entry) =>
      typeof entry === "string" ? [entry] : Object.values(entry),
    )) {
      assert.doesNotThrow(() => read(target), target);
    }
  });

  it("gives a line in docs/dependencies.md to every dependency", () => {
    const { dependencies, devDependencies } = JSON.parse(read("package.json")) as Record<
      string,
      Record<string, string>
    >;
    const text = read("docs/dependencies.md");
    const missing = Object.keys({ ...dependencies, ...devDependencies }).filter(
      (name) => !text.includes(`\`${name}\``),
    );
    assert.deepEqual(missing, []);
  });
});

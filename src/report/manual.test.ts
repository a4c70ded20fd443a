import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { methods } from "../methods/catalogue.js";
import type { Method } from "../methods/method.js";
import { parseRecipe } from "../recipe/native.js";
import { exampleRecipe, methodList, methodManual, methodsPage } from "./manual.js";

const toy: Method = {
  name: "toy",
  title: "A toy",
  paper: { title: "On Toys", authors: "Child et al.", where: "arXiv 2401.00001" },
  description: "theta = |x|\n\n```\nfenced\n```",
  base: "optional",
  models: { min: 1, max: 1 },
  parameters: {
    mode: { type: "choice", default: "a", choices: { a: "x | y", null: "z" }, per: "recipe", meaning: "which" },
    level: { type: "number", default: 2, min: 1, integer: true, per: "model", meaning: "how far" },
    exact: { type: "flag", default: false, per: "tensor", meaning: "to the bit" },
    other: { type: "checkpoint", default: null, per: "recipe", meaning: "another" },
  },
  dialects: {
    paper: { meaning: "as printed", values: {} },
    odd: { meaning: "a port", values: { mode: "null", level: 2 } },
  },
  inputs: "changes",
  counters: { spins: "how often it span" },
  grain: "tile",
  needs: () => null,
  bind: () => ({ scalars: {}, columns: {} }),
  combine: () => undefined,
  kernel: () => null,
};

describe("methodManual", () => {
  it("tells everything that is declared", () => {
    assert.equal(
      methodManual(toy),
      `# toy

A toy.

Paper: *On Toys*, Child et al., [arXiv 2401.00001](https://arxiv.org/abs/2401.00001)

\`\`\`\`text
theta = |x|

\`\`\`
fenced
\`\`\`
\`\`\`\`

A base is optional. Models: 1. It works on changes (model − base), so \`prune\` or \`dare\` can go before it.

## Parameters

| parameter | type | default | may be set per | meaning |
| --- | --- | --- | --- | --- |
| \`mode\` | \`a\`, \`null\` | \`a\` | recipe | which |
| \`level\` | a whole number, 1 or more | \`2\` | recipe, tensor pattern, model | how far |
| \`exact\` | \`true\` or \`false\` | \`false\` | recipe, tensor pattern | to the bit |
| \`other\` | a path or address | none | recipe | another |

| \`mode\` | meaning |
| --- | --- |
| \`a\` | x \\| y |
| \`null\` | z |

## Dialects

| dialect | meaning | values |
| --- | --- | --- |
| \`toy/paper\` (default) | as printed | the defaults |
| \`toy/odd\` | a port | \`mode: null\` |

## Counted in the report

- \`spins\`: how often it span

## Example

\`\`\`yaml
method: toy/paper
models:
  - ./model-1
parameters:
  mode: a
  level: 2
  exact: false
\`\`\`
`,
    );
  });

  it("leaves out what there is none of", () => {
    const text = methodManual(
      { ...toy, paper: null, parameters: {}, dialects: {}, counters: {}, inputs: "weights" },
      3,
    );
    assert.match(text, /^### toy\n\nA toy\.\n\n````text/);
    assert.match(
      text,
      /\n#### Parameters\n\nNone\.\n\n#### Example\n\n```yaml\nmethod: toy\nmodels:\n {2}- \.\/model-1\n```\n$/,
    );
  });

  for (const method of [...methods, toy, { ...toy, dialects: {}, models: { min: 3 }, base: "required" as const }]) {
    it(`has an example that parses: ${method.name}`, () => {
      const recipe = parseRecipe(exampleRecipe(method), { methods: [method] });
      assert.equal(recipe.method, method);
      assert.deepEqual(recipe.notes, []);
      assert.ok(methodManual(method).includes(exampleRecipe(method)));
    });
  }
});

describe("methodList", () => {
  it("has a row per method", () => {
    assert.equal(
      methodList([toy]),
      "| method | what it does | base | models | dialects |\n| --- | --- | --- | --- | --- |\n| `toy` | A toy | optional | 1 | `paper`, `odd` |\n",
    );
    const page = methodsPage(methods);
    for (const { name } of methods) assert.ok(page.includes(`\n## ${name}\n`));
  });
});

describe("scripts/new-method.mjs", () => {
  let root = import.meta.dirname;
  while (!existsSync(path.join(root, "package.json"))) root = path.dirname(root);
  const script = path.join(root, "scripts", "new-method.mjs");
  const run = (...words: string[]) => spawnSync(process.execPath, [script, ...words], { encoding: "utf8" });

  it("makes a method and a test that compile and pass", (context) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "new-method-"));
    context.after(() => rmSync(folder, { recursive: true }));
    const methodsFolder = path.join(folder, "methods");
    mkdirSync(methodsFolder);
    assert.equal(run("sum_of_two", "--folder", methodsFolder).status, 0);
    cpSync(path.join(root, "src", "methods", "method.ts"), path.join(methodsFolder, "method.ts"));
    // The contract names the types of linear algebra.
    for (const name of ["algebra", "errors.ts", "kernels", "numbers"]) {
      symlinkSync(path.join(root, "src", name), path.join(folder, name));
    }
    const options = JSON.parse(readFileSync(path.join(root, "tsconfig.json"), "utf8")).compilerOptions;
    Object.assign(options, {
      rootDir: ".",
      outDir: "out",
      preserveSymlinks: true,
      typeRoots: [path.join(root, "node_modules", "@types")],
    });
    writeFileSync(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({ compilerOptions: options, include: ["methods/*.ts"] }),
    );
    writeFileSync(path.join(folder, "package.json"), '{"type": "module"}');
    execFileSync(process.execPath, [path.join(root, "node_modules", "typescript", "bin", "tsc"), "-p", folder]);
    // Without this variable the inner test reports in words, as when a person runs it.
    const { NODE_TEST_CONTEXT: _context, ...env } = process.env;
    const test = path.join(folder, "out", "methods", "sum_of_two.test.js");
    assert.match(execFileSync(process.execPath, [test], { encoding: "utf8", env }), /pass 2\n/);
    assert.match(
      readFileSync(path.join(methodsFolder, "sum_of_two.ts"), "utf8"),
      /^export const sumOfTwo: TileMethod = /m,
    );
    assert.match(run("sum_of_two", "--folder", methodsFolder).stderr, /exists already/);
  });

  it("refuses names that are none", () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "new-method-"));
    for (const words of [[], ["Upper"], ["a-b"], ["../a"], ["a", "b"], ["method"], ["catalogue"], ["delete"], ["1a"]]) {
      assert.equal(run(...words, "--folder", folder).status, 2, words.join(" "));
    }
    assert.deepEqual(readdirSync(folder), []);
    rmSync(folder, { recursive: true });
  });
});

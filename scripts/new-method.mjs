// Makes the skeleton of a merge method: node scripts/new-method.mjs NAME
// Writes src/methods/NAME.ts and NAME.test.ts, which compile as they are; the catalogue finds the new file by itself.
import { existsSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { positionals, values } = parseArgs({ allowPositionals: true, options: { folder: { type: "string" } } });
const [name, ...others] = positionals;
const folder = values.folder ?? fileURLToPath(new URL("../src/methods", import.meta.url));

if (name === undefined || others.length > 0 || !/^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$/.test(name)) {
  fail("usage: node scripts/new-method.mjs NAME\n  NAME is lower case with underscores, e.g. task_arithmetic");
}
if (["method", "catalogue"].includes(name)) fail(`src/methods/${name}.ts is no method; choose another name`);

// The value is called after the file: task_arithmetic.ts exports taskArithmetic.
const value = name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const RESERVED =
  "break case catch class const continue debugger default delete do else enum export extends false finally for function if import in instanceof new null return super switch this throw true try typeof var void while with let static yield await";
if (RESERVED.split(" ").includes(value)) fail(`${value} is a word of the language; choose another name`);

const source = `import type { Arguments, Tile, TileMethod } from "./method.js";

const { fround } = Math;

export const ${value}: TileMethod = {
  name: "${name}",
  title: "One line that says what it does",
  // { title: "...", authors: "... et al.", where: "arXiv 0000.00000" }
  paper: null,
  description: \`theta = theta_0 + lambda (w_1 tau_1 + … + w_n tau_n),   tau_i = theta_i - theta_0

The formula above and every rule worth knowing: where code and paper differ, which of them this follows, edge cases.\`,
  base: "required",
  models: { min: 1 },
  parameters: {
    lambda: { type: "number", default: 1, per: "tensor", meaning: "scale of the merged change" },
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model" },
  },
  dialects: { paper: { meaning: "the values of the paper", values: {} } },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  bind(settings): Arguments {
    return {
      scalars: { lambda: fround(Number(settings.global.lambda)) },
      columns: { weight: settings.models.map((model) => fround(Number(model.weight))) },
    };
  },

  combine({ count, base, inputs, out }: Tile, { scalars, columns }: Arguments) {
    const lambda = scalars.lambda!;
    const weights = columns.weight!;
    for (let p = 0; p < count; p++) {
      let sum = 0;
      for (let i = 0; i < inputs.length; i++) sum = fround(sum + fround(inputs[i]![p]! * weights[i]!));
      out[p] = base[p]! + fround(sum * lambda);
    }
  },

  kernel: () => null,
};
`;

const test = `import assert from "node:assert/strict";
import test from "node:test";
import type { Settings, Tile } from "./method.js";
import { ${value} } from "./${name}.js";

function combine(base: number[], changes: number[][], global: Settings["global"]): number[] {
  const settings: Settings = { global, models: changes.map(() => ({ ...global, weight: 1 })) };
  const tile: Tile = {
    count: base.length,
    base: Float32Array.from(base),
    inputs: changes.map((change) => Float32Array.from(change)),
    extra: {},
    out: new Float32Array(base.length),
    counters: {},
  };
  ${value}.combine(tile, ${value}.bind(settings, {}));
  return [...tile.out];
}

test("${name}: by hand", () => {
  assert.deepEqual(combine([1, 2], [[0.5, 0], [0.25, -1]], { lambda: 2 }), [2.5, 0]);
});

test("${name}: lambda 0 leaves the base", () => {
  assert.deepEqual(combine([1, 2], [[0.5, 0], [0.25, -1]], { lambda: 0 }), [1, 2]);
});
`;

write(`${folder}/${name}.ts`, source);
write(`${folder}/${name}.test.ts`, test);
console.log(`next: the formula in src/methods/${name}.ts, golden values in its test, then npm test`);

function write(path, text) {
  if (existsSync(path)) fail(`${path} exists already`);
  writeFileSync(path, text, { flag: "wx" });
  console.log(`wrote ${path}`);
}

function fail(message) {
  console.error(message);
  process.exit(2);
}

/** Recipes of mergekit are recognised and refused, with the native wording where it is the same merge in other words. */

import { stringify } from "yaml";
import { DTYPE_OF_RECIPE_NAME } from "../numbers/dtypes.js";
import { buildRecipe, type RecipeContext } from "./build.js";
import { issue } from "./issues.js";
import { entryOf, type Node } from "./tree.js";
import { placed } from "./values.js";
import { readYaml } from "./yaml.js";

/** Longer translations do not fit into a message. */
const MOST_LINES = 40;

const GENERIC = `write it natively, for example:
    method: ties/mergekit
    base: ./base
    models:
      - {model: ./one, weight: 0.5, density: 0.3}
      - {model: ./two, weight: 0.5, density: 0.3}
    output: {dtype: bfloat16}`;

/** @throws recipe/unsupported for a file with `merge_method`. */
export function refuseMergekit(root: Node, context: RecipeContext): void {
  const entry = entryOf(root, "merge_method");
  if (entry === undefined || entryOf(root, "method") !== undefined) return;
  const text = translate(root, context);
  throw issue("this is a mergekit recipe, and this version does not run these yet", {
    code: "recipe/unsupported",
    where: placed(entry.where, "merge_method"),
    expected: "a recipe with method:",
    advice:
      text === null
        ? GENERIC
        : `write it natively (mergekit computes in dtype, Mergewright in float32):\n${text.replace(/^/gm, "    ").trimEnd()}`,
  });
}

type Scalars = Readonly<Record<string, string | number | boolean>>;

/** What the three plain methods mean here; `null` where the same cannot be said. */
const METHODS: Readonly<Record<string, { method: string; normalize: boolean; own: readonly string[] }>> = {
  linear: { method: "average", normalize: true, own: ["weight"] },
  task_arithmetic: { method: "task_arithmetic/mergekit", normalize: false, own: ["weight", "lambda"] },
  ties: { method: "ties/mergekit", normalize: true, own: ["weight", "density", "lambda"] },
};

function translate(root: Node, context: RecipeContext): string | null {
  const known = METHODS[textAt(root, "merge_method") ?? ""];
  const list = entryOf(root, "models")?.node;
  if (known === undefined || list?.kind !== "list" || !onlyKeys(root, PLAIN_KEYS)) return null;
  const base = textAt(root, "base_model");
  if (base !== undefined && known.method === "average") return null;
  const global = scalarsAt(root);
  const models = list.items.map((item) => ({ model: textAt(item, "model"), own: scalarsAt(item), item }));
  const merged = models.filter(({ model }) => model !== base);
  if (global === null || merged.some(({ item, own }) => own === null || !onlyKeys(item, ["model", "parameters"])))
    return null;
  const { normalize = known.normalize, int8_mask: _, ...shared } = global;
  if (normalize !== known.normalize || !within(shared, known.own)) return null;
  if (merged.some(({ own }) => !within(own!, known.own))) return null;
  const dtype = (textAt(root, "out_dtype") ?? textAt(root, "dtype"))?.replace(/^torch\./, "");
  if (dtype !== undefined && !Object.hasOwn(DTYPE_OF_RECIPE_NAME, dtype)) return null;
  const { weight, density, lambda } = shared;
  const native = {
    method: known.method,
    ...(base !== undefined && { base }),
    models: merged.map(({ model, own }) => {
      const { lambda: _ignored, ...mine } = own!;
      return { model, ...mine };
    }),
    ...(Object.keys(shared).length > 0 && { parameters: defined({ weight, density, lambda }) }),
    ...(dtype !== undefined && { output: { dtype } }),
  };
  return checked(stringify(native, { lineWidth: 0 }), context);
}

const PLAIN_KEYS = ["merge_method", "base_model", "models", "parameters", "dtype", "out_dtype"];

/** The text, if it is a short and valid recipe. */
function checked(text: string, context: RecipeContext): string | null {
  if (text.split("\n").length > MOST_LINES || /\p{Cf}/u.test(text)) return null;
  try {
    buildRecipe(readYaml(text, undefined), context);
    return text;
  } catch {
    return null;
  }
}

function onlyKeys(node: Node, keys: readonly string[]): boolean {
  return node.kind === "dictionary" && node.entries.every(({ key }) => keys.includes(key));
}

function within(values: Scalars, names: readonly string[]): boolean {
  return Object.keys(values).every((name) => names.includes(name));
}

function textAt(node: Node, key: string): string | undefined {
  const found = entryOf(node, key)?.node;
  return found?.kind === "scalar" && found.value !== null ? found.text : undefined;
}

/** The block `parameters:` of a node if it holds single values only. */
function scalarsAt(node: Node): Scalars | null {
  const block = entryOf(node, "parameters")?.node;
  if (block === undefined) return {};
  if (block.kind !== "dictionary") return null;
  const pairs: [string, string | number | boolean][] = [];
  for (const { key, node: value } of block.entries) {
    if (value.kind !== "scalar" || value.value === null) return null;
    pairs.push([key, value.value]);
  }
  return Object.fromEntries(pairs);
}

function defined(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/**
 * Recipes whose models are adapters: the same grammar, with a block `adapter` for what only adapters have, and a `base`
 * that is needed only where an adapter's update depends on it (DoRA) or replaces tensors of it.
 */
import type { Where } from "../errors.js";
import type { Method } from "../methods/method.js";
import { buildRecipe } from "./build.js";
import type { RecipeContext } from "./context.js";
import { Issues } from "./issues.js";
import { readTree } from "./native.js";
import { applyOptions } from "./options.js";
import type { RecipeOptions } from "./options.js";
import type { Recipe } from "./recipe.js";
import { SPACES } from "./spaces.js";
import type { Space } from "./spaces.js";
import { dictionary, entryOf, type Dictionary, type Node, withEntry, withoutEntry, scalar } from "./tree.js";
export type { Space } from "./spaces.js";
import { isNothing, note, readChoice, readEntries, readNumber, type Reading } from "./values.js";

export interface AdapterWish {
  readonly space: Space;
  /** Largest rank of a module; `null`: none is asked for. */
  readonly rank: number | null;
  /** Share of each module's squared norm kept at least; `null`: none is asked for. */
  readonly energy: number | null;
}

export interface AdapterRecipe {
  /** Its base is NO_BASE, or `null` for a method that takes none. */
  readonly recipe: Recipe;
  /** The model that the adapters were trained on, as written. */
  readonly base: string | null;
  readonly wish: AdapterWish;
}

/** What stands for the state without adapters: updates are changes from nothing. No path is called this. */
export const NO_BASE = "(no adapter)";

export interface AdapterContext extends Omit<RecipeContext, "methods"> {
  /** Every method that a recipe under this dialect may name; `null`: it names none. */
  readonly methods: (dialect: string | null) => readonly Method[];
  /** Of a recipe that names none. */
  readonly methodDefault: string;
}

/**
 * @param text of a file, or `null` where flags say everything.
 * @param wish values that flags give for the block `adapter`.
 * @throws MergewrightError with the place of everything wrong.
 */
export function readAdapterRecipe(
  text: string | null,
  options: RecipeOptions,
  wish: Readonly<Partial<AdapterWish>>,
  { methods: methodsOf, methodDefault, ...context }: AdapterContext,
): AdapterRecipe {
  const where: Where = { key: "command line" };
  const tree = text === null ? dictionary([], where) : readTree(text, context.file);
  if (tree.kind !== "dictionary") {
    return {
      recipe: buildRecipe(tree, { ...context, methods: methodsOf(null) }),
      base: null,
      wish: readWish(null, wish),
    };
  }
  const { base: given, ...others } = options;
  const plain = applyOptions(withoutEntry(withoutEntry(tree, "adapter"), "base"), others);
  const root = entryOf(plain, "method") === undefined ? named(plain, methodDefault) : plain;
  const methods = methodsOf(dialectIn(root));
  const base = given ?? readBase(entryOf(tree, "base")?.node);
  const recipe = buildRecipe(withBase(root, methods), { ...context, methods });
  return { recipe, base, wish: readWish(entryOf(tree, "adapter")?.node ?? null, wish) };
}

function named(root: Dictionary, method: string): Dictionary {
  const where = { key: "method" };
  return withEntry(root, { key: "method", where, node: scalar(method, where) });
}

/** Behind the slash of the method, or on its own. */
function dialectIn(root: Dictionary): string | null {
  const textOf = (key: string) => {
    const node = entryOf(root, key)?.node;
    return node?.kind === "scalar" && node.value !== null ? node.text : null;
  };
  return textOf("method")?.split("/").slice(1).join("/") || textOf("dialect");
}

/** A path; what else may stand there (a merge) is no base of adapters and is refused when it is opened. */
function readBase(node: Node | undefined): string | null {
  return node === undefined || isNothing(node) || node.kind !== "scalar" ? null : node.text;
}

function withBase(root: Dictionary, methods: readonly Method[]): Dictionary {
  const named = entryOf(root, "method")?.node;
  const name = named?.kind === "scalar" ? named.text.split("/")[0] : undefined;
  const method = methods.find((candidate) => candidate.name === name);
  if (method === undefined || (method.base !== "required" && method.base !== "optional")) return root;
  const where = { key: "base" };
  return withEntry(root, { key: "base", where, node: scalar(NO_BASE, where) });
}

const KEYS = ["space", "rank", "energy"] as const;

function readWish(node: Node | null, flags: Readonly<Partial<AdapterWish>>): AdapterWish {
  const issues = new Issues();
  const reading: Reading = { issues, positions: new Map(), readMerge: () => undefined };
  const entries = node === null || isNothing(node) ? null : readEntries(reading, node, "adapter", { known: KEYS });
  const read = <V>(key: (typeof KEYS)[number], reader: (inner: Node, path: string) => V | undefined): V | null => {
    const entry = entries?.get(key);
    if (entry === undefined || isNothing(entry.node)) return null;
    note(reading, `adapter.${key}`, entry.where);
    return reader(entry.node, `adapter.${key}`) ?? null;
  };
  const wish = {
    space: flags.space ?? read("space", (inner, path) => readChoice(reading, SPACES, inner, path)) ?? "core",
    rank: flags.rank ?? read("rank", (inner, path) => readNumber(reading, { min: 1, integer: true }, inner, path)),
    energy: flags.energy ?? read("energy", (inner, path) => readNumber(reading, { min: 1e-6, max: 1 }, inner, path)),
  };
  issues.throwIfAny();
  return wish;
}

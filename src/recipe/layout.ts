/** A recipe's `slices:` and `modules:`: a result put together from layers. */

import type { Method } from "../methods/method.js";
import { quote } from "./issues.js";
import { modelNames, readModelParameters, samePath } from "./models.js";
import { readBlock } from "./parameters.js";
import type { LayerRange, Layout, LayoutModule, Member, RecipeModel, Slice } from "./recipe.js";
import { type Entry, list, type Node } from "./tree.js";
import {
  isNothing,
  join,
  note,
  placed,
  readEntries,
  type Reading,
  readLocation,
  readNumber,
  wrongType,
} from "./values.js";

/** What slices refer to: the checkpoints that they name, each once, in the order of their first mention. */
export class Members {
  readonly #paths: string[] = [];
  /** The first mention of each. */
  readonly #nodes: Node[] = [];

  indexOf(path: string, node: Node): number {
    const known = this.#paths.findIndex((other) => samePath(other) === samePath(path));
    if (known !== -1) return known;
    this.#nodes.push(node);
    return this.#paths.push(path) - 1;
  }

  models(): RecipeModel[] {
    const names = modelNames(list(this.#nodes, {}));
    return this.#paths.map((model, index) => ({ model, name: names[index]!, parameters: {}, prune: {} }));
  }
}

interface LayoutReading {
  readonly reading: Reading;
  readonly method: Method;
  readonly base: string | null;
  readonly members: Members;
}

/** @returns the layout and every checkpoint that it names. */
export function readLayout(
  reading: Reading,
  entry: Entry,
  method: Method,
  base: string | null,
): { layout: Layout; models: RecipeModel[] } {
  const context = { reading, method, base, members: new Members() };
  const where = note(reading, entry.key, entry.where);
  if (entry.key === "slices") reading.positions.set("layout.0", where);
  const modules =
    entry.key === "slices"
      ? [{ prefix: "", slices: readSlices(context, entry.node, "slices", 0), parameters: {} }]
      : readModules(context, entry.node);
  return { layout: { modules }, models: context.members.models() };
}

function readModules(context: LayoutReading, node: Node): LayoutModule[] {
  const { reading, method } = context;
  if (node.kind !== "dictionary") {
    wrongType(reading, node, "modules", "a map from the beginning of tensor names to {slices: ...}");
    return [];
  }
  return node.entries.map(({ key, where, node: module }, index): LayoutModule => {
    const path = `modules.${quote(key)}`;
    reading.positions.set(`layout.${index}`, note(reading, path, where));
    const none = { prefix: key, slices: [], parameters: {} };
    const entries = readEntries(reading, module, path, { known: ["slices", "models", "parameters"] });
    if (entries === null) return none;
    const slices = entries.get("slices");
    const models = entries.get("models");
    if ((slices === undefined) === (models === undefined)) {
      wrongType(reading, module, path, "slices or models, one of the two");
      return none;
    }
    const parameters = entries.get("parameters");
    return {
      prefix: key,
      slices:
        slices === undefined
          ? [readSlice(context, module, path, `layout.${index}.slices.0`)]
          : readSlices(context, slices.node, join(path, "slices"), index),
      parameters:
        slices === undefined || parameters === undefined
          ? {}
          : readBlock(reading, parameters.node, join(path, "parameters"), method),
    };
  });
}

function readSlices(context: LayoutReading, node: Node, path: string, module: number): Slice[] {
  if (node.kind !== "list" || node.items.length === 0) {
    wrongType(context.reading, node, path, "a list of slices, at least one");
    return [];
  }
  return node.items.map((item, index) =>
    readSlice(context, item, join(path, index), `layout.${module}.slices.${index}`),
  );
}

function readSlice(context: LayoutReading, node: Node, path: string, place: string): Slice {
  const { reading, method, members } = context;
  note(reading, path, node.where);
  const none = { base: null, members: [], parameters: {} };
  const entries = readEntries(reading, node, path, { known: ["models", "base", "base_layers", "parameters"] });
  if (entries === null) return none;
  const list = entries.get("models");
  if (list?.node.kind !== "list" || list.node.items.length === 0) {
    wrongType(reading, list?.node ?? node, join(path, "models"), "a list of models with layers, at least one");
    return none;
  }
  const modelsPath = join(path, "models");
  const own = entries.get("base");
  const ownBase = own && !isNothing(own.node) ? readLocation(reading, own.node, join(path, "base")) : undefined;
  const ownIndex = ownBase === undefined ? undefined : members.indexOf(ownBase, own!.node);
  const read = list.node.items.map((item, index) =>
    readMember(context, item, join(modelsPath, index), `${place}.members.${index}`),
  );
  const made = read.filter((member) => member !== null);
  refuseTwice(reading, made, list.node.items, modelsPath);
  const wants = own === undefined ? context.base !== null && method.base !== "unused" : !isNothing(own.node);
  const layersEntry = entries.get("base_layers");
  const layers =
    layersEntry === undefined ? (made[0]?.layers ?? null) : readRange(reading, layersEntry, join(path, "base_layers"));
  const parameters = entries.get("parameters");
  const slice = {
    base: wants ? { model: ownIndex ?? -1, layers } : null,
    members: made,
    parameters: parameters === undefined ? {} : readBlock(reading, parameters.node, join(path, "parameters"), method),
  };
  mirror(reading, path, place);
  mirror(reading, join(path, "base_layers"), `${place}.base.layers`);
  checkLengths(reading, slice, place);
  return slice;
}

function readMember(context: LayoutReading, node: Node, path: string, place: string): Member | null {
  const { reading, method, members } = context;
  note(reading, path, node.where);
  if (node.kind === "scalar") {
    const model = readLocation(reading, node, path);
    mirror(reading, path, place);
    return model === undefined ? null : { model: members.indexOf(model, node), layers: null, parameters: {} };
  }
  const keys = ["model", "name", "layers", "parameters"];
  const entries = readEntries(reading, node, path, { known: [...keys, ...Object.keys(method.parameters)] });
  const entry = entries?.get("model");
  if (entries === null || entry === undefined) {
    if (entries !== null) wrongType(reading, node, path, "{model: path, layers: [from, to]}");
    return null;
  }
  const model = readLocation(reading, entry.node, join(path, "model"));
  const layersEntry = entries.get("layers");
  const layers = layersEntry === undefined ? null : readRange(reading, layersEntry, join(path, "layers"));
  const parameters = readModelParameters(reading, entries, method, path);
  mirror(reading, path, place);
  return model === undefined ? null : { model: members.indexOf(model, node), layers, parameters };
}

/** `[from, to]`, counted from 0, the end not included. */
export function readRange(reading: Reading, { node, where }: Entry, path: string): LayerRange {
  note(reading, path, where);
  if (isNothing(node)) return null;
  const expected = "two whole numbers, [from, to], the end not included";
  if (node.kind !== "list" || node.items.length !== 2) {
    wrongType(reading, node, path, expected);
    return null;
  }
  const [from, to] = node.items.map((item, index) =>
    readNumber(reading, { min: 0, integer: true }, item, join(path, index)),
  );
  if (from === undefined || to === undefined) return null;
  if (to > from) return [from, to];
  reading.issues.add("a slice has no layers", {
    code: "recipe/out-of-range",
    where: placed(node.where, path),
    expected: "an end behind the beginning",
    found: `[${from}, ${to}]`,
  });
  return null;
}

/** One model gives a layer of the result one tensor, so that it can stand in a slice but once. */
function refuseTwice({ issues }: Reading, members: readonly Member[], items: readonly Node[], path: string): void {
  members.forEach(({ model }, index) => {
    const first = members.findIndex((other) => other.model === model);
    if (first === index) return;
    issues.add("a model stands twice in one slice", {
      code: "recipe/models",
      where: placed(items[index]!.where, join(path, index)),
      expected: "each model once in a slice",
      found: `it also stands at ${join(path, first)}`,
      advice: "write two slices if you want its layers twice",
    });
  });
}

/** Ranges that are written must have one length; those that are not are known at planning only. */
export function checkLengths({ issues, positions }: Reading, { base, members }: Slice, place: string): void {
  const all = [
    ...members.map(({ layers }, index) => ({ layers, path: `${place}.members.${index}.layers` })),
    { layers: base?.layers ?? null, path: `${place}.base.layers` },
  ].filter((one): one is { layers: readonly [number, number]; path: string } => one.layers !== null);
  const [first, ...others] = all.map(({ layers: [from, to], path }) => ({ length: to - from, path }));
  for (const { length, path } of others) {
    if (length === first!.length) continue;
    issues.add("the sources of a slice have different numbers of layers", {
      code: "recipe/out-of-range",
      where: positions.get(path) ?? positions.get(place)!,
      expected: `${first!.length} layers, as the first source`,
      found: String(length),
    });
  }
}

/** What stands at a path of the file also stands at a place of the layout. */
export function mirror({ positions }: Reading, path: string, place: string): void {
  for (const [key, where] of [...positions]) {
    if (key === path || key.startsWith(`${path}.`)) {
      positions.set(place + key.slice(path.length), where);
    }
  }
}

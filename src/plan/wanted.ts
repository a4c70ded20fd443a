/**
 * The tensors that a result has, and from which tensors of which checkpoints each is made: by name where the recipe has
 * no layout; put together from slices of layers where it has one.
 */
import { MergewrightError } from "../errors.js";
import { depth, isBeforeLayers, Layers, nameInLayer } from "../models/layers.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { flatPlace, type Place, whereOf } from "../recipe/pattern.js";
import type { LayoutModule, Recipe, Slice } from "../recipe/recipe.js";
import type { OpenInputs } from "./types.js";

/** A tensor of the result before anything is decided about it. */
export interface Wanted extends Place {
  /** Where its base is looked for; `null`: it has none. `model`: index, or -1 for the recipe's base. */
  readonly base: { readonly model: number; readonly name: string } | null;
  /** Why it is copied and not merged; `null`: it is merged. */
  readonly copy: string | null;
}

/** A layer of the result and where it comes from: of each slice's first source. */
export interface LayerOrigin {
  /** Index, or -1 for the recipe's base. */
  readonly model: number;
  readonly layer: number;
}

export interface WantedTensors {
  /** In the order in which the result holds them. */
  readonly tensors: readonly Wanted[];
  /** Per prefix of a module that was put together from slices: the layers of the result. */
  readonly layers: readonly { readonly prefix: string; readonly origins: readonly LayerOrigin[] }[];
}

/** @throws plan/layers where a slice asks for layers that a checkpoint does not have. */
export function wantedTensors(recipe: Recipe, open: OpenInputs): WantedTensors {
  if (recipe.layout === null) return { tensors: byName(recipe, open), layers: [] };
  return new LayoutWalk(recipe, open).walk();
}

/** By shard and position, so that a merge reads its inputs from front to back. */
export function inFileOrder(checkpoint: Checkpoint): StoredTensor[] {
  return [...checkpoint.tensors.values()].sort((a, b) => a.shard - b.shard || a.offset - b.offset);
}

/** What stands outside the layers: at the first layer's value before them; behind them at the last's, for mergekit not. */
function outside({ compat }: Recipe, name: string): number {
  return compat !== "none" || isBeforeLayers(name) ? 0 : 1;
}

function byName(recipe: Recipe, { base, models }: OpenInputs): Wanted[] {
  const names = namesOf(recipe, base, models);
  const layers = new Layers(names);
  const all = models.map((_, index) => index);
  return names.map((name) => ({
    ...flatPlace(name, layers.depthOf(name) ?? outside(recipe, name), all),
    base: base === null ? null : { model: -1, name },
    copy: null,
  }));
}

/** The reference's names; for mergekit then those that it lacks. */
function namesOf({ compat }: Recipe, base: Checkpoint | null, models: readonly Checkpoint[]): string[] {
  const all = base === null ? models : [base, ...models];
  const read = compat === "none" ? all.slice(0, 1) : all;
  return [...new Set(read.flatMap((checkpoint) => inFileOrder(checkpoint).map(({ name }) => name)))];
}

/** What one checkpoint has of one module. */
class View {
  /** In file order. */
  readonly names: readonly string[];
  readonly layers: Layers;
  readonly #rests = new Map<string, string[]>();

  constructor(names: readonly string[]) {
    this.names = names;
    this.layers = new Layers(names);
    for (const name of names) {
      const place = this.layers.placeOf(name);
      if (place === null) continue;
      const key = `${place.stack}.${place.index}`;
      const rests = this.#rests.get(key);
      if (rests === undefined) this.#rests.set(key, [place.rest]);
      else rests.push(place.rest);
    }
  }

  /** What the tensors of a layer are called within it. */
  restsOf(stack: string, index: number): readonly string[] {
    return this.#rests.get(`${stack}.${index}`) ?? [];
  }
}

/** A run of layers of one checkpoint, resolved. */
interface Source {
  readonly model: number;
  readonly label: string;
  readonly view: View;
  readonly from: number;
  readonly to: number;
}

class LayoutWalk {
  readonly #recipe: Recipe;
  readonly #open: OpenInputs;
  readonly #modules: readonly LayoutModule[];
  readonly #views = new Map<LayoutModule, Map<Checkpoint, View>>();

  constructor(recipe: Recipe, open: OpenInputs) {
    this.#recipe = recipe;
    this.#open = open;
    const names = namesOf(recipe, open.base, open.models);
    this.#modules = recipe.layout!.modules.map((module, index) => ({
      ...module,
      prefix: prefixOf(module.prefix, names) ?? this.#noModule(module.prefix, names, index),
    }));
  }

  #noModule(name: string, names: readonly string[], index: number): never {
    const parts = [...new Set(names.map((tensor) => tensor.split(".")[0]!))];
    throw new MergewrightError(`no tensor belongs to the module ${name}`, {
      kind: "request",
      code: "plan/layers",
      where: whereOf(this.#recipe, `layout.${index}`),
      expected: "the beginning of tensors' names, up to a dot",
      found: `names that begin with ${parts.slice(0, 6).join(", ")}`,
    });
  }

  walk(): WantedTensors {
    const tensors: Wanted[] = [];
    const layers: { prefix: string; origins: readonly LayerOrigin[] }[] = [];
    for (const [index, module] of this.#modules.entries()) {
      if (isWhole(module)) tensors.push(...this.#whole(module));
      else {
        const made = this.#sliced(module, index);
        tensors.push(...made.tensors);
        layers.push({ prefix: module.prefix, origins: made.origins });
      }
    }
    return { tensors: [...tensors, ...this.#uncovered()], layers };
  }

  /** A module without slices: by name. */
  #whole(module: LayoutModule): Wanted[] {
    const slice = module.slices[0]!;
    const views = this.#viewsOf(module, slice);
    const read = this.#recipe.compat === "none" ? views.slice(0, 1) : views;
    const names = [...new Set(read.flatMap((view) => view.names))];
    const layers = new Layers(names);
    return names.map((name) => this.#same(module, slice, name, layers.depthOf(name)));
  }

  #sliced(module: LayoutModule, index: number): { tensors: Wanted[]; origins: LayerOrigin[] } {
    const first = module.slices[0]!;
    const last = module.slices.at(-1)!;
    const stack = this.#stackOf(module, index);
    const loose = (slice: Slice, before: boolean) =>
      this.#looseOf(module, slice)
        .filter((name) => isBeforeLayers(name) === before)
        .map((name) => this.#same(module, slice, name, null));
    const origins: LayerOrigin[] = [];
    const layers = module.slices.flatMap((slice, at) => {
      const sources = this.#sourcesOf(module, slice, stack, `layout.${index}.slices.${at}`);
      const { model, from, to } = sources[0]!;
      return Array.from({ length: to - from }, (_, i) => {
        origins.push({ model, layer: from + i });
        return this.#layer(module, slice, sources, { stack, index: origins.length - 1, step: i });
      }).flat();
    });
    return { tensors: [...loose(first, true), ...layers, ...loose(last, false)], origins };
  }

  /** The tensors of one layer of the result, the `step`-th of its slice. */
  #layer(
    module: LayoutModule,
    slice: Slice,
    sources: readonly Source[],
    { stack, index, step }: { readonly stack: string; readonly index: number; readonly step: number },
  ): Wanted[] {
    const layerOf = new Map(sources.map(({ model, from }) => [model, from + step]));
    const t = depth(step, sources[0]!.to - sources[0]!.from);
    const rests = new Set(sources.flatMap(({ view, from }) => view.restsOf(stack, from + step)));
    return [...rests].map((rest) => {
      const nameIn = (layer: number) => nameInLayer({ stack, index: layer, rest }, layer);
      return this.#wanted(module, slice, nameIn(index), t, (model) => nameIn(layerOf.get(model)!));
    });
  }

  /** A tensor that has the same name everywhere. @param t `null` outside the layers. */
  #same(module: LayoutModule, slice: Slice, name: string, t: number | null): Wanted {
    return this.#wanted(module, slice, name, t ?? outside(this.#recipe, name), () => name);
  }

  #wanted(module: LayoutModule, slice: Slice, name: string, t: number, nameIn: (model: number) => string): Wanted {
    return {
      name,
      t,
      copy: null,
      blocks: [slice.parameters, module.parameters],
      base: slice.base === null ? null : { model: slice.base.model, name: nameIn(slice.base.model) },
      members: slice.members.map(({ model, parameters }) => ({ model, name: nameIn(model), own: parameters })),
    };
  }

  /** Tensors of no module are the donor's. */
  #uncovered(): Wanted[] {
    const { base, models } = this.#open;
    const names = inFileOrder(base ?? models[0]!).map(({ name }) => name);
    return names
      .filter((name) => this.#moduleOf(name) === null)
      .map((name) => ({
        ...flatPlace(name, outside(this.#recipe, name), base === null ? [0] : []),
        base: base === null ? null : { model: -1, name },
        copy: "in no module of the recipe; copied from the base",
      }));
  }

  /** The module with the longest prefix. */
  #moduleOf(name: string): LayoutModule | null {
    const fitting = this.#modules.filter(({ prefix }) => prefix === "" || name.startsWith(`${prefix}.`));
    return fitting.sort((a, b) => b.prefix.length - a.prefix.length)[0] ?? null;
  }

  #viewsOf(module: LayoutModule, { base, members }: Slice): View[] {
    return [...(base === null ? [] : [base]), ...members].map(({ model }) =>
      this.#viewOf(module, this.#checkpoint(model)),
    );
  }

  #viewOf(module: LayoutModule, checkpoint: Checkpoint): View {
    const views = this.#views.get(module) ?? new Map<Checkpoint, View>();
    this.#views.set(module, views);
    const known = views.get(checkpoint);
    if (known !== undefined) return known;
    const names = inFileOrder(checkpoint).map(({ name }) => name);
    const view = new View(names.filter((name) => this.#moduleOf(name) === module));
    views.set(checkpoint, view);
    return view;
  }

  #checkpoint(model: number): Checkpoint {
    return model === -1 ? this.#open.base! : this.#open.models[model]!;
  }

  /** Names outside the layers, of the first source and then of the others. */
  #looseOf(module: LayoutModule, slice: Slice): string[] {
    const names = this.#viewsOf(module, slice).flatMap((view) =>
      view.names.filter((name) => view.layers.placeOf(name) === null),
    );
    return [...new Set(names)];
  }

  /** The stack of layers that is sliced. */
  #stackOf(module: LayoutModule, index: number): string {
    const [view] = this.#viewsOf(module, module.slices[0]!);
    const stacks = [...view!.layers.counts.keys()];
    if (stacks.length === 1) return stacks[0]!;
    const of = module.prefix === "" ? "the model" : `the module ${module.prefix}`;
    throw new MergewrightError(`${of} has ${stacks.length === 0 ? "no stack" : "several stacks"} of layers to slice`, {
      kind: "request",
      code: "plan/layers",
      where: whereOf(this.#recipe, `layout.${index}`),
      expected: "one numbered list of layers, such as model.layers.0",
      ...(stacks.length > 0 && { found: stacks.slice(0, 4).join(", ") }),
      advice: "name the part to slice under modules:, by the beginning of its tensors' names",
    });
  }

  /** Base first, then members, with their layers; all of one length. */
  #sourcesOf(module: LayoutModule, { base, members }: Slice, stack: string, path: string): Source[] {
    const all = [
      ...(base === null ? [] : [{ ...base, path: `${path}.base` }]),
      ...members.map((member, index) => ({ ...member, path: `${path}.members.${index}` })),
    ];
    const sources = all.map(({ model, layers, path: own }): Source => {
      const checkpoint = this.#checkpoint(model);
      const view = this.#viewOf(module, checkpoint);
      const count = view.layers.counts.get(stack) ?? 0;
      const [from, to] = layers ?? [0, count];
      if (to > count) throw this.#outOfRange(checkpoint.label, count, [from, to], own);
      return { model, label: checkpoint.label, view, from, to };
    });
    const length = sources[0]!.to - sources[0]!.from;
    const odd = sources.findIndex(({ from, to }) => to - from !== length);
    if (odd !== -1) throw unequal(this.#recipe, length, sources[odd]!, all[odd]!.path);
    return sources;
  }

  #outOfRange(label: string, count: number, range: readonly number[], path: string): MergewrightError {
    return new MergewrightError(`a slice asks for layers that ${label} does not have`, {
      kind: "request",
      code: "plan/layers",
      where: whereOf(this.#recipe, `${path}.layers`),
      expected: `layers from 0 up to ${count}, the end not included`,
      found: `[${range.join(", ")}]`,
    });
  }
}

/** What recipes call the parts of networks that see and speak; where they lie differs between families. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  text_decoder: ["language_model", "text_model", "decoder", ""],
  language_model: ["text_model", ""],
  vision_tower: ["vision_model", "visual", "vision"],
  visual: ["vision_tower", "vision_model"],
  encoder: ["model.encoder"],
  decoder: ["model.decoder"],
};

/** The beginning of names that a module stands for: its own name, behind `model.`, or what its part is called here. */
function prefixOf(name: string, names: readonly string[]): string | null {
  const candidates = [name, ...(PARTS[name] ?? [])].flatMap((part) => (part === "" ? [""] : [part, `model.${part}`]));
  const isThere = (part: string) => part === "" || names.some((tensor) => tensor.startsWith(`${part}.`));
  return candidates.find(isThere) ?? null;
}

function unequal(recipe: Recipe, length: number, { label, from, to }: Source, path: string): MergewrightError {
  return new MergewrightError("the sources of a slice have different numbers of layers", {
    kind: "request",
    code: "plan/layers",
    where: whereOf(recipe, `${path}.layers`),
    expected: `${length} layers, as the first source`,
    found: `${to - from} of ${label}`,
  });
}

/** Whether it is merged by name: one slice, of all layers. */
function isWhole({ slices }: LayoutModule): boolean {
  const [slice] = slices;
  const sources = [...(slice!.base === null ? [] : [slice!.base]), ...slice!.members];
  return slices.length === 1 && sources.every(({ layers }) => layers === null);
}

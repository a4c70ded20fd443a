/** Every tensor of a base that adapters change, and the terms of its change. */
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { tiedGroups } from "../models/families.js";
import { isFloat } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import type { FoldedTerm } from "../sources/folded.js";
import type { AdapterTensor, LoraModule } from "./adapter.js";
import { defect } from "./defect.js";
import { convProduct } from "./kinds/conv.js";
import { doraTerm } from "./kinds/dora.js";
import { embeddingProduct } from "./kinds/embedding.js";
import { expertsTerm, fitsExperts } from "./kinds/experts.js";
import { fusedExpert, fusedExpertTerm, singleExperts, singleExpertTerm } from "./kinds/single_experts.js";
import { ia3BiasTerm, ia3Term } from "./kinds/ia3.js";
import { refuseShape, sameShape } from "./kinds/kind.js";
import type { Applied, Seen, Target } from "./kinds/kind.js";
import { linearProduct, linearTerm } from "./kinds/lora.js";
import { biasTerm, tokensTerm, wholeTerm } from "./kinds/whole.js";
import type { BaseNames } from "./target.js";

export interface Change {
  readonly name: string;
  readonly shape: readonly number[];
  /** In the base; `null` where only an adapter has the tensor. */
  readonly stored: StoredTensor | null;
  /** Format of a result that keeps formats. */
  readonly finalDtype: Dtype;
  seen: { readonly batch: number; readonly rows: number; readonly columns: number };
  readonly terms: FoldedTerm[];
  /** All tensors that are tied to it change alike. */
  staysTied: boolean;
}

/** By the base's name. */
export function changesOf(base: Checkpoint, names: BaseNames, adapters: readonly Applied[]): Map<string, Change> {
  const gatherer = new Gatherer(base, names, adapters.length);
  for (const applied of adapters) gatherer.take(applied);
  return gatherer.changes;
}

class Gatherer {
  readonly changes = new Map<string, Change>();
  readonly #family: string | null;

  constructor(
    readonly base: Checkpoint,
    readonly names: BaseNames,
    readonly adapters: number,
  ) {
    const family: unknown = base.config?.["model_type"];
    this.#family = typeof family === "string" ? family : null;
  }

  take(applied: Applied): void {
    const { adapter } = applied;
    // What replaces a tensor comes first, so that a resized one is what the other terms see.
    for (const [name, tensor] of adapter.whole) this.#whole(applied, name, tensor);
    for (const module of adapter.tokens.values()) {
      const target = this.#target(applied, module.path, module.rows);
      // PEFT shares trained tokens between tied layers.
      this.#add(applied, target, (seen) => tokensTerm(applied, module, seen), true);
    }
    for (const module of adapter.lora.values()) this.#lora(applied, module);
    for (const module of adapter.ia3.values()) {
      const target = this.#target(applied, module.path, module.scale);
      this.#add(applied, target, (seen) => ia3Term(applied, module, seen, this.#family));
      const bias = `${target.slice(0, -"weight".length)}bias`;
      if (!module.feedForward && this.base.tensors.has(bias)) {
        this.#add(applied, bias, (seen) => ia3BiasTerm(applied, module, seen));
      }
    }
  }

  #lora(applied: Applied, module: LoraModule): void {
    const { layout, path, b, magnitude, bias } = module;
    const family = this.#family;
    if (layout === "experts") {
      if (this.#takeSingles(applied, module)) return;
      this.#add(applied, this.#expertsTarget(applied, module), (seen) => expertsTerm(applied, module, seen, family));
      return;
    }
    if (layout === "linear" && this.#takeFused(applied, module)) return;
    const target = this.#target(applied, path, b);
    const tied = applied.adapter.config.fields.ensure_weight_tying ?? false;
    if (magnitude === null && layout === "linear") {
      this.#add(applied, target, (seen) => linearTerm(applied, module, seen, family), tied);
    } else this.#add(applied, target, (seen) => this.#product(applied, module, seen), tied);
    if (bias === null) return;
    const biasName = `${target.slice(0, -"weight".length)}bias`;
    if (!this.base.tensors.has(biasName)) throw this.#noBias(applied, module, biasName);
    this.#add(applied, biasName, (seen) => biasTerm(applied, module, seen));
  }

  /** Experts that the base stores one by one. @returns whether it does. */
  #takeSingles(applied: Applied, module: LoraModule): boolean {
    const path = module.path.replaceAll(".base_layer", "");
    const isThere = module.parameters.some((parameter) => this.names.find(path, "dotted", parameter) !== null);
    const known = this.#family !== null && INTERLEAVED.has(this.#family);
    if (isThere || known) return false;
    const places = singleExperts(module, this.names, (name) => this.base.tensors.get(name)?.shape ?? null);
    for (const place of places ?? []) {
      this.#add(applied, place.name, (seen) => singleExpertTerm(applied, module, seen, place));
    }
    return places !== null;
  }

  /** One expert of several that the base stores in one parameter. @returns whether it is. */
  #takeFused(applied: Applied, module: LoraModule): boolean {
    const { path, magnitude, bias, b } = module;
    if (this.names.find(path, applied.adapter.naming) !== null) return false;
    const place = applied.adapter.naming === "dotted" ? fusedExpert(path, this.names) : null;
    if (place === null) return false;
    if (magnitude !== null || bias !== null || (this.#family !== null && INTERLEAVED.has(this.#family))) {
      throw defect(
        "adapter/kind",
        "a module of one expert has no place in the base's experts, which are one parameter",
        {
          where: { file: applied.adapter.label, tensor: b.key, key: path },
          expected: `a plain LoRA, and experts whose gates and ups are not interleaved, in ${place.name}`,
          found: magnitude !== null ? "DoRA" : bias !== null ? "lora_bias" : `model_type ${this.#family}`,
          advice: "fold into a base that stores its experts one by one",
        },
      );
    }
    this.#add(applied, place.name, (seen) => fusedExpertTerm(applied, module, seen, place));
    return true;
  }

  /** A convolution's or embedding's product, or any decomposed weight. */
  #product(applied: Applied, module: LoraModule, target: Target): Seen {
    const { layout } = module;
    const { product, rows, columns, ...linear } =
      layout === "conv"
        ? convProduct(applied, module, target)
        : layout === "embedding"
          ? embeddingProduct(applied, module, target)
          : linearProduct(applied, module, target, this.#family);
    const { weight } = applied;
    if (module.magnitude === null) {
      return { batch: 1, rows, columns, term: { kind: "product", ...product, scale: weight * product.scale } };
    }
    const transposed = layout === "embedding" || ("transposed" in linear && linear.transposed);
    return { batch: 1, rows, columns, term: doraTerm(applied, module, product, transposed ? "columns" : "rows") };
  }

  #whole(applied: Applied, name: string, tensor: AdapterTensor): void {
    const path = name.slice(0, Math.max(0, name.lastIndexOf(".")));
    const part = name.slice(name.lastIndexOf(".") + 1);
    const found = this.names.find(path, "dotted", part);
    const tied = isResized(applied, name) || (applied.adapter.config.fields.ensure_weight_tying ?? false);
    const stored = found === null ? null : this.base.tensors.get(`${found}.${part}`)!;
    const alone = this.adapters === 1 && applied.weight === 1;
    if (stored !== null && (sameShape(stored.shape, tensor.shape) || !alone)) {
      this.#add(applied, `${found}.${part}`, (seen) => wholeTerm(applied, tensor, seen), tied);
      return;
    }
    // A head that the base has not, or a tensor with more rows, is only what one adapter says it is.
    if (!alone) {
      throw defect("plan/missing-tensor", "an adapter brings a tensor that the base does not have", {
        where: { file: applied.adapter.label, tensor: tensor.key, key: name },
        expected: `${name} in ${this.base.label}`,
        advice: "fold this adapter alone and with weight 1: there is nothing to take a part of",
      });
    }
    const own = found === null ? name : `${found}.${part}`;
    const target = { name: own, shape: tensor.shape, base: this.base.label };
    const { batch, rows, columns, term } = wholeTerm(applied, tensor, target);
    this.changes.set(own, {
      ...{ name: own, shape: tensor.shape, stored: null, finalDtype: stored?.dtype ?? tensor.dtype },
      ...{ seen: { batch, rows, columns }, terms: [term], staysTied: tied },
    });
  }

  #add(applied: Applied, name: string, see: (target: Target) => Seen, staysTied = false): void {
    const { adapter, weight } = applied;
    const own = this.changes.get(name);
    const stored = own?.stored ?? this.#stored(name);
    if (stored !== null) refuseIntegers(this.base, stored, adapter.label);
    const shape = own?.shape ?? stored!.shape;
    const { batch, rows, columns, term } = see({ name, shape, base: this.base.label });
    // A weight of 0 leaves the base as it is, to the bit.
    if (weight === 0) return;
    if (own === undefined) {
      const seen = { batch, rows, columns };
      this.changes.set(name, { name, shape, stored, finalDtype: finalOf(stored!), seen, terms: [term], staysTied });
      return;
    }
    const sameView = own.seen.batch === batch && own.seen.rows === rows && own.seen.columns === columns;
    if (!sameView && !isFlat(term)) {
      if (!own.terms.every(isFlat)) throw this.#seenOtherwise(applied, own);
      own.seen = { batch, rows, columns };
    }
    own.terms.push(term);
    own.staysTied &&= staysTied;
  }

  /** Two ways to see one tensor do not add. */
  #seenOtherwise({ adapter }: Applied, { name, seen }: Change) {
    return defect("adapter/kind", "two adapters see one tensor in different ways", {
      where: { file: adapter.label, tensor: name },
      expected: `${seen.batch} matrices of ${seen.rows} x ${seen.columns}`,
      advice: "fold them one after the other",
    });
  }

  /** A tensor of the base, under its own name or that of the tensor it is tied to. */
  #stored(name: string): StoredTensor | null {
    const own = this.base.tensors.get(name);
    if (own !== undefined) return own;
    for (const { primary, aliases } of tiedGroups(this.base.config, [...this.base.tensors.keys(), name])) {
      if (!aliases.includes(name) && primary !== name) continue;
      const twin = [primary, ...aliases].map((one) => this.base.tensors.get(one)).find((one) => one !== undefined);
      if (twin !== undefined) return { ...twin, name };
    }
    return null;
  }

  /** @returns the name of the weight that a module has in the base. @throws plan/missing-tensor */
  #target({ adapter }: Applied, path: string, tensor: AdapterTensor): string {
    const found = this.names.find(path, adapter.naming);
    if (found !== null) return `${found}.weight`;
    if (adapter.naming === "dotted" && this.#stored(`${path}.weight`) !== null) return `${path}.weight`;
    throw defect("plan/missing-tensor", "the base has no tensor for a module of the adapter", {
      where: { file: adapter.label, tensor: tensor.key, key: path },
      expected: `${path}.weight in ${this.base.label}`,
      found: adapter.config.base === null ? "none" : `none; the adapter says that its base is ${adapter.config.base}`,
      advice: "give the base that the adapter was trained on",
    });
  }

  /** A module changes one of several parameters; which one, its size says. */
  #expertsTarget(applied: Applied, module: LoraModule): string {
    const depth = module.path.split(".base_layer").length - 1;
    const path = module.path.replaceAll(".base_layer", "");
    const found = module.parameters.flatMap((parameter) => {
      const at = this.names.find(path, "dotted", parameter);
      return at === null ? [] : [`${at}.${parameter}`];
    });
    const fitting = found.filter((name) => fitsExperts(module, this.base.tensors.get(name)!.shape));
    if (fitting.length === 1) return fitting[0]!;
    const [first] = found;
    if (first !== undefined && fitting.length === 0) {
      const { shape } = this.base.tensors.get(first)!;
      const { experts, a, b } = module;
      const expected = `[${experts}, ${b.shape[0]}, ${a.shape[1]}] (experts, out, in)`;
      refuseShape(applied, module.path, module.a, { name: first, shape, base: this.base.label }, { expected });
    }
    throw defect(
      first === undefined ? "plan/missing-tensor" : "adapter/kind",
      "no single parameter fits a LoRA of experts",
      {
        where: { file: applied.adapter.label, tensor: module.a.key, key: module.path },
        expected: `one of ${module.parameters.join(", ")} below ${path} in ${this.base.label}`,
        found: first === undefined ? "none" : `${fitting.join(", ")}, equal in size (wrapper ${depth})`,
        advice: "give the base that the adapter was trained on",
      },
    );
  }

  #noBias({ adapter }: Applied, { bias, path }: LoraModule, name: string) {
    return defect("plan/missing-tensor", "the adapter has a bias for a layer without one", {
      where: { file: adapter.label, tensor: bias!.key, key: path },
      expected: `${name} in ${this.base.label}`,
      advice: "the architecture would need a bias there; no file of weights alone can give it one",
    });
  }
}

/** What PEFT saves of an embedding beside the adapter is the layer itself, which stays tied. */
function isResized({ adapter }: Applied, name: string): boolean {
  const saved = adapter.config.fields.modules_to_save ?? [];
  const path = name.slice(0, Math.max(0, name.lastIndexOf(".")));
  return !saved.some((module) => path === module || path.endsWith(`.${module}`));
}

function finalOf({ finalDtype, dtype }: StoredTensor): Dtype {
  return finalDtype ?? dtype;
}

/** Families whose gates and ups are interleaved in one parameter. */
const INTERLEAVED: ReadonlySet<string> = new Set(["gpt_oss"]);

/** Terms that go entry by entry, however the tensor is seen. */
function isFlat({ kind }: FoldedTerm): boolean {
  return kind === "replaced" || kind === "added";
}

/** Whether a tensor of the base can be added to. @throws adapter/base */
function refuseIntegers(base: Checkpoint, { name, dtype }: StoredTensor, adapter: string): void {
  if (isFloat(dtype)) return;
  throw defect("adapter/base", "the base stores codes and not weights: a change cannot be added to them", {
    where: { file: base.label, tensor: name },
    expected: "weights in BF16, F16 or F32",
    found: dtype,
    advice: `fold ${adapter} into the base as it was before it was quantised`,
  });
}

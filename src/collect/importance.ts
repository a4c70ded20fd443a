/**
 * How important the partitions of a model's change are to its task: what they do to the loss, by the base's gradient or by
 * putting them in and taking them out. Everything has the sign of a change of the loss: negative where the partition helps.
 */
import { partitionOf, rowsOf } from "../collected/statistics.js";
import { MergewrightError } from "../errors.js";
import type { Partitioning } from "../methods/method.js";
import { roleOf } from "../models/families.js";
import { architectureOf } from "../models/related.js";
import { haveSameArchitecture } from "../runtime/architectures/known.js";
import { IGNORED } from "../runtime/network.js";
import type { Batch, TappedNetwork, WeightSource } from "../runtime/network.js";
import type { Sums } from "./sums.js";

const { fround } = Math;

/** A model beside the base that it is a change of. */
export interface Compared {
  readonly base: WeightSource;
  readonly model: WeightSource;
  /** Tensors of the network that both have, without those of an attached head. */
  readonly names: readonly string[];
  /** Tensors of the network that are left out because the base has none or one of another shape. */
  readonly left: readonly string[];
  readonly per: Partitioning;
}

/** Examples that need no padding beside each other. */
export interface ImportanceBatch {
  readonly batch: Batch;
  readonly targets: Int32Array;
}

/**
 * To be asked before a network is opened, whose complaints would be about the head or the data.
 * @throws collect/base where base and model are of different architectures, or of one in different sizes.
 */
export function checkRelated(base: WeightSource, model: WeightSource): void {
  if (!haveSameArchitecture(base.config, model.config)) {
    throw new MergewrightError("base and model are of different architectures", {
      kind: "request",
      code: "collect/base",
      where: { file: base.label },
      expected: `${architectureOf(model.config)}, as ${model.label} is`,
      found: architectureOf(base.config),
      advice: `name the checkpoint that ${model.label} was fine-tuned from with --base`,
    });
  }
  const isShared = (name: string) => roleOf(name) !== "head" && String(base.shape(name)) === String(model.shape(name));
  if (![...model.names].some(isShared)) throw unrelated(base, model);
}

/**
 * @param headed the head is another checkpoint's, or the model's own put over the base.
 * @throws collect/base where they have nothing in common.
 */
export function compare(
  { parameters }: Pick<TappedNetwork, "parameters">,
  base: WeightSource,
  model: WeightSource,
  { per, headed }: { readonly per: Partitioning; readonly headed: boolean },
): Compared {
  const own = parameters.filter((name) => !headed || roleOf(name) !== "head");
  const isShared = (name: string) =>
    base.shape(name) !== undefined && String(base.shape(name)) === String(model.shape(name));
  const names = own.filter(isShared);
  if (names.length === 0) throw unrelated(base, model);
  return { base, model, per, names, left: own.filter((name) => !isShared(name)) };
}

/** @returns the predictions that the losses were of. */
export async function addImportance(
  dialect: string,
  network: TappedNetwork,
  compared: Compared,
  groups: readonly ImportanceBatch[],
  sums: Sums,
): Promise<number> {
  if (dialect === "restore" || dialect === "remove") await addInterventions(dialect, network, compared, groups, sums);
  else if (dialect === "gradient") await addProducts(network, compared, groups, sums, false);
  else for (const group of groups) await addProducts(network, compared, [group], sums, true);
  return groups.reduce((sum, { targets }) => sum + targets.filter((target) => target !== IGNORED).length, 0);
}

/** <gradient of the sum of the losses, change>; with `magnitude` its magnitude, partition by partition. */
async function addProducts(
  network: TappedNetwork,
  compared: Compared,
  groups: readonly ImportanceBatch[],
  sums: Sums,
  magnitude: boolean,
): Promise<void> {
  const gradient = await gradientOf(network, compared, groups);
  const found = new Map<string, Float64Array>();
  for (const name of compared.names) {
    const rows = await productsOf(name, gradient.get(name)!, compared);
    addTo(found, partitionOf(name, compared.per), compared.per === "row" ? rows : Float64Array.of(total(rows)));
  }
  for (const [name, values] of found) {
    const own = magnitude ? values.map(Math.abs) : values;
    checkLoss(total(own), `the change of the loss by ${name}`);
    sums.add(name, [own.length], own);
  }
}

/** Of the sum of the losses, by tensor, added up in f32. */
async function gradientOf(
  network: TappedNetwork,
  { base, names }: Compared,
  groups: readonly ImportanceBatch[],
): Promise<ReadonlyMap<string, Float32Array>> {
  let sum: ReadonlyMap<string, Float32Array> | null = null;
  for (const { batch, targets } of groups) {
    const weights = Float32Array.from(targets, (target) => (target === IGNORED ? 0 : 1));
    const goal = { kind: "cross-entropy", targets, weights } as const;
    const { loss, parameters } = await network.gradients(batch, goal, names);
    checkLoss(loss, base.label);
    if (sum === null) sum = parameters;
    else {
      for (const [name, values] of parameters) {
        const own = sum.get(name)!;
        for (let p = 0; p < own.length; p++) own[p]! += values[p]!;
      }
    }
  }
  return sum!;
}

/** Per row the inner product of a gradient with the model's change, in f64. */
async function productsOf(name: string, gradient: Float32Array, { base, model }: Compared): Promise<Float64Array> {
  const [before, after] = [await base.tensor(name), await model.tensor(name)];
  const rows = new Float64Array(rowsOf(base.shape(name)!));
  const length = gradient.length / rows.length;
  for (let row = 0; row < rows.length; row++) {
    let sum = 0;
    const end = (row + 1) * length;
    for (let p = row * length; p < end; p++) sum += gradient[p]! * fround(after[p]! - before[p]!);
    rows[row] = sum;
  }
  return rows;
}

/** Losses with one partition after the other put into the base, or taken out of the model. */
async function addInterventions(
  dialect: "restore" | "remove",
  network: TappedNetwork,
  compared: Compared,
  groups: readonly ImportanceBatch[],
  sums: Sums,
): Promise<void> {
  const { base, model, names, per } = compared;
  const whole = dialect === "restore" ? base : model;
  const shared = new Set(names);
  const lossWith = async (changed: ReadonlySet<string>, what: string) => {
    const isOfModel = (name: string) => shared.has(name) && changed.has(name) === (dialect === "restore");
    await network.load({ ...base, tensor: (name) => (isOfModel(name) ? model : base).tensor(name) });
    let sum = 0;
    for (const { batch, targets } of groups) {
      for (const loss of await network.losses(batch, targets)) sum += loss;
    }
    checkLoss(sum, what);
    return sum;
  };
  const plain = await lossWith(new Set(), whole.label);
  const partitions = new Map<string, Set<string>>();
  for (const name of names) {
    const key = partitionOf(name, per);
    partitions.set(key, (partitions.get(key) ?? new Set()).add(name));
  }
  for (const [key, changed] of partitions) {
    const loss = await lossWith(changed, `${whole.label} with ${key} changed`);
    sums.add(key, [1], Float64Array.of(dialect === "restore" ? loss - plain : plain - loss));
  }
}

function addTo(found: Map<string, Float64Array>, key: string, values: Float64Array): void {
  const known = found.get(key);
  if (known === undefined) found.set(key, values);
  else for (let index = 0; index < known.length; index++) known[index]! += values[index]!;
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function unrelated(base: WeightSource, model: WeightSource): MergewrightError {
  return new MergewrightError("the model is no change of this base: no tensor has the same name and shape", {
    kind: "request",
    code: "collect/base",
    where: { file: base.label },
    expected: `the checkpoint that ${model.label} was fine-tuned from`,
    found: "another checkpoint, or another size of the same architecture",
    advice: "name it with --base",
  });
}

function checkLoss(loss: number, of: string): void {
  if (Number.isFinite(loss)) return;
  throw new MergewrightError(`${of.startsWith("the change") ? of : `the loss of ${of}`} is not finite`, {
    kind: "request",
    code: "collect/not-finite",
    found: String(loss),
    advice: "look for NaN or infinity in base and model: mergewright inspect MODEL --norms",
  });
}

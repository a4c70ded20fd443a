/** A base with an (IA)3 adapter as a network whose vectors are parameters of their own, and their block Fisher. */
import type { Adapter } from "../adapters/adapter.js";
import { readEntries } from "../adapters/adapter.js";
import { adapterIdentity } from "../adapters/identity.js";
import { parseReference } from "../adapters/reference.js";
import { BaseNames } from "../adapters/target.js";
import type { LayerStatistics, ModelIdentity } from "../collected/statistics.js";
import { sumName } from "../collected/statistics.js";
import { MergewrightError } from "../errors.js";
import type { Checkpoint } from "../models/model.js";
import { entriesOf } from "../numbers/dtypes.js";
import { IGNORED } from "../runtime/network.js";
import type { Batch, TappedNetwork, WeightSource } from "../runtime/network.js";
import type { LinearRule } from "../runtime/operations/linear.js";
import { scaledLinear, vectorName } from "../runtime/operations/scaled.js";
import type { ScaledSide } from "../runtime/operations/scaled.js";
import { weightsOf } from "../runtime/weights.js";
import type { Sums } from "./sums.js";

/** A base beside vectors. */
export interface WithVectors {
  readonly base: Checkpoint;
  /** The base's, and the vectors by `vectorName`. */
  readonly weights: WeightSource;
  readonly rule: LinearRule;
  /** Modules with a vector; entries of it. */
  readonly vectors: ReadonlyMap<string, number>;
  /** The adapter's. */
  readonly identity: ModelIdentity;
}

export interface VectorPlatform {
  readonly openModel: (label: string) => Promise<Checkpoint>;
  readonly openAdapter: (label: string) => Promise<Adapter>;
}

/**
 * @param label BASE+ADAPTER.
 * @param opened takes what the caller must close.
 * @throws adapter/kind, adapter/tensor
 */
export async function openVectors(
  label: string,
  { openModel, openAdapter }: VectorPlatform,
  opened: { close(): void | Promise<void> }[],
): Promise<WithVectors> {
  const reference = parseReference(label);
  const [named, ...others] = reference?.adapters ?? [];
  if (reference === null || named === undefined || others.length > 0 || named.weight !== 1 || named.undo) {
    throw unfit(label, "it is no base with one adapter");
  }
  const base = await openModel(reference.base);
  opened.push(base);
  const adapter = await openAdapter(named.label);
  opened.push(adapter);
  if (adapter.config.type !== "IA3") throw unfit(label, `${named.label} is of type ${adapter.config.type}`);
  const names = new BaseNames(base.tensors.keys());
  const values = new Map<string, Float32Array>();
  const shapes = new Map<string, readonly number[]>();
  const sides = new Map<string, ScaledSide>();
  for (const { path, scale, feedForward } of adapter.ia3.values()) {
    const module = names.find(path, adapter.naming);
    if (module === null) throw noModule(adapter, path);
    const vector = await readEntries(adapter, scale, path);
    values.set(vectorName(module), vector);
    shapes.set(vectorName(module), [vector.length]);
    sides.set(module, feedForward ? "inputs" : "outputs");
  }
  // A head of the adapter's own, or whatever else it replaces.
  for (const [name, tensor] of adapter.whole) {
    values.set(name, await readEntries(adapter, tensor));
    shapes.set(name, tensor.shape);
  }
  const stored = weightsOf(base);
  return {
    base,
    weights: {
      ...stored,
      names: [...new Set([...stored.names, ...values.keys()])],
      shape: (name) => shapes.get(name) ?? stored.shape(name),
      tensor: (name) => (values.has(name) ? Promise.resolve(values.get(name)!) : stored.tensor(name)),
    },
    rule: scaledLinear(sides),
    vectors: new Map([...sides.keys()].map((module) => [module, entriesOf(shapes.get(vectorName(module))!)])),
    identity: await adapterIdentity(adapter),
  };
}

/** Examples one by one: a batch of one, and a target for each of its rows. */
export interface OneExample {
  readonly batch: Batch;
  readonly targets: Int32Array;
}

/** Adds the outer product of each example's gradient of log p with itself, vector by vector: f32 within a block. */
export async function addBlocks(
  network: TappedNetwork,
  vectors: WithVectors["vectors"],
  examples: AsyncIterable<OneExample>,
  sums: Sums,
  layers: Map<string, LayerStatistics>,
): Promise<void> {
  const names = [...vectors.keys()].map(vectorName);
  const unused = names.find((name) => !network.parameters.includes(name));
  if (unused !== undefined) throw new RangeError(`${unused} is no parameter of the network`);
  const block = new Map([...vectors].map(([module, size]) => [module, new Float32Array(size * size)]));
  let count = 0;
  for await (const { batch, targets } of examples) {
    const weights = Float32Array.from(targets, (target) => (target === IGNORED ? 0 : 1));
    const { parameters } = await network.gradients(batch, { kind: "cross-entropy", targets, weights }, names);
    for (const [module, sum] of block) addOuter(sum, parameters.get(vectorName(module))!);
    count++;
  }
  for (const [module, sum] of block) {
    const size = vectors.get(module)!;
    sums.add(sumName(module, "block"), [size, size], sum);
    const rows = (layers.get(module)?.rows ?? 0) + count;
    layers.set(module, { weight: vectorName(module), shape: [1, size], transposed: false, rows });
  }
}

function addOuter(sum: Float32Array, gradient: Float32Array): void {
  for (const [row, left] of gradient.entries()) {
    const first = row * gradient.length;
    for (let column = 0; column < gradient.length; column++) sum[first + column]! += left * gradient[column]!;
  }
}

function unfit(label: string, found: string): MergewrightError {
  return new MergewrightError("blocks are collected of (IA)3 vectors beside their base", {
    kind: "request",
    code: "adapter/kind",
    where: { file: label },
    expected: "--model BASE+ADAPTER with one (IA)3 adapter, e.g. zoo/language/base+zoo/language/ia3/french",
    found,
    advice: "whole models have matrices: collect kfac for mats, fisher for fisher",
  });
}

function noModule(adapter: Adapter, path: string): MergewrightError {
  return new MergewrightError("an adapter multiplies a module that the base does not have", {
    kind: "request",
    code: "adapter/base",
    where: { file: adapter.label, key: path },
    expected: "a module of the base",
    advice: "name the base that the adapter was trained on",
  });
}

/** One block of examples: passes through the network, and what of them is added to the sums. */
import type { CollectDialect } from "./dialects.js";
import { sumName } from "../collected/statistics.js";
import type { LayerStatistics } from "../collected/statistics.js";
import type { LabelledExamples } from "../evaluate/scorer.js";
import type { StatisticsKind } from "../methods/method.js";
import { IGNORED } from "../runtime/network.js";
import type { LayerInfo, TappedNetwork } from "../runtime/network.js";
import { addImportance } from "./importance.js";
import type { Compared } from "./importance.js";
import { labelsOf } from "./labels.js";
import type { Sums } from "./sums.js";
import { addBlocks } from "./vectors.js";
import type { OneExample } from "./vectors.js";

export interface BlockWork {
  readonly network: TappedNetwork;
  readonly labelled: LabelledExamples;
  readonly dialect: CollectDialect;
  /** What is collected, and the seed of labels that are drawn. */
  readonly request: { readonly kind: StatisticsKind; readonly seed: number };
  /** The model and what it is a change of, for importances. */
  readonly compared?: Compared;
  /** Modules with a vector and its entries, for their blocks. */
  readonly vectors?: ReadonlyMap<string, number>;
  /** What drawn labels depend on besides the seed. */
  readonly data: string;
  /** Shape of a parameter. */
  readonly shapeOf: (name: string) => readonly number[];
}

/** Entries of the products that one pass hands out; with more layers are looked at in several passes. */
const PASS_ENTRIES = 2 ** 25;
/** Outputs beyond which a layer's output gradients are not multiplied with each other: language models' heads. */
export const WIDEST_OUTPUT = 8192;

/** @returns the predictions that importances are of; 0 where nothing else is counted than examples. */
export async function collectBlock(
  work: BlockWork,
  examples: readonly number[],
  sums: Sums,
  layers: Map<string, LayerStatistics>,
): Promise<number> {
  const { request, dialect, labelled, compared } = work;
  if (request.kind === "importance") {
    const wanted = dialect.name === "per-example" ? examples.map((example) => [example]) : groupsOf(work, examples);
    const groups = [];
    for (const group of wanted) groups.push(await labelled.batch(group));
    // Their rows are inputs, which no bias belongs to.
    for (const { name, weight, shape, transposed } of layersOf(work.network)) {
      if (transposed) layers.set(name, { weight, shape, transposed, rows: 0 });
    }
    return addImportance(dialect.name, work.network, compared!, groups, sums);
  }
  if (request.kind === "block") {
    await addBlocks(work.network, work.vectors!, oneByOne(work, examples), sums, layers);
  } else if (request.kind !== "fisher") {
    for (const group of groupsOf(work, examples)) await addGrams(work, group, sums, layers);
  } else if (dialect.perBatch) await addBatchSquares(work, examples, sums);
  else for (const group of groupsOf(work, examples)) await addSquares(work, group, sums);
  return 0;
}

async function* oneByOne(work: BlockWork, examples: readonly number[]): AsyncIterable<OneExample> {
  for (const example of examples) {
    const { batch, targets: gold } = await work.labelled.batch([example]);
    yield { batch, targets: await chosen(work, [example], batch, gold) };
  }
}

/** Examples that need no padding beside each other, in the order in which each kind first comes. */
function groupsOf({ labelled }: BlockWork, examples: readonly number[]): number[][] {
  const groups = new Map<string, number[]>();
  for (const example of examples) {
    const shape = labelled.shape(example);
    groups.set(shape, [...(groups.get(shape) ?? []), example]);
  }
  return [...groups.values()];
}

async function addSquares(work: BlockWork, group: readonly number[], sums: Sums): Promise<void> {
  const { network, dialect } = work;
  const { batch, targets: gold } = await work.labelled.batch(group);
  const squares =
    dialect.labels === "expectation"
      ? await network.squaredGradients(batch, { kind: "expectation", targets: gold })
      : await network.squaredGradients(batch, { kind: "targets", targets: await chosen(work, group, batch, gold) });
  for (const [name, values] of squares) sums.add(name, work.shapeOf(name), values);
}

function chosen(
  { network, dialect, request, data }: BlockWork,
  group: readonly number[],
  batch: Parameters<TappedNetwork["logits"]>[0],
  gold: Int32Array,
): Promise<Int32Array> {
  const rows = gold.length / group.length;
  const rowsBefore = group.map((example) => example * rows);
  return labelsOf(network, batch, gold, dialect.labels, { seed: request.seed, data, rowsBefore });
}

/** Squares of a batch's gradient as a whole. */
async function addBatchSquares(work: BlockWork, examples: readonly number[], sums: Sums): Promise<void> {
  const { network, dialect, labelled } = work;
  const { batch, targets: gold } = await labelled.batch(examples);
  if (dialect.labels === "argmax") {
    const targets = await chosen(work, examples, batch, gold);
    const { parameters } = await network.gradients(batch, { kind: "cross-entropy", targets });
    for (const [name, values] of parameters) sums.addSquares(name, work.shapeOf(name), values);
    return;
  }
  // Each example stands once for each class, weighted with the root of the class's probability.
  const { classes, values } = await network.logits(batch);
  const total = new Map<string, Float32Array>();
  for (const [row, example] of examples.entries()) {
    const logits = values.subarray(row * classes, (row + 1) * classes);
    const top = logits.reduce((most, value) => Math.max(most, value), -Infinity);
    const exps = logits.map((value) => Math.exp(value - top));
    const sum = exps.reduce((a, b) => a + b, 0);
    const copies = await labelled.batch(Array.from({ length: classes }, () => example));
    const { parameters } = await network.gradients(copies.batch, {
      kind: "cross-entropy",
      targets: Int32Array.from({ length: classes }, (_, index) => index),
      weights: exps.map((value) => Math.sqrt(value / sum)),
    });
    for (const [name, gradient] of parameters) addTo(total, name, gradient);
  }
  for (const [name, gradient] of total) sums.addSquares(name, work.shapeOf(name), gradient);
}

function addTo(total: Map<string, Float32Array>, name: string, gradient: Float32Array): void {
  const known = total.get(name);
  if (known === undefined) total.set(name, gradient);
  else for (let index = 0; index < known.length; index++) known[index]! += gradient[index]!;
}

async function addGrams(
  work: BlockWork,
  group: readonly number[],
  sums: Sums,
  layers: Map<string, LayerStatistics>,
): Promise<void> {
  const { network, request } = work;
  const { batch, targets: gold } = await work.labelled.batch(group);
  const wantsOutputs = request.kind === "kfac";
  const targets = wantsOutputs ? await chosen(work, group, batch, gold) : gold;
  const weights = Float32Array.from(targets, (target) => (target === IGNORED ? 0 : 1));
  for (const some of passesOf(layersOf(network), wantsOutputs)) {
    const { names, outputs } = some;
    const loss = outputs ? ({ kind: "cross-entropy", targets, weights } as const) : undefined;
    for (const [name, { rows, inputs, outputGradients }] of await network.grams(batch, names, loss)) {
      const layer = network.layers.find((one) => one.name === name)!;
      sums.add(sumName(name, "input"), [layer.inputs, layer.inputs], inputs);
      if (outputGradients !== null) {
        sums.add(sumName(name, "output"), [layer.outputs, layer.outputs], outputGradients);
      }
      const { weight, shape, transposed } = layer;
      layers.set(name, { weight, shape, transposed, rows: (layers.get(name)?.rows ?? 0) + rows });
    }
  }
}

/** Layers with a matrix of their own: no convolutions, and no head that is an embedding's other use. */
export function layersOf({ layers }: Pick<TappedNetwork, "layers">): LayerInfo[] {
  return layers.filter(({ name, weight, shape }) => shape.length === 2 && weight === `${name}.weight`);
}

/** Layers whose products fit into one pass; the widest, whose outputs are left out, in passes of their own. */
function passesOf(layers: readonly LayerInfo[], wantsOutputs: boolean): { names: string[]; outputs: boolean }[] {
  const passes: { names: string[]; outputs: boolean; entries: number }[] = [];
  for (const { name, inputs, outputs } of layers) {
    const both = wantsOutputs && outputs <= WIDEST_OUTPUT;
    const entries = inputs ** 2 + (both ? outputs ** 2 : 0);
    const last = passes.findLast((pass) => pass.outputs === both);
    if (last !== undefined && last.entries + entries <= PASS_ENTRIES) {
      last.names.push(name);
      last.entries += entries;
    } else passes.push({ names: [name], outputs: both, entries });
  }
  return passes;
}

/** How methods that mix are executed: inner products and sums tensor by tensor, row by row or column by column. */
import { decodeBase64 } from "../kernels/base64.js";
import type { Gram, MixtureMethod } from "../methods/method.js";
import { argumentsOf, baseOf, mixtureOf, vectorsOf } from "../methods/mixture.js";
import { pairCount } from "../kernels/gram/definition.js";
import { columnGramBytes } from "../kernels/gram/binding.js";
import { sumOf } from "../numbers/sums.js";
import type { Plan, PlannedTensor } from "../plan/types.js";
import { BLOCK_ENTRIES, blocksOf } from "./blocks.js";
import type { Crew, Stage } from "./crew.js";
import type { ColumnsBlock, CombineArgs, CombineBlock, HeldColumns, MixArgs } from "./jobs.js";
import type { Journal } from "./journal.js";
import { eachInLanes } from "./lanes.js";
import { columnsOf, tableBytes } from "./mixture_jobs.js";
import { stagesOf } from "./stages.js";

/** Tensors that are worked on at the same time: the next is read while one ends. */
export const MIXTURE_LANES = 3;
/** Columns whose inner products are taken together: runs long enough to read, few enough for several threads. */
const STRIPE_COLUMNS = 2048;

/** What the execution of a plan lends to the execution of its mixtures. */
export interface MixtureRun {
  readonly plan: Plan;
  readonly method: MixtureMethod;
  readonly journal: Journal;
  readonly crew: Crew;
  /** Blocks of these tensors that are not written yet. */
  unwritten(tensors: readonly number[]): CombineBlock[];
  write<N extends "combine" | "mixRows" | "combineColumns">(stage: Stage<N>): Promise<void>;
}

/**
 * Kernel memory for each lane: the coefficients of the widest tensor that is mixed by columns, four bytes for each of its
 * columns and each model and the base. Nothing else grows with a tensor.
 */
export function mixtureLaneBytes(plan: Plan, method: MixtureMethod): number {
  return tablesOf(plan, method).reduce((most, bytes) => Math.max(most, bytes), 0);
}

/** Bytes of the coefficients of each tensor that is mixed by columns; tied ones have one table. */
export function tablesOf({ tensors }: Plan, method: MixtureMethod): number[] {
  return tensors
    .filter((tensor) => tensor.action === "merge" && tensor.tiedTo === null && formOf(method, tensor) === "column")
    .map((tensor) => tableBytes(tensor.inputs.length, columnsOf(tensor)));
}

function formOf(method: MixtureMethod, { settings, shape }: Pick<PlannedTensor, "settings" | "shape">) {
  return vectorsOf(method, settings!, shape);
}

export async function mergeMixtures(run: MixtureRun): Promise<void> {
  const { plan, method, crew } = run;
  const merged = plan.tensors.flatMap(({ action }, index) => (action === "merge" ? [index] : []));
  const isRows = (index: number) => formOf(method, plan.tensors[index]!) === "row";
  // Tensors with the same settings go into one stage, so that threads never wait between them.
  const rows = stagesOf(merged.filter(isRows), (index) => ({ settings: plan.tensors[index]!.settings! }));
  await Promise.all(
    rows.map(({ args, tensors }) => run.write({ job: "mixRows", blocks: run.unwritten(tensors), args })),
  );
  const others = merged.filter((index) => plan.tensors[index]!.tiedTo === null && !isRows(index));
  const laneBytes = mixtureLaneBytes(plan, method);
  await eachInLanes(others, MIXTURE_LANES, async (index, lane) => {
    const { name } = plan.tensors[index]!;
    const tensors = [index, ...merged.filter((other) => plan.tensors[other]!.tiedTo === name)];
    const blocks = run.unwritten(tensors);
    if (blocks.length === 0) return;
    if (formOf(method, plan.tensors[index]!) === "tensor") await mixTensor(run, index, blocks);
    else await mixByColumns(run, index, blocks, crew.statistics + lane * laneBytes);
  });
}

/** One pass for the inner products, which the journal keeps, one for the sum. */
async function mixTensor(run: MixtureRun, index: number, blocks: readonly CombineBlock[]): Promise<void> {
  const { plan, method, journal } = run;
  const { name, settings } = plan.tensors[index]!;
  const key = `known:${name}`;
  let gram = journal.known.get(key)?.gram;
  if (gram === undefined) {
    gram = await gramOfTensor(run, index);
    journal.recordKnown(key, { gram });
  }
  const args = argumentsOf(mixtureOf(method, gram, settings!, name), gram);
  await run.write({ job: "combine", blocks, args: { args } });
}

async function gramOfTensor(
  { plan, method, crew }: Pick<MixtureRun, "plan" | "method" | "crew">,
  index: number,
): Promise<Gram> {
  const { entries, inputs, base: stream } = plan.tensors[index]!;
  const base = baseOf(method, stream !== null);
  const vectors = inputs.length + (base === "member" ? 1 : 0);
  const parts = await crew.run({ job: "gram", blocks: blocksOf(index, entries), args: null });
  const products = Array.from({ length: pairCount(vectors) }, (_, pair) => sumOf(parts.map((part) => part[pair]!)));
  return { vectors, base, products };
}

/** One pass for the coefficients, which are long and follow from the inputs, so the journal does not keep them. */
async function mixByColumns(
  run: MixtureRun,
  index: number,
  blocks: readonly CombineBlock[],
  table: number,
): Promise<void> {
  const { plan, crew } = run;
  const tensor = plan.tensors[index]!;
  const args = { settings: tensor.settings!, table };
  await crew.run({ job: "mixColumns", blocks: stripesOf(run, index), args });
  await run.write({ job: "combineColumns", blocks, args });
}

/** Sums of a stripe's pairs fit into the room that every thread has for a block of its output. */
function stripesOf({ plan, method }: Pick<MixtureRun, "plan" | "method">, index: number): ColumnsBlock[] {
  const tensor = plan.tensors[index]!;
  const width = columnsOf(tensor);
  const vectors = tensor.inputs.length + (baseOf(method, tensor.base !== null) === "member" ? 1 : 0);
  let most = STRIPE_COLUMNS;
  while (most > 4 && columnGramBytes(vectors, most) > BLOCK_ENTRIES) most /= 2;
  return Array.from({ length: Math.ceil(width / most) }, (_, stripe) => {
    const first = stripe * most;
    const columns = Math.min(most, width - first);
    return { tensor: index, start: first, count: columns * tensor.shape[0]!, first, columns };
  });
}

/** A mixture that is an input of another merge. */
type SettleRun = Pick<MixtureRun, "plan" | "method" | "journal"> & {
  readonly key: string;
  readonly startCrew: () => Promise<Crew>;
};

/**
 * What is needed to compute any run of entries of a mixture that is an input of another merge: coefficients of whole
 * tensors and tables of coefficients of columns, both of which the journal keeps; rows are mixed where they are read.
 */
export async function settleMixtures(run: SettleRun): Promise<(CombineArgs | MixArgs | HeldColumns | null)[]> {
  const { key, plan, method, journal } = run;
  const isRow = (index: number) => formOf(method, plan.tensors[index]!) === "row";
  const isColumn = (index: number) => formOf(method, plan.tensors[index]!) === "column";
  const keyOf = (index: number) => `${key}/${plan.tensors[index]!.tiedTo ?? plan.tensors[index]!.name}`;
  const wanted = plan.tensors.flatMap(({ action, tiedTo }, index) =>
    action === "merge" && tiedTo === null && !isRow(index) ? [index] : [],
  );
  const isKnown = (index: number) =>
    isColumn(index) ? journal.notes.has(tableNote(keyOf(index))) : journal.settled.has(keyOf(index));
  const missing = wanted.filter((index) => !isKnown(index));
  if (missing.length > 0) await settleMissing(run, missing, keyOf);
  const tables = new Map<string, HeldColumns>();
  return plan.tensors.map((tensor, index) => {
    const { action, settings, name } = tensor;
    if (action === "copy") return null;
    if (isRow(index)) return { settings: settings! };
    if (isColumn(index)) {
      // Tied tensors have one table, which threads hold once.
      const held = tables.get(keyOf(index)) ?? {
        settings: settings!,
        table: decodeBase64(String(journal.notes.get(tableNote(keyOf(index))))),
      };
      tables.set(keyOf(index), held);
      return held;
    }
    const gram = journal.settled.get(keyOf(index))!.known.gram!;
    return { args: argumentsOf(mixtureOf(method, gram, settings!, name), gram) };
  });
}

async function settleMissing(
  { plan, method, journal, startCrew }: SettleRun,
  missing: readonly number[],
  keyOf: (index: number) => string,
): Promise<void> {
  const crew = await startCrew();
  const laneBytes = mixtureLaneBytes(plan, method);
  try {
    await eachInLanes(missing, MIXTURE_LANES, async (index, lane) => {
      const tensor = plan.tensors[index]!;
      if (formOf(method, tensor) === "tensor") {
        const gram = await gramOfTensor({ plan, method, crew }, index);
        journal.recordSettled(keyOf(index), { known: { gram }, quotas: new Map(), unproved: null });
        return;
      }
      const args = { settings: tensor.settings!, table: crew.statistics + lane * laneBytes };
      await crew.run({ job: "mixColumns", blocks: stripesOf({ plan, method }, index), args });
      const bytes = tableBytes(tensor.inputs.length, columnsOf(tensor));
      journal.recordNote(tableNote(keyOf(index)), textOf(new Uint8Array(crew.memory.buffer, args.table, bytes)));
    });
  } finally {
    await crew.close();
  }
}

/** The journal's key of a table of coefficients. */
function tableNote(key: string): string {
  return `columns ${key}`;
}

/** Bytes as a line of text can hold them: base64. */
function textOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

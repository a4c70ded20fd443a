/**
 * What experts cost, by formula: the numbers that are stored, the multiply-adds of a token, and the singular value
 * decompositions that make them. Of a plan and of an artifact alike.
 */
import { exactSvdCost, sketchedSvdCost } from "../algebra/cost.js";
import type { SvdCost } from "../algebra/cost.js";
import type { ExpertForm } from "../methods/method.js";
import { layerPathOf } from "../models/families.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { ExpertSize } from "./artifact.js";

/** One tensor of one expert. */
export interface ExpertShape extends ExpertSize {
  readonly tensor: string;
  /** Of the shared model's tensor. */
  readonly shape: readonly number[];
  /** Index among the tasks. */
  readonly model: number;
}

export type UpscalingRouting = { readonly by: "inputs" } | { readonly by: "tokens"; readonly top: number };

/** What is stored, and what a token costs. */
export interface Upscaling {
  /** Numbers. `ratio`: all of them over the shared model's. */
  readonly parameters: {
    readonly shared: number;
    readonly experts: number;
    readonly gates: number;
    readonly ratio: number;
  };
  /** Multiply-adds of a token in the matrices inside the layers: those of the shared model, and of its gates. */
  readonly perToken: { readonly shared: number; readonly gates: number };
  /** Per way of choosing; the first is the usual one. */
  readonly ways: readonly UpscalingWay[];
}

export interface UpscalingWay {
  readonly routing: "tokens" | "soft" | "top1" | "oracle";
  /** Multiply-adds of a token in experts, of the largest one where one is chosen. */
  readonly experts: number;
  /** With gates, and with the shared model's pass that a router looks at, over the shared model's alone. */
  readonly ratio: number;
  /** Multiply-adds per run of neighbouring inputs with equal weights: tensors that are no factored layer's are summed. */
  readonly perChoice: number;
}

/**
 * @param experts every tensor of every expert; those of kind `none` add nothing to it.
 * @param shared numbers of the shared model.
 */
export function upscalingOf(
  experts: readonly ExpertShape[],
  shared: number,
  tasks: number,
  routing: UpscalingRouting,
): Upscaling {
  const own = experts.filter(({ kind }) => kind !== "none");
  const sum = (list: readonly ExpertShape[], of: (one: ExpertShape) => number) =>
    list.reduce((total, one) => total + of(one), 0);
  const stored = sum(own, storedNumbers);
  const gates = sum(own, gateNumbers);
  // A layer that no model changes is run, too.
  const layers = new Map(experts.filter(isLayer).map((one) => [one.tensor, one]));
  const sharedWork = sum([...layers.values()], ({ shape }) => entriesOf(shape));
  const byTask = Array.from({ length: tasks }, (_, task) => own.filter(({ model }) => model === task));
  const work = byTask.map((list) => sum(list.filter(isLayer), layerWork));
  const choice = byTask.map((list) => sum(list, choiceWork));
  const parameters = { shared, experts: stored, gates, ratio: (shared + stored + gates) / shared };
  const perToken = { shared: sharedWork, gates: routing.by === "tokens" ? gates : 0 };
  const way = (name: UpscalingWay["routing"], ownWork: number, looks: number, perChoice: number): UpscalingWay => {
    const all = sharedWork * (1 + looks) + perToken.gates + ownWork;
    return { routing: name, experts: ownWork, ratio: sharedWork === 0 ? 1 : all / sharedWork, perChoice };
  };
  if (routing.by === "tokens") {
    const top = Math.min(routing.top, tasks);
    const most = [...layers.keys()].map((tensor) => {
      const each = own.filter((one) => one.tensor === tensor).map(tokenWork);
      return each.toSorted((a, b) => b - a).slice(0, top);
    });
    return {
      parameters,
      perToken,
      ways: [
        way(
          "tokens",
          most.flat().reduce((a, b) => a + b, 0),
          0,
          0,
        ),
      ],
    };
  }
  const all = (list: readonly number[]) => list.reduce((total, one) => total + one, 0);
  const ways = [
    way("soft", all(work), 1, all(choice)),
    way("top1", Math.max(...work), 1, Math.max(...choice)),
    way("oracle", Math.max(...work), 0, Math.max(...choice)),
  ];
  return { parameters, perToken, ways };
}

function isLayer({ tensor, shape }: ExpertShape): boolean {
  return shape.length === 2 && layerPathOf(tensor) !== null;
}

function storedNumbers({ kind, shape, rank, kept }: ExpertShape): number {
  const [rows = 0, columns = 0] = shape;
  if (kind === "factors") return rank * (rows + columns + 1);
  return kind === "packed" ? kept : entriesOf(shape);
}

function gateNumbers({ gate, shape }: ExpertShape): number {
  return gate * (shape[1] ?? 0);
}

/** Of a token in a layer whose experts are chosen by its gate. */
function tokenWork({ kind, shape, rank }: ExpertShape): number {
  const [rows = 0, columns = 0] = shape;
  return kind === "factors" ? rank * (rows + columns) : entriesOf(shape);
}

/** Of a token in a layer that is factored; others are summed before. */
function layerWork({ kind, shape, rank }: ExpertShape): number {
  const [rows = 0, columns = 0] = shape;
  return kind === "factors" ? rank * (rows + columns) : 0;
}

/** Of a run of inputs with equal weights: whole tensors are added, factored tables multiplied out. */
function choiceWork(expert: ExpertShape): number {
  const { kind, shape, rank } = expert;
  if (kind === "factors") return isLayer(expert) ? 0 : rank * entriesOf(shape);
  return entriesOf(shape);
}

/**
 * Sides up to this are factored exactly. Spectra of changes are flat: a sketch's last vectors are then mixtures with those
 * beyond the rank, which costs a product little and a gate a lot, since it looks at few of them.
 */
export const EXACT_SIDE = 512;
/** Products with the sketch for larger ones, for the same reason more than are usual. */
export const POWER_ITERATIONS = 6;
/** Vectors of a sketch beyond the rank; where twice as many as all are more than the side, it is factored exactly. */
export const OVERSAMPLING = 16;

/** What making one tensor of one expert takes of a thread; `null` where nothing is factored. */
export function expertSvdCost(form: ExpertForm, shape: readonly number[]): SvdCost | null {
  const asked = form.kind === "factors" ? form.rank : form.kind === "whole" && (form.gate ?? 0) > 0 ? 0 : null;
  if (asked === null || form.kind === "none" || shape.length !== 2) return null;
  const [rows = 0, columns = 0] = shape;
  const side = Math.min(rows, columns);
  const gate = form.kind === "factors" || form.kind === "whole" ? (form.gate ?? 0) : 0;
  const rank = typeof asked === "number" ? Math.max(asked, gate) : side;
  const width = rank + OVERSAMPLING;
  if (typeof asked !== "number" || side <= EXACT_SIDE || 2 * width > side) return exactSvdCost(rows, columns);
  return sketchedSvdCost(rows, columns, { rank, width, powerIterations: POWER_ITERATIONS });
}

/** What making all experts takes. */
export interface ExpertsCost {
  /** Matrices that are decomposed, one per task and tensor. */
  readonly matrices: number;
  readonly operations: number;
  /** With all threads busy; changes are read while others are decomposed. */
  readonly seconds: number;
  /** Threads times the largest matrix's; a matrix that waits for each. */
  readonly bytes: number;
}

/** @param experts per tensor its form, its shape and how many tasks have it. */
export function expertsCost(
  experts: readonly { readonly form: ExpertForm; readonly shape: readonly number[]; readonly tasks: number }[],
  threads: number,
): ExpertsCost {
  let [matrices, operations, seconds, largest] = [0, 0, 0, 0];
  for (const { form, shape, tasks } of experts) {
    const cost = expertSvdCost(form, shape);
    // A change, what it was taken from, and how near the stored parts come, all in f32.
    const waiting = form.kind === "none" ? 0 : 12 * entriesOf(shape);
    largest = Math.max(largest, waiting + (cost?.bytes ?? 0));
    if (cost === null) continue;
    matrices += tasks;
    operations += tasks * cost.operations;
    seconds += (tasks * cost.seconds) / threads;
  }
  return { matrices, operations, seconds, bytes: threads * largest };
}

/** Tasks as networks that share one team of threads, and the batches that they are given. */

import { taskDefect } from "../evaluate/defect.js";
import type { EvaluatePlatform } from "../evaluate/platform.js";
import type { LabelledExamples, Prepared } from "../evaluate/scorer.js";
import { prepare } from "../evaluate/scorers.js";
import type { Split, Task } from "../evaluate/task.js";
import { sampledFingerprint } from "../models/fingerprint.js";
import type { Checkpoint } from "../models/model.js";
import { randomWord, streamKey } from "../numbers/random.js";
import type { TappedNetwork, WeightSource } from "../runtime/network.js";
import { openNetworkWith } from "../runtime/opened_network.js";
import type { Team } from "../runtime/team.js";
import { weightsOf } from "../runtime/weights.js";
import { heldInMemory } from "./weighed.js";

export interface TaskInputs extends Pick<LabelledExamples, "count" | "batch"> {
  readonly name: string;
  readonly network: TappedNetwork;
  /** What results depend on: data, how they are prepared, head. */
  readonly content: string;
}

export interface OpenTasks {
  readonly tasks: readonly TaskInputs[];
  /** Things about the data worth telling. */
  readonly notes: readonly string[];
  close(): Promise<void>;
}

export interface TaskInputOptions {
  readonly split: Split;
  /** `unused`: data without labels will do. */
  readonly labels: "needed" | "unused";
  /** Models whose heads are attached, by the task's name; instead of what the tasks say. */
  readonly heads?: Readonly<Record<string, string>>;
}

/**
 * Opens a network per task, all of them in the same memory, so that one at a time has its weights there: each must be
 * loaded before its pass. The team stays the caller's to close.
 * @param model whose config, tokenizer and preprocessor hold.
 */
export async function openTasks(
  tasks: readonly Task[],
  model: Checkpoint,
  weights: WeightSource,
  team: Team,
  platform: EvaluatePlatform,
  options: TaskInputOptions,
): Promise<OpenTasks> {
  const { threads, memory, kernels, free } = team;
  const shared: Team = {
    ...{ threads, memory, kernels, free },
    run: (lanes, first, arenas, progress) => team.run(lanes, first, arenas, progress),
    close: () => Promise.resolve(),
  };
  const heads: Checkpoint[] = [];
  const notes: string[] = [];
  const prepares: Prepared[] = [];
  const openOne = async (task: Task): Promise<TaskInputs> => {
    const named = options.heads?.[task.name] ?? ("head" in task ? task.head : null);
    const head = named === null ? null : await platform.openModel(named);
    if (head !== null) heads.push(head);
    const { split, labels } = options;
    const prepared = await prepare(task, { model, head, split, platform, labels });
    prepares.push(prepared);
    const { labelled } = prepared;
    if (labelled === undefined) throw notLearnable(task);
    const network = await openNetworkWith(
      weights,
      head === null ? {} : { head: heldInMemory(weightsOf(head)) },
      shared,
    );
    checkLabels(task, labelled, network);
    notes.push(...prepared.notes.map((note) => `${task.name}: ${note}`));
    const content = JSON.stringify([prepared.content, head === null ? null : await sampledFingerprint(head)]);
    return { name: task.name, network, content, count: labelled.count, batch: (examples) => labelled.batch(examples) };
  };
  const close = async () => {
    for (const head of heads) await head.close();
    for (const prepared of prepares) await prepared.close?.();
  };
  try {
    const opened: TaskInputs[] = [];
    for (const task of tasks) opened.push(await openOne(task));
    return { tasks: opened, notes, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function notLearnable(task: Task) {
  return taskDefect(task, "tasks/model", `a task of type ${task.type} has no predictions to learn from`, {
    expected: "a task of type image-classification, sequence-classification or language-modelling",
    advice: "leave the task out of the tasks file",
  });
}

function checkLabels(task: Task, { classes }: LabelledExamples, network: TappedNetwork): void {
  if (classes === null || classes <= network.classes) return;
  throw taskDefect(task, "tasks/head", "the head does not tell apart the classes of the task", {
    expected: `${classes} classes, as the labels have`,
    found: `${network.classes} classes`,
    advice: "give the head of this task: head: MODEL in the tasks file, or --head-from TASK=MODEL",
  });
}

/** How examples are taken: in the data's order round and round, or in another order each round. */
export interface Order {
  readonly batch: number;
  /** `null`: the data's order, without random numbers. */
  readonly seed: number | null;
}

/** The examples of step `step`, from 0, of a task with `count`: those at places batch·step + j, modulo count. */
export function examplesOf(
  step: number,
  { name, count }: Pick<TaskInputs, "name" | "count">,
  { batch, seed }: Order,
): number[] {
  const orders = new Map<number, readonly number[]>();
  return Array.from({ length: batch }, (_, j) => {
    const at = batch * step + j;
    if (seed === null) return at % count;
    const round = Math.floor(at / count);
    const order = orders.get(round) ?? shuffled(count, seed, name, round);
    orders.set(round, order);
    return order[at % count]!;
  });
}

/** Fisher and Yates, with a random word per place. */
function shuffled(count: number, seed: number, task: string, round: number): readonly number[] {
  const key = streamKey(seed, task, `order ${round}`);
  const order = Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor((randomWord(key, last) / 2 ** 32) * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}

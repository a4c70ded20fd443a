/** Whether a classifier and a task's labels belong together. */

import type { Network } from "../runtime/network.js";
import { taskDefect } from "./defect.js";
import type { ImageTask, SequenceTask } from "./task.js";

/**
 * @param classes one more than the highest label of the data.
 * @param from whose head it is, for messages.
 * @throws tasks/head
 */
export function checkClasses(task: ImageTask | SequenceTask, network: Network, classes: number, from: string): void {
  const expected = task.classes ?? classes;
  if (network.classes === expected && classes <= expected) return;
  const tooFew = network.classes < classes;
  throw taskDefect(task, "tasks/head", "the head does not tell apart the classes of the task", {
    where: { file: from },
    expected: `${expected} classes, ${task.classes === null ? "as the labels have" : "as the task says"}`,
    found:
      tooFew || task.classes !== null
        ? `${network.classes} classes; labels up to ${classes - 1}`
        : `${network.classes} classes`,
    advice: tooFew
      ? "give the head of this task: head: MODEL in the tasks file, or --head-from TASK=MODEL"
      : `give the head of this task, or write classes: ${network.classes} if some classes have no examples`,
  });
}

/** The class of each row with the highest logit, the first of equals; −1 for a row that holds NaN. */
export function answersOf(values: Float32Array, rows: number, classes: number): number[] {
  return Array.from({ length: rows }, (_, row) => {
    let best = 0;
    for (let at = row * classes, end = at + classes; at < end; at++) {
      if (Number.isNaN(values[at])) return -1;
      if (values[at]! > values[row * classes + best]!) best = at - row * classes;
    }
    return best;
  });
}

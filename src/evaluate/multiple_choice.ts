/**
 * Which of some continuations a language model finds most likely: the choice with the highest Σ log p(token | question and
 * the choice's tokens before it), or that sum divided by the choice's tokens or UTF-8 bytes. The tokens of a choice are
 * those that question and choice, encoded together, have beyond the question's own.
 */

import { IGNORED, type Network } from "../runtime/network.js";
import { isObject } from "../tokenizers/json.js";
import { taskDefect } from "./defect.js";
import { beginOf, openEncoder } from "./encoder.js";
import { sha256 } from "./fingerprint.js";
import type { Scorer } from "./scorer.js";
import type { ChoiceTask } from "./task.js";
import { batchesOf } from "./text_batches.js";
import { readExamples } from "./text_data.js";

interface Question {
  readonly question: string;
  readonly choices: readonly string[];
  readonly answer: number;
}

/** A choice behind its question. */
interface Continuation {
  readonly ids: readonly number[];
  /** The first token that counts. */
  readonly first: number;
  readonly bytes: number;
}

export const multipleChoice: Scorer<ChoiceTask> = async (task, { model, split, platform }) => {
  const { examples } = await readExamples(task, split, platform, questionOf, EXPECTED);
  const encoder = await openEncoder(task, model);
  const begin = beginOf(task, task.begin, encoder, model);
  const before = begin === null ? [] : [begin];
  const continuations = examples.flatMap(({ question, choices }) =>
    choices.map((choice): Continuation => {
      const space = question === "" || /\s$/.test(question) || /^\s/.test(choice) ? "" : " ";
      // Spaces between belong to the choice, as they do in most vocabularies.
      const prefix = [...before, ...encoder.encode(question.trimEnd())];
      const ids = [...before, ...encoder.encode(question + space + choice)];
      return { ids, first: Math.max(1, prefix.length), bytes: new TextEncoder().encode(choice).length };
    }),
  );
  const short = continuations.findIndex(({ ids, first }) => ids.length <= first);
  if (short !== -1) {
    throw taskDefect(task, "tasks/data", "a choice has no token that could be predicted", {
      where: { file: task.data },
      expected: "choices that are not empty, and begin: TOKEN where the model has no token that begins a text",
    });
  }
  const labels = examples.map(({ answer }) => answer);
  return {
    content: JSON.stringify([
      task.type,
      task.likelihood,
      begin,
      encoder.fingerprint,
      await sha256(JSON.stringify(examples)),
    ]),
    examples: examples.length,
    notes: [],
    async run(open, during) {
      const network = await open();
      const scores: number[] = [];
      for (const batch of batchesOf(continuations, network.classes)) {
        const share = batch.length / continuations.length;
        scores.push(...(await during(share * examples.length, scoresOf(network, batch, task))));
      }
      let next = 0;
      const answers = examples.map(({ choices }) => best(scores.slice(next, (next += choices.length))));
      return { kind: "answers", metric: "accuracy", labels, answers };
    },
  };
};

const EXPECTED = '{"question": a text, "choices": [texts, two or more], "answer": the number of the right one, from 0}';

function questionOf(value: unknown): Question | undefined {
  if (!isObject(value)) return undefined;
  const { question, choices, answer } = value;
  if (typeof question !== "string" || !Array.isArray(choices) || typeof answer !== "number") return undefined;
  const texts = choices.filter((choice): choice is string => typeof choice === "string" && choice !== "");
  const fits = Number.isInteger(answer) && answer >= 0 && answer < choices.length;
  return fits && texts.length === choices.length && texts.length >= 2
    ? { question, choices: texts, answer }
    : undefined;
}

async function scoresOf(network: Network, batch: readonly Continuation[], task: ChoiceTask): Promise<number[]> {
  const length = Math.max(...batch.map(({ ids }) => ids.length));
  const ids = new Int32Array(batch.length * length);
  const targets = new Int32Array(batch.length * length).fill(IGNORED);
  for (const [row, { ids: own, first }] of batch.entries()) {
    ids.set(own, row * length);
    for (let at = first; at < own.length; at++) targets[row * length + at - 1] = own[at]!;
  }
  const lengths = Int32Array.from(batch, (one) => one.ids.length);
  const losses = await network.losses({ kind: "text", count: batch.length, length, ids, lengths }, targets);
  return batch.map(({ ids: own, first, bytes }, row) => {
    const nats = losses.subarray(row * length, (row + 1) * length).reduce((sum, loss) => sum + loss, 0);
    const per = { sum: 1, "per-token": own.length - first, "per-byte": bytes }[task.likelihood];
    return -nats / per;
  });
}

/** The highest, the first of equals; −1 where one is NaN. */
function best(scores: readonly number[]): number {
  return scores.some(Number.isNaN) ? -1 : scores.indexOf(Math.max(...scores));
}

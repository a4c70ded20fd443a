/**
 * Whether a model writes exactly the target, always choosing its most likely next token. That is so if, and only if, at
 * every place of the target its most likely token behind input and target so far is the target's, the ending token
 * included: one pass over input and target decides it, and nothing has to be generated.
 *
 * An encoder-decoder model has the input in its encoder, wrapped as its tokenizer does, and begins with its
 * `decoder_start_token_id`; any other model has the target behind the input, with a space between where neither has one.
 * What counts are tokens: a model that would write the same text in other tokens is counted as wrong.
 */

import type { Checkpoint } from "../models/model.js";
import { IGNORED, type Network, type TextBatch } from "../runtime/network.js";
import { isObject } from "../tokenizers/json.js";
import { taskDefect } from "./defect.js";
import { beginOf, type Encoder, endOf, openEncoder } from "./encoder.js";
import { sha256 } from "./fingerprint.js";
import { answersOf } from "./heads.js";
import type { Scorer } from "./scorer.js";
import type { TextToTextTask } from "./task.js";
import { batchesOf } from "./text_batches.js";
import { readExamples } from "./text_data.js";

interface Example {
  readonly input: string;
  readonly target: string;
}

/** What the model is shown, and what it should choose. */
interface Shown {
  readonly ids: readonly number[];
  /** Of an encoder-decoder model: what it has said so far, at every place. */
  readonly decoder: readonly number[] | null;
  /** The place after which the first token of the target is chosen. */
  readonly first: number;
  readonly targets: readonly number[];
}

export const textToText: Scorer<TextToTextTask> = async (task, { model, split, platform }) => {
  const { examples } = await readExamples(task, split, platform, exampleOf, '{"input": a text, "target": a text}');
  const encoder = await openEncoder(task, model);
  const begin = beginOf(task, task.begin, encoder, model);
  const end = endOf(task, task.end, encoder, model);
  const isTwoPart = model.config?.["is_encoder_decoder"] === true;
  const show = isTwoPart ? inTwoParts(task, encoder, model, end) : inOne(encoder, begin, end);
  const shown = examples.map(show);
  const empty = shown.findIndex(({ targets, first }) => targets.length === 0 || first < 0);
  if (empty !== -1) {
    throw taskDefect(
      task,
      "tasks/data",
      `example ${empty + 1} of the split ${split} has no token that could be predicted`,
      {
        where: { file: task.data },
        expected: "targets that are not empty, and begin: TOKEN where the input is empty",
      },
    );
  }
  return {
    content: JSON.stringify([task.type, begin, end, encoder.fingerprint, await sha256(JSON.stringify(examples))]),
    examples: examples.length,
    notes: [],
    labelled: {
      count: shown.length,
      classes: null,
      shape: (example) => `${shown[example]!.ids.length} ${shown[example]!.decoder?.length}`,
      batch: (some) => Promise.resolve(labelledBatch(some.map((example) => shown[example]!))),
    },
    async run(open, during) {
      const network = await open();
      const answers: number[] = [];
      for (const batch of batchesOf(shown, network.classes)) {
        answers.push(...(await during(batch.length, answersTo(network, batch))));
      }
      // Right is 1, and every label is right.
      return { kind: "answers", metric: "exact_match", labels: answers.map(() => 1), answers };
    },
  };
};

function exampleOf(value: unknown): Example | undefined {
  if (!isObject(value)) return undefined;
  const { input, target } = value;
  return typeof input === "string" && typeof target === "string" ? { input, target } : undefined;
}

function inOne(encoder: Encoder, begin: number | null, end: number | null) {
  const before = begin === null ? [] : [begin];
  const after = end === null ? [] : [end];
  return ({ input, target }: Example): Shown => {
    const space = input === "" || target === "" || /\s$/.test(input) || /^\s/.test(target) ? "" : " ";
    // A space between belongs to the target, as it does in most vocabularies.
    const prefix = [...before, ...encoder.encode(input.trimEnd())];
    const whole = [...before, ...encoder.encode(input + space + target), ...after];
    return { ids: whole.slice(0, -1), decoder: null, first: prefix.length - 1, targets: whole.slice(prefix.length) };
  };
}

function inTwoParts(task: TextToTextTask, encoder: Encoder, { config, label }: Checkpoint, end: number | null) {
  const start = config?.["decoder_start_token_id"] ?? config?.["pad_token_id"];
  if (typeof start !== "number") {
    throw taskDefect(task, "tasks/model", "the model does not say what its decoder begins with", {
      where: { file: `${label}/config.json`, key: "decoder_start_token_id" },
      expected: "the id of a token",
      found: String(start),
    });
  }
  return ({ input, target }: Example): Shown => {
    const targets = [...encoder.encode(target), ...(end === null ? [] : [end])];
    const { ids } = encoder.wrap(input, null);
    return { ids, decoder: [start, ...targets.slice(0, -1)], first: 0, targets };
  };
}

/** 1 where every token is the model's choice, 0 where one is not, −1 where its logits are not finite. */
async function answersTo(network: Network, batch: readonly Shown[]): Promise<number[]> {
  const said = batch.map(({ ids, decoder }) => decoder ?? ids);
  const length = Math.max(...said.map((ids) => ids.length));
  const positions = Int32Array.from(
    batch.flatMap(({ first, targets }, row) => targets.map((_, at) => row * length + first + at)),
  );
  const { values, rows, classes } = await network.logits(batchOf(batch, length, said, positions));
  const chosen = answersOf(values, rows, classes);
  let next = 0;
  return batch.map(({ targets }) => {
    const own = chosen.slice(next, (next += targets.length));
    if (own.includes(-1)) return -1;
    return own.every((token, at) => token === targets[at]) ? 1 : 0;
  });
}

/** Every place of what is said has a row of logits; those before the target and behind it predict nothing. */
function labelledBatch(batch: readonly Shown[]): { batch: TextBatch; targets: Int32Array } {
  const said = batch.map(({ ids, decoder }) => decoder ?? ids);
  const length = Math.max(...said.map((ids) => ids.length));
  const targets = new Int32Array(batch.length * length).fill(IGNORED);
  for (const [row, one] of batch.entries()) targets.set(one.targets, row * length + one.first);
  return { batch: batchOf(batch, length, said), targets };
}

/** @param positions those whose logits are wanted; all of them where absent. */
function batchOf(
  batch: readonly Shown[],
  length: number,
  said: readonly (readonly number[])[],
  positions?: Int32Array,
): TextBatch {
  const chosen = positions === undefined ? {} : { positions };
  if (batch[0]!.decoder === null) return { ...padded(said, length), kind: "text", ...chosen };
  const inputs = batch.map(({ ids }) => ids);
  const longest = Math.max(...inputs.map((ids) => ids.length));
  const { ids } = padded(said, length);
  return { ...padded(inputs, longest), kind: "text", decoder: { length, ids }, ...chosen };
}

function padded(rows: readonly (readonly number[])[], length: number) {
  const ids = new Int32Array(rows.length * length);
  for (const [row, own] of rows.entries()) ids.set(own, row * length);
  return { count: rows.length, length, ids, lengths: Int32Array.from(rows, (own) => own.length) };
}

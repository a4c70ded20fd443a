/** Which class a network finds most likely for each text or pair of texts. */

import type { Checkpoint } from "../models/model.js";
import { IGNORED } from "../runtime/network.js";
import { isObject } from "../tokenizers/json.js";
import { taskDefect } from "./defect.js";
import { type Encoder, openEncoder } from "./encoder.js";
import { sha256 } from "./fingerprint.js";
import { answersOf, checkClasses } from "./heads.js";
import type { Scorer } from "./scorer.js";
import type { SequenceTask } from "./task.js";
import { batchesOf } from "./text_batches.js";
import { readExamples } from "./text_data.js";

interface Labelled {
  readonly text: string;
  readonly pair: string | null;
  readonly label: number;
}

export const sequenceClassification: Scorer<SequenceTask> = async (
  task,
  { model, head, split, platform, labels: need },
) => {
  const read = need === "unused" ? exampleOf : labelledOf;
  const { examples, others, classes: named } = await readExamples(task, split, platform, read, EXPECTED);
  const encoder = await openEncoder(task, model);
  const longest = task.longest ?? longestOf(model);
  const texts = examples.map((example) => shorten(task, encoder.wrap(example.text, example.pair), longest, example));
  const cut = texts.filter(({ isCut }) => isCut).length;
  const labels = examples.map(({ label }) => label);
  const classes = named ?? 1 + [...examples, ...others].reduce((most, { label }) => Math.max(most, label), 0);
  return {
    content: JSON.stringify([task.type, longest, encoder.fingerprint, await sha256(JSON.stringify(examples))]),
    examples: examples.length,
    notes: cut === 0 ? [] : [`${cut} of ${examples.length} texts were cut to ${longest} tokens`],
    labelled: {
      count: texts.length,
      classes,
      shape: (example) => String(texts[example]!.ids.length),
      batch: (some) =>
        Promise.resolve({
          batch: batchOf(some.map((example) => texts[example]!)),
          targets: Int32Array.from(some, (example) => labels[example]!),
        }),
    },
    async run(open, during) {
      const network = await open();
      checkClasses(task, network, classes, (head ?? model).label);
      const answers: number[] = [];
      for (const batch of batchesOf(texts, 0)) {
        const { values, rows, classes: columns } = await during(batch.length, network.logits(batchOf(batch)));
        answers.push(...answersOf(values, rows, columns));
      }
      return { kind: "answers", metric: "accuracy", labels, answers };
    },
  };
};

const EXPECTED = '{"text": a text, "pair": a second text or nothing, "label": the number of its class, from 0}';

function labelledOf(value: unknown): Labelled | undefined {
  if (!isObject(value)) return undefined;
  const { text, pair = null, label } = value;
  if (typeof text !== "string" || !(pair === null || typeof pair === "string")) return undefined;
  const isClass = typeof label === "number" && Number.isInteger(label) && label >= 0 && label < 1e9;
  return isClass ? { text, pair, label } : undefined;
}

/** The same, where a label may be missing. */
function exampleOf(value: unknown): Labelled | undefined {
  if (!isObject(value) || value["label"] !== undefined) return labelledOf(value);
  const found = labelledOf({ ...value, label: 0 });
  return found && { ...found, label: IGNORED };
}

interface Encoded {
  readonly ids: readonly number[];
  readonly segments: readonly number[];
  readonly isCut: boolean;
}

/** Of one text the end is dropped, apart from the token behind it. */
function shorten(
  task: SequenceTask,
  { ids, segments }: ReturnType<Encoder["wrap"]>,
  longest: number,
  { pair }: Labelled,
): Encoded {
  if (ids.length <= longest) return { ids, segments, isCut: false };
  if (pair === null) {
    return { ids: [...ids.slice(0, longest - 1), ids.at(-1)!], segments: segments.slice(0, longest), isCut: true };
  }
  throw taskDefect(task, "tasks/data", "a pair of texts is longer than the model takes", {
    where: { file: task.data },
    expected: `at most ${longest} tokens`,
    found: `${ids.length}`,
    advice: "shorten the texts",
  });
}

/** Families whose positions begin behind the padding's. */
const OFFSET_POSITIONS: ReadonlySet<unknown> = new Set(["roberta", "xlm-roberta", "camembert"]);

function longestOf({ config }: Checkpoint): number {
  const positions = config?.["max_position_embeddings"] ?? config?.["n_positions"];
  if (typeof positions !== "number") return 512;
  return OFFSET_POSITIONS.has(config?.["model_type"]) ? positions - 2 : positions;
}

function batchOf(texts: readonly Encoded[]) {
  const length = Math.max(...texts.map(({ ids }) => ids.length));
  const ids = new Int32Array(texts.length * length);
  const segments = new Int32Array(texts.length * length);
  for (const [row, text] of texts.entries()) {
    ids.set(text.ids, row * length);
    segments.set(text.segments, row * length);
  }
  const lengths = Int32Array.from(texts, (text) => text.ids.length);
  return { kind: "text", count: texts.length, length, ids, lengths, segments } as const;
}

/**
 * Bits per UTF-8 byte. Every document becomes its beginning token and its tokens; the documents of a split, one behind
 * the other, are cut into windows, and what does not fill a window is dropped. Every token of a window but the first is
 * predicted from those before it:
 *
 *   bits per byte = Σ −log2 p(token | tokens before it in the window) / UTF-8 bytes of the decoded windows
 *
 * Where the stride is smaller than the window, windows overlap, and of every window but the first only the last `stride`
 * tokens count, so that each is predicted from more text before it.
 */

import { IGNORED, type Network } from "../runtime/network.js";
import { taskDefect } from "./defect.js";
import { beginOf, type Encoder, openEncoder } from "./encoder.js";
import { sha256 } from "./fingerprint.js";
import type { Windows } from "./outcomes.js";
import type { Scorer } from "./scorer.js";
import type { LanguageTask } from "./task.js";
import { batchesOf } from "./text_batches.js";
import { readExamples } from "./text_data.js";

export const languageModelling: Scorer<LanguageTask> = async (task, { model, split, platform }) => {
  const { examples } = await readExamples(task, split, platform, documentOf, 'a text, or {"text": a text}');
  const encoder = await openEncoder(task, model);
  const begin = beginOf(task, task.begin, encoder, model);
  checkWindow(task, model.config);
  const stream = examples.flatMap((text) => [...(begin === null ? [] : [begin]), ...encoder.encode(text)]);
  const windows = cut(stream, task);
  if (windows.length === 0) {
    throw taskDefect(task, "tasks/data", `the texts of the split ${split} do not fill one window`, {
      where: { file: task.data },
      expected: `${task.window} tokens or more`,
      found: `${stream.length}`,
      advice: "write a smaller window: in the task, or add data",
    });
  }
  const bytes = bytesOf(windows, encoder);
  return {
    content: JSON.stringify([
      task.type,
      task.window,
      task.stride,
      begin,
      encoder.fingerprint,
      await sha256(examples.join("\u0000")),
    ]),
    examples: windows.length,
    notes: [],
    labelled: {
      count: windows.length,
      classes: null,
      shape: () => "",
      batch: (some) =>
        Promise.resolve(
          batchOf(
            some.map((example) => windows[example]!),
            task.window,
          ),
        ),
    },
    async run(open, during) {
      const network = await open();
      const nats: number[] = [];
      for (const batch of batchesOf(windows, network.classes)) {
        nats.push(...(await during(batch.length, natsOf(network, batch, task.window))));
      }
      const tokens = windows.map(({ ids, first }) => ids.length - first);
      return { kind: "windows", metric: "bits_per_byte", nats, bytes, tokens } satisfies Windows;
    },
  };
};

interface Window {
  readonly ids: readonly number[];
  /** The first position whose token is predicted. */
  readonly first: number;
}

function cut(stream: readonly number[], { window, stride }: LanguageTask): Window[] {
  const count = stream.length < window ? 0 : Math.floor((stream.length - window) / stride) + 1;
  return Array.from({ length: count }, (_, index) => {
    const ids = stream.slice(index * stride, index * stride + window);
    // Windows that do not overlap have a token at their start that nothing predicts.
    return { ids, first: index === 0 || stride === window ? 1 : window - stride };
  });
}

/** −log p of each window's predicted tokens, summed. */
async function natsOf(network: Network, windows: readonly Window[], length: number): Promise<number[]> {
  const { batch, targets } = batchOf(windows, length);
  const losses = await network.losses(batch, targets);
  return windows.map((_, index) => losses.subarray(index * length, (index + 1) * length).reduce((a, b) => a + b, 0));
}

function batchOf(windows: readonly Window[], length: number) {
  const count = windows.length;
  const ids = Int32Array.from(windows.flatMap((window) => window.ids));
  const lengths = new Int32Array(count).fill(length);
  const targets = new Int32Array(count * length).fill(IGNORED);
  for (const [index, window] of windows.entries()) {
    for (let at = window.first; at < length; at++) targets[index * length + at - 1] = window.ids[at]!;
  }
  return { batch: { kind: "text", count, length, ids, lengths } as const, targets };
}

function documentOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const text = typeof value === "object" && value !== null ? (value as { text?: unknown }).text : undefined;
  return typeof text === "string" ? text : undefined;
}

/**
 * UTF-8 bytes that each window's new tokens add to the text before them. A window may end inside a character, which is
 * decoded whole only together with what follows, so a window is decoded with the one before it; the sum is that of the
 * whole text.
 */
function bytesOf(windows: readonly Window[], encoder: Encoder): number[] {
  const encode = new TextEncoder();
  const lengthOf = (ids: readonly number[]) => encode.encode(encoder.decode(ids)).length;
  let before: readonly number[] = [];
  return windows.map(({ ids, first }) => {
    const fresh = first === 1 ? ids : ids.slice(first);
    const bytes = lengthOf([...before, ...fresh]) - lengthOf(before);
    before = fresh;
    return bytes;
  });
}

function checkWindow(task: LanguageTask, config: Readonly<Record<string, unknown>> | null): void {
  const longest = config?.["max_position_embeddings"] ?? config?.["n_positions"];
  if (typeof longest !== "number" || task.window <= longest) return;
  throw taskDefect(task, "tasks/model", "the window is longer than the texts that the model takes", {
    expected: `at most ${longest} tokens`,
    found: `window: ${task.window}`,
    advice: "write a smaller window: in the task",
  });
}

/** A lane of the back end onnx: sessions of one thread, asked one thing at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { toPlainError } from "../../errors.js";
import type { PlainError } from "../../errors.js";
import type { OnnxFeed, OnnxSession } from "../../runtime/onnx/engine.js";
import { loadPeer, openSession } from "./onnx_session.js";

export type ToLane =
  | { readonly type: "open"; readonly id: number; readonly file: Uint8Array }
  | { readonly type: "release"; readonly id: number }
  | {
      readonly type: "run";
      readonly id: number;
      /** Without data: what was given under that name before, by a feed that lasts. */
      readonly feeds: readonly {
        readonly name: string;
        readonly dims: readonly number[];
        readonly lasts: boolean;
        readonly data: OnnxFeed["data"] | null;
      }[];
      /** Memory for the results, which comes back with them. */
      readonly into: readonly Result[];
    };

interface Result {
  readonly name: string;
  readonly dims: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

export interface FromLane {
  readonly error: PlainError | null;
  readonly results: readonly Result[];
}

const peer = loadPeer(workerData as string);
const sessions = new Map<number, OnnxSession>();
const lasting = new Map<string, OnnxFeed["data"]>();

async function answer(question: ToLane): Promise<readonly Result[]> {
  const { id } = question;
  if (question.type === "open") {
    sessions.set(id, await openSession(peer, question.file, 1));
    return [];
  }
  const session = sessions.get(id);
  if (session === undefined) throw new RangeError("a session is used that is not open");
  if (question.type === "release") {
    sessions.delete(id);
    await session.close();
    return [];
  }
  const feeds = question.feeds.map(({ name, dims, lasts, data }) => {
    if (lasts && data !== null) lasting.set(name, data);
    return [name, { dims, data: data ?? lasting.get(name)! }] as const;
  });
  const { into } = question;
  await session.run(Object.fromEntries(feeds), Object.fromEntries(into.map((result) => [result.name, result])));
  return into;
}

parentPort!.on("message", (question: ToLane) => {
  answer(question).then(
    (results) => {
      const message: FromLane = { error: null, results };
      parentPort!.postMessage(
        message,
        results.map(({ data }) => data.buffer),
      );
    },
    (error: unknown) => {
      const message: FromLane = { error: toPlainError(error), results: [] };
      parentPort!.postMessage(message);
    },
  );
});

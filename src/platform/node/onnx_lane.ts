import { Worker } from "node:worker_threads";
import { fromPlainError } from "../../errors.js";
import type { MergewrightError } from "../../errors.js";
import type { OnnxFeed, OnnxSession } from "../../runtime/onnx/engine.js";
import type { FromLane, ToLane } from "./onnx_worker.js";
import { workerFailed } from "./worker_failed.js";

/**
 * Sessions of one thread each in a worker, which is begun with the first of them. Arrays that last are sent once and kept
 * there; results come back in memory that goes to and fro. One thing is asked at a time.
 */
export class OnnxLane {
  readonly #place: string;
  #worker: Worker | null = null;
  #broken: MergewrightError | null = null;
  #waiting: { resolve: (answer: FromLane) => void; reject: (error: unknown) => void } | null = null;
  #sessions = 0;
  /** What the worker holds, by name. */
  readonly #sent = new Map<string, OnnxFeed["data"]>();

  /** @param place from which the peer is found. */
  constructor(place: string) {
    this.#place = place;
  }

  async open(file: Uint8Array): Promise<OnnxSession> {
    const id = this.#sessions++;
    await this.#ask({ type: "open", id, file });
    const spare = new Map<string, Float32Array<ArrayBuffer>>();
    return {
      run: (feeds, into) => this.#run(id, feeds, into, spare),
      close: async () => {
        await this.#ask({ type: "release", id });
      },
    };
  }

  async #run(
    id: number,
    feeds: Readonly<Record<string, OnnxFeed>>,
    into: Readonly<Record<string, OnnxFeed>>,
    spare: Map<string, Float32Array<ArrayBuffer>>,
  ): Promise<void> {
    const wanted = Object.entries(into).map(([name, { dims, data }]) => {
      return { name, dims, data: spare.get(name) ?? new Float32Array(data.length) };
    });
    spare.clear();
    const given = Object.entries(feeds).map(([name, { dims, data, lasts = false }]) => {
      const isThere = lasts && this.#sent.get(name) === data;
      if (lasts) this.#sent.set(name, data);
      return { name, dims, lasts, data: isThere ? null : alone(data) };
    });
    const transfer = wanted.map(({ data }) => data.buffer);
    const { results } = await this.#ask({ type: "run", id, feeds: given, into: wanted }, transfer);
    for (const { name, data } of results) {
      into[name]!.data.set(data);
      spare.set(name, data);
    }
  }

  /** The question is posted before this returns. */
  #ask(question: ToLane, transfer: readonly ArrayBuffer[] = []): Promise<FromLane> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    if (this.#waiting !== null) throw new RangeError("a lane is asked two things at a time");
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      const worker = (this.#worker ??= this.#hire());
      worker.ref();
      worker.postMessage(question, [...transfer]);
    });
  }

  #hire(): Worker {
    const worker = new Worker(new URL("onnx_worker.js", import.meta.url), { execArgv: [], workerData: this.#place });
    worker.on("message", (answer: FromLane) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      worker.unref();
      if (answer.error === null) waiting?.resolve(answer);
      else waiting?.reject(fromPlainError(answer.error));
    });
    // For the worker's whole life: an unheard error would end the process without a message.
    worker.on("error", (error) => {
      this.#broken = workerFailed(error);
      this.#waiting?.reject(this.#broken);
      this.#waiting = null;
    });
    return worker;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
    this.#worker = null;
  }
}

/** Without what else lies in its memory, all of which would be sent. */
function alone(data: OnnxFeed["data"]): OnnxFeed["data"] {
  return data.byteLength === data.buffer.byteLength ? data : data.slice();
}

/** One worker thread: takes blocks of the stage at hand until none is left, then waits for the next stage. */
import { parentPort } from "node:worker_threads";
import { toPlainError } from "../../errors.js";
import { workOn } from "../../execute/crew.js";
import type { BlockPart, Claims } from "../../execute/crew.js";
import type { JobName } from "../../execute/jobs.js";
import { loadKernels } from "../../kernels/load.js";
import { openBench } from "./bench.js";
import { keepCode } from "./code_cache.js";
import type { OpenBench } from "./bench.js";
import { CLAIM_INTS } from "./messages.js";
import type { FromWorker, StageMessage, ToWorker, WorkerStart } from "./messages.js";
import { loadMethods } from "./own_methods.js";

/** Parts are sent together after this many milliseconds, so that progress is seen and messages stay few. */
const SEND_EVERY = 100;

const port = parentPort!;

/** What this thread works with. */
interface Place extends Pick<WorkerStart, "thread" | "claims"> {
  readonly bench: OpenBench;
}

async function open({ setup, memory, module, region, modules, thread, claims }: WorkerStart): Promise<Place> {
  return { bench: openBench(setup, loadKernels(memory, module), region, await loadMethods(modules)), thread, claims };
}

/** Even threads take blocks from the front, odd ones from the back: one output file takes writes from one thread. */
function claimsOf({ thread, claims }: Place, slot: number, blocks: number): Claims {
  const at = slot * CLAIM_INTS;
  const fromFront = thread % 2 === 0;
  return {
    next() {
      if (Atomics.add(claims, at, 1) >= blocks) return -1;
      return fromFront ? Atomics.add(claims, at + 1, 1) : blocks - 1 - Atomics.add(claims, at + 2, 1);
    },
  };
}

async function runStage(place: Place, stage: StageMessage): Promise<void> {
  const { bench, thread, claims } = place;
  const { id, slot, blocks } = stage;
  let parts: BlockPart<JobName>[] = [];
  let sent = performance.now();
  const send = (message: FromWorker) => port.postMessage(message);
  try {
    await workOn(bench, stage, claimsOf(place, slot, blocks.length), thread, (part) => {
      parts.push(part);
      if (performance.now() - sent < SEND_EVERY) return;
      send({ type: "parts", id, parts });
      parts = [];
      sent = performance.now();
    });
    send({ type: "done", id, parts, error: null });
  } catch (error) {
    // What was finished before the failure counts; the other threads stop taking blocks.
    Atomics.add(claims, slot * CLAIM_INTS, blocks.length);
    send({ type: "done", id, parts, error: toPlainError(error) });
  }
}

let place: Place;
let queue: Promise<void> = Promise.resolve();
port.on("message", (message: ToWorker) => {
  queue = queue.then(async () => {
    if (message.type === "start") place = await open(message.start);
    else if (message.type === "stage") await runStage(place, message);
    else {
      await place.bench.close();
      if (place.thread === 0) keepCode();
      port.close();
    }
  });
});

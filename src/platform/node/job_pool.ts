/** Work on whole matrices on worker threads: each takes the next job that is left. */
import { Worker } from "node:worker_threads";
import { openAlgebra } from "../../algebra/algebra.js";
import { fromPlainError, toPlainError } from "../../errors.js";
import type { PlainError } from "../../errors.js";
import type { WorkSource } from "../../execute/setup.js";
import { workOnJob } from "../../lora/job.js";
import type { JobResult, LoraJob } from "../../lora/job.js";
import type { ByteSource } from "../../sources/source.js";

/** Jobs and the threads they are worth: starting one costs more than a small job. */
const JOBS_PER_THREAD = 4;

export type PoolAnswer =
  | { readonly index: number; readonly result: JobResult }
  | { readonly index: number; readonly error: PlainError };

/** What is posted to a thread. */
export interface PoolQuestion {
  readonly index: number;
  readonly job: LoraJob<WorkSource>;
}

/**
 * Works on jobs whose sources are files or addresses.
 * @param done is called once per job, in any order.
 * @throws the error of the first job that failed.
 */
export async function workOnJobs(
  jobs: readonly LoraJob<ByteSource>[],
  threads: number,
  done: (index: number, result: JobResult) => void | Promise<void>,
): Promise<void> {
  const worth = Math.min(threads, Math.ceil(jobs.length / JOBS_PER_THREAD));
  const canTravel = jobs.every(({ sources }) => sources.every(({ source }) => source.address !== null));
  if (worth <= 1 || !canTravel) {
    const algebra = openAlgebra();
    for (const [index, job] of jobs.entries()) await done(index, await workOnJob(algebra, job));
    return;
  }
  const workers = Array.from({ length: worth }, () => new Worker(new URL("job_worker.js", import.meta.url)));
  let next = 0;
  try {
    await Promise.all(
      workers.map(async (worker) => {
        while (next < jobs.length) {
          const index = next++;
          const answer = await ask(worker, { index, job: portable(jobs[index]!) });
          if ("error" in answer) throw fromPlainError(answer.error);
          await done(answer.index, answer.result);
        }
      }),
    );
  } finally {
    next = jobs.length;
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

function ask(worker: Worker, question: PoolQuestion): Promise<PoolAnswer> {
  return new Promise((resolve) => {
    const failed = (error: unknown) => {
      worker.off("message", answered);
      resolve({ index: question.index, error: toPlainError(error) });
    };
    const answered = (answer: PoolAnswer) => {
      worker.off("error", failed);
      resolve(answer);
    };
    worker.once("message", answered);
    worker.once("error", failed);
    worker.postMessage(question);
  });
}

function portable(job: LoraJob<ByteSource>): LoraJob<WorkSource> {
  const sources = job.sources.map(({ label, source: { label: own, address, stamp } }) => ({
    label,
    source: { label: own, address, stamp },
  }));
  return { ...job, sources };
}

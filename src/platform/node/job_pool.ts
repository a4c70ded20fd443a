/** Work on the matrices of adapters on threads: each takes the next job that is left. */
import { openAlgebra } from "../../algebra/algebra.js";
import type { WorkSource } from "../../execute/setup.js";
import { workOnJob } from "../../lora/job.js";
import type { JobResult, LoraJob } from "../../lora/job.js";
import type { ByteSource } from "../../sources/source.js";
import { createAlgebraCrew } from "./algebra_crew.js";
import { loraTask } from "./lora_task.js";

/** Jobs and the threads they are worth: starting one costs more than a small job. */
const JOBS_PER_THREAD = 4;

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
  const crew = createAlgebraCrew(worth);
  try {
    await crew.map(loraTask, jobs.length, { input: (index) => portable(jobs[index]!), done });
  } finally {
    await crew.close();
  }
}

function portable(job: LoraJob<ByteSource>): LoraJob<WorkSource> {
  const sources = job.sources.map(({ label, source: { label: own, address, stamp } }) => ({
    label,
    source: { label: own, address, stamp },
  }));
  return { ...job, sources };
}

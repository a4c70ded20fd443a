/** Work on the matrices of adapters on threads: each takes the next job that is left. */
import { openAlgebra } from "../../algebra/algebra.js";
import type { Algebra } from "../../algebra/algebra.js";
import type { AlgebraCrew } from "../../algebra/crew.js";
import type { WorkSource } from "../../execute/setup.js";
import { workOnJob } from "../../lora/job.js";
import type { JobResult, LoraJob } from "../../lora/job.js";
import type { ByteSource } from "../../sources/source.js";
import { createAlgebraCrew } from "./algebra_crew.js";
import { loraTask } from "./lora_task.js";

/** Jobs and the threads they are worth: starting one costs more than a small job. */
const JOBS_PER_THREAD = 4;

/** Threads are begun with the first work that is worth them; the calling one does the rest. */
export class JobPool {
  readonly threads: number;
  #crew: AlgebraCrew | null = null;
  #own: Algebra | null = null;

  constructor(threads: number) {
    this.threads = threads;
  }

  /**
   * Works on jobs whose sources are files or addresses.
   * @param done is called once per job, in any order.
   * @throws the error of the first job that failed.
   */
  async workOn(
    jobs: readonly LoraJob<ByteSource>[],
    done: (index: number, result: JobResult) => void | Promise<void>,
  ): Promise<void> {
    if (jobs.length <= JOBS_PER_THREAD || this.threads <= 1 || !jobs.every(canTravel)) {
      for (const [index, job] of jobs.entries()) await done(index, await this.#here(job));
      return;
    }
    await this.#hired().map(loraTask, jobs.length, { input: (index) => portable(jobs[index]!), done });
  }

  /** One job, on the next thread that is free. */
  run(job: LoraJob<ByteSource>): Promise<JobResult> {
    return this.threads <= 1 || !canTravel(job) ? this.#here(job) : this.#hired().call(loraTask, portable(job));
  }

  async close(): Promise<void> {
    await this.#crew?.close();
  }

  #hired(): AlgebraCrew {
    return (this.#crew ??= createAlgebraCrew(this.threads));
  }

  #here(job: LoraJob<ByteSource>): Promise<JobResult> {
    return workOnJob((this.#own ??= openAlgebra()), job);
  }
}

function canTravel({ sources }: LoraJob<ByteSource>): boolean {
  return sources.every(({ source }) => source.address !== null);
}

function portable(job: LoraJob<ByteSource>): LoraJob<WorkSource> {
  const sources = job.sources.map(({ label, source: { label: own, address, stamp } }) => ({
    label,
    source: { label: own, address, stamp },
  }));
  return { ...job, sources };
}

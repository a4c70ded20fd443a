/** Work on the matrices of adapters as a task for other threads, in which sources stay open for the next. */
import { algebraTask } from "../../algebra/crew.js";
import type { WorkSource } from "../../execute/setup.js";
import { workOnJob } from "../../lora/job.js";
import type { JobResult, LoraJob } from "../../lora/job.js";
import type { ByteSource } from "../../sources/source.js";
import { openAddress } from "./sources.js";

const opened = new Map<string, ByteSource | Promise<ByteSource>>();

async function open(source: WorkSource): Promise<ByteSource> {
  const key = JSON.stringify(source.address);
  const known = opened.get(key) ?? openAddress(source);
  opened.set(key, known);
  return known;
}

export const loraTask = algebraTask(
  import.meta.url,
  "loraTask",
  async (algebra, job: LoraJob<WorkSource>): Promise<JobResult> => {
    const sources = await Promise.all(
      job.sources.map(async ({ label, source }) => ({ label, source: await open(source) })),
    );
    return workOnJob(algebra, { ...job, sources });
  },
);

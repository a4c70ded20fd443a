/** One thread that works on jobs over whole matrices; sources stay open for the next. */
import { parentPort } from "node:worker_threads";
import { openAlgebra } from "../../algebra/algebra.js";
import { toPlainError } from "../../errors.js";
import type { WorkSource } from "../../execute/setup.js";
import { buffersOf, workOnJob } from "../../lora/job.js";
import type { ByteSource } from "../../sources/source.js";
import type { PoolAnswer, PoolQuestion } from "./job_pool.js";
import { openAddress } from "./sources.js";

const algebra = openAlgebra();
const opened = new Map<string, ByteSource | Promise<ByteSource>>();

async function open(source: WorkSource): Promise<ByteSource> {
  const key = JSON.stringify(source.address);
  const known = opened.get(key) ?? openAddress(source);
  opened.set(key, known);
  return known;
}

async function answerTo({ index, job }: PoolQuestion): Promise<PoolAnswer> {
  try {
    const sources = await Promise.all(
      job.sources.map(async ({ label, source }) => ({ label, source: await open(source) })),
    );
    return { index, result: await workOnJob(algebra, { ...job, sources }) };
  } catch (error) {
    return { index, error: toPlainError(error) };
  }
}

parentPort!.on("message", (question: PoolQuestion) => {
  void answerTo(question).then((answer) => {
    parentPort!.postMessage(answer, "error" in answer ? [] : buffersOf(answer.result));
  });
});

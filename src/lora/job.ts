/** What a thread can be asked to do with whole matrices: plain data in, plain data out. */
import type { Algebra } from "../algebra/algebra.js";
import type { ByteSource } from "../sources/source.js";
import { workOnDifference } from "./difference.js";
import type { Difference, DifferenceWork } from "./difference.js";
import { workOnModule } from "./work.js";
import type { ModuleResult, ModuleWork } from "./work.js";

/** @typeParam S an open source, or what another thread opens one by. */
export type LoraJob<S> = ModuleWork<S> | DifferenceWork<S>;
export type JobResult = ModuleResult | Difference;

export function workOnJob(algebra: Algebra, job: LoraJob<ByteSource>): Promise<JobResult> {
  return "parts" in job ? workOnModule(algebra, job) : workOnDifference(algebra, job);
}

import { tablesOf } from "../execute/mixtures.js";
import { statisticsLayout } from "../execute/run.js";
import { setupOf } from "../execute/setup.js";
import { heldBytes } from "../execute/solved.js";
import { workbenchBytes } from "../execute/workbench.js";
import type { Method } from "../methods/method.js";
import type { Plan, PlannedExpert } from "../plan/types.js";
import { expertsCost } from "../plan/upscaling.js";
import type { ExpertsCost } from "../plan/upscaling.js";

/** The runtime with this program loaded; measured on Node 20, as are the others. */
const RUNTIME_BYTES = 68e6;
/** A thread's own runtime, stack and compiled kernels. */
const THREAD_BYTES = 15e6;
/** Samples and histograms are copied out of kernel memory while thresholds are found. */
const STATISTICS_COPIES = 2;

/**
 * Predicted peak of resident memory of a merge, in bytes; within about a third of what is measured. It follows from the
 * number of models, the dtypes and the threads; the size of the models is not in it.
 */
export function peakMemory(plan: Plan, method: Method, threads: number, findMethod: FindMethod): number {
  // Merges among the inputs are settled one after another, each with a crew of its own.
  const inner = plan.merges.map((merge) => crewMemory(merge.plan, findMethod(merge.plan.method), threads));
  return RUNTIME_BYTES + Math.max(...inner, crewMemory(plan, method, threads) + tableMemory(plan, threads, findMethod));
}

/** Every thread and the one that leads them hold the coefficients of inner merges, and threads a place for the largest. */
function tableMemory({ merges }: Plan, threads: number, findMethod: FindMethod): number {
  return merges.reduce((sum, { plan }) => {
    const method = findMethod(plan.method);
    const tables = method.grain === "mixture" ? tablesOf(plan, method) : [];
    const all = tables.reduce((bytes, table) => bytes + table, 0);
    return sum + (threads + 1) * all + threads * Math.max(0, ...tables);
  }, 0);
}

/** Bytes beside the result while it grows: the solved matrices of merges among the inputs. */
export function workingBytes({ merges }: Plan, findMethod: FindMethod): number {
  return merges.reduce((sum, { plan }) => {
    const method = findMethod(plan.method);
    return method.grain === "matrix" ? sum + heldBytes(plan, method) : sum;
  }, 0);
}

type FindMethod = (name: string) => Method;

function crewMemory(plan: Plan, method: Method, threads: number): number {
  const workbench = workbenchBytes(setupOf(plan, (file) => file));
  const experts = plan.experts === undefined ? 0 : makingOf(plan.experts, threads).bytes;
  return threads * (workbench + THREAD_BYTES) + statisticsMemory(plan, method) + experts;
}

/** What making a plan's experts takes. */
export function makingOf(experts: readonly PlannedExpert[], threads: number): ExpertsCost {
  const list = experts.map(({ form, shape, inputs }) => ({ form, shape, tasks: inputs.length }));
  return expertsCost(list, threads);
}

function statisticsMemory(plan: Plan, method: Method): number {
  const { lanes, laneBytes } = statisticsLayout(plan, method);
  return lanes * laneBytes * STATISTICS_COPIES;
}

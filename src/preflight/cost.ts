/** What a merge will cost, and whether there is room for it. */
import type { Plan } from "../plan/types.js";
import { methodsOf } from "../recipe/methods.js";
import type { Recipe } from "../recipe/recipe.js";
import { peakMemory, workingBytes } from "../report/estimate.js";
import { countOf, durationText, sizeText } from "../report/units.js";
import type { Finding } from "./findings.js";

/** What a platform knows of its machine; `null` where it cannot be known. */
export interface Machine {
  /** Bytes that can still be written where a folder is, or would be. */
  freeBytes(folder: string): number | null;
  /** Bytes of memory in all. */
  memoryBytes(): number | null;
  /** Bytes a second of a long read from the largest stored input, and over how many it was measured. */
  readSpeed(plan: Plan): Promise<{ readonly bytesPerSecond: number; readonly bytes: number } | null>;
}

export interface Cost {
  readonly readBytes: number;
  readonly passes: number;
  readonly outputBytes: number;
  /** Beside the result, until it is done. */
  readonly workingBytes: number;
  readonly freeBytes: number | null;
  readonly peakMemoryBytes: number;
  readonly memoryBytes: number | null;
  /** What reading and writing take at the speed measured; `null` where none was. */
  readonly seconds: number | null;
}

export async function costOf(
  recipe: Recipe,
  plan: Plan,
  { out, threads }: { readonly out: string; readonly threads: number },
  machine: Machine,
): Promise<Cost> {
  const { readBytes, outputBytes, passes } = plan.estimate;
  const speed = await machine.readSpeed(plan);
  return {
    ...{ readBytes, passes, outputBytes, freeBytes: machine.freeBytes(out) },
    workingBytes: workingBytes(plan, methodsOf(recipe)),
    peakMemoryBytes: peakMemory(plan, recipe.method, threads, methodsOf(recipe)),
    memoryBytes: machine.memoryBytes(),
    seconds: speed === null ? null : (readBytes + outputBytes) / speed.bytesPerSecond,
  };
}

export function costFindings(
  cost: Cost,
  { out, threads }: { readonly out: string; readonly threads: number },
): Finding[] {
  const { readBytes, passes, outputBytes, workingBytes, freeBytes, peakMemoryBytes, memoryBytes, seconds } = cost;
  const findings: Omit<Finding, "topic">[] = [];
  const isFull = freeBytes !== null && freeBytes < outputBytes + workingBytes;
  const beside = workingBytes === 0 ? "" : ` and ${sizeText(workingBytes)} more until it is done`;
  findings.push({
    level: isFull ? "problem" : "note",
    what: `the result takes ${sizeText(outputBytes)}${beside}${freeBytes === null ? "" : `, and ${sizeText(freeBytes)} are free at ${out}`}`,
    advice: isFull ? "free some room, or write to another disk with -o" : "nothing needs to be done",
  });
  const isLarge = memoryBytes !== null && peakMemoryBytes > memoryBytes;
  findings.push({
    level: isLarge ? "problem" : "note",
    what: `the merge takes about ${sizeText(peakMemoryBytes)} of memory with ${countOf(threads, "thread")}${memoryBytes === null ? "" : `, and the machine has ${sizeText(memoryBytes)}`}`,
    advice: isLarge ? "use fewer --threads" : "nothing needs to be done",
  });
  const time = seconds === null ? "" : `, at least ${durationText(seconds)} at the speed just measured`;
  findings.push({
    level: "note",
    what: `${sizeText(readBytes)} are read in ${countOf(passes, "pass").replace("passs", "passes")}${time}`,
    advice: "nothing needs to be done",
  });
  return findings.map((finding) => ({ ...finding, topic: "cost" }));
}

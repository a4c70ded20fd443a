import { MergewrightError } from "../../errors.js";

/** What those are told who wait for a worker thread that has failed. @param cause what it failed with. */
export function workerFailed(cause: unknown, advice = "run the same command again"): MergewrightError {
  return new MergewrightError(`a worker thread failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
    kind: "environment",
    code: "engine/worker",
    advice,
    cause,
  });
}

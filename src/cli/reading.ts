import type { AnalysisOptions } from "../analyse/platform.js";
import { defaultThreads } from "../platform/node/platform.js";
import { interruptible } from "./interrupt.js";
import { openProgress } from "./progress.js";
import type { Given } from "./verb.js";

/** Runs work that reads weights and writes nothing, with progress and an end by signal. */
export async function whileReading<T>(
  { flags, terminal }: Given,
  work: (options: AnalysisOptions) => Promise<T>,
): Promise<T> {
  const progress = await openProgress(terminal);
  const options = { threads: flags.threads ?? defaultThreads(), progress: progress.report };
  try {
    return await interruptible(
      () => work(options),
      () => "nothing was written; run the same command again",
    );
  } finally {
    progress.end();
  }
}

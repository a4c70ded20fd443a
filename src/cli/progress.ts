import type { Phase, Progress } from "../execute/meter.js";
import { durationText, sizeText } from "../report/units.js";
import type { Terminal } from "./terminal.js";

/** A display of how far the work is, on standard error. */
export interface ProgressDisplay {
  readonly report: (progress: Progress) => void;
  /** Takes the line away. */
  readonly end: () => void;
}

/** Milliseconds between updates of the line in a terminal. */
const LIVE_EVERY = 100;
/** Milliseconds between lines in a log, and before the first: short work leaves none. */
const LINE_EVERY = 5000;

const PHASES: Readonly<Record<Phase, string>> = {
  statistics: "statistics",
  merge: "merging",
  copy: "copying",
  check: "checking",
};

/** One line that changes in a terminal; elsewhere a plain line now and then; nothing where it would disturb. */
export async function openProgress({ json, live }: Terminal, quiet = false): Promise<ProgressDisplay> {
  if (quiet || json) return { report: () => {}, end: () => {} };
  if (!live) return { report: plainLines((line) => process.stderr.write(`${line}\n`)), end: () => {} };
  const { createLogUpdate } = await import("log-update");
  const line = createLogUpdate(process.stderr, { showCursor: true });
  const report = throttled(LIVE_EVERY, Number.NEGATIVE_INFINITY, line, () => performance.now());
  return { report, end: () => line.clear() };
}

/** @param clock in milliseconds. */
export function plainLines(
  write: (line: string) => void,
  clock: () => number = () => performance.now(),
): ProgressDisplay["report"] {
  return throttled(LINE_EVERY, clock(), write, clock);
}

function throttled(
  every: number,
  shownBefore: number,
  show: (line: string) => void,
  clock: () => number,
): ProgressDisplay["report"] {
  let shown = shownBefore;
  const lineOf = meter();
  return (progress) => {
    const now = clock();
    const line = lineOf(progress, now);
    if (now - shown < every) return;
    shown = now;
    show(line);
  };
}

/** `merging 42 %, 1.2 GB/s, 12.3 s left`; the speed is the mean since the first report. */
function meter(): (progress: Progress, now: number) => string {
  let first: { readonly time: number; readonly bytes: number } | null = null;
  // The total grows while statistics are found to need another look; the percentage must not fall for that.
  let furthest = 0;
  return ({ phase, doneBytes, totalBytes }, now) => {
    first ??= { time: now, bytes: doneBytes };
    furthest = Math.min(1, Math.max(furthest, totalBytes === 0 ? 0 : doneBytes / totalBytes));
    const start = `${PHASES[phase]} ${Math.floor(100 * furthest)} %`;
    const seconds = (now - first.time) / 1000;
    const speed = (doneBytes - first.bytes) / seconds;
    if (!(seconds > 0.5) || speed <= 0) return start;
    return `${start}, ${sizeText(speed)}/s, ${durationText(Math.max(0, totalBytes - doneBytes) / speed)} left`;
  };
}

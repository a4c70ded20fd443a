import type { Phase, Progress } from "../execute/meter.js";
import { durationText, sizeText } from "../report/units.js";
import type { Terminal } from "./terminal.js";

/** A display of how far the work is, on standard error. */
export interface ProgressDisplay<P = Progress> {
  readonly report: (progress: P) => void;
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
  experts: "making experts",
};

/** One line that changes in a terminal; elsewhere a plain line now and then; nothing where it would disturb. */
export function openProgress(terminal: Terminal, quiet = false): Promise<ProgressDisplay> {
  return openDisplay(terminal, quiet, meter());
}

/** @param lineOf what is shown of the progress at a time in milliseconds. */
export async function openDisplay<P>(
  { json, live }: Terminal,
  quiet: boolean,
  lineOf: (progress: P, now: number) => string,
): Promise<ProgressDisplay<P>> {
  if (quiet || json) return { report: () => {}, end: () => {} };
  const clock = () => performance.now();
  if (!live) {
    const write = (line: string) => void process.stderr.write(`${line}\n`);
    return { report: throttled(LINE_EVERY, clock(), write, clock, lineOf), end: () => {} };
  }
  const { createLogUpdate } = await import("log-update");
  const line = createLogUpdate(process.stderr, { showCursor: true });
  return { report: throttled(LIVE_EVERY, Number.NEGATIVE_INFINITY, line, clock, lineOf), end: () => line.clear() };
}

/** @param clock in milliseconds. */
export function plainLines(
  write: (line: string) => void,
  clock: () => number = () => performance.now(),
): ProgressDisplay["report"] {
  return throttled(LINE_EVERY, clock(), write, clock, meter());
}

function throttled<P>(
  every: number,
  shownBefore: number,
  show: (line: string) => void,
  clock: () => number,
  lineOf: (progress: P, now: number) => string,
): ProgressDisplay<P>["report"] {
  let shown = shownBefore;
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

/** `mnist 42 %, 12.3 s left`: a share of steps that take about as long as each other. */
export function stepMeter(): (
  progress: { readonly name: string; readonly done: number; readonly total: number },
  now: number,
) => string {
  let first: { readonly time: number; readonly done: number } | null = null;
  return ({ name, done, total }, now) => {
    first ??= { time: now, done };
    const start = `${name} ${Math.floor((100 * done) / Math.max(total, 1))} %`;
    const seconds = (now - first.time) / 1000;
    const speed = (done - first.done) / seconds;
    return seconds > 0.5 && speed > 0 ? `${start}, ${durationText((total - done) / speed)} left` : start;
  };
}

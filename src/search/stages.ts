/** How far a candidate is that is first merged and then scored. */

import type { Progress } from "../execute/meter.js";

/** Told of what is at work and the share of the whole that is done. */
export type Tell = (name: string, share: number) => void;

/** Work that is told in bytes as a share, which does not fall where statistics are found to need another look. */
export function sharesTo(tell: (share: number) => void): (progress: Progress) => void {
  let furthest = 0;
  return ({ doneBytes, totalBytes }) => {
    furthest = Math.max(furthest, doneBytes / Math.max(totalBytes, 1));
    tell(furthest);
  };
}

/** Candidates that take about as long as each other, so that what is left of one can be told from those before it. */
export class Stages {
  #merging = 0;
  #scoring = 0;

  /**
   * @param tasks of the scores: the first candidate's merge is taken to last as long as one of them.
   * @param merge handed to a merge as its progress. @param score told the share of the scores that is done.
   */
  async run<M, S>(
    tasks: number,
    tell: Tell,
    merge: (progress: (progress: Progress) => void) => Promise<M>,
    score: (merged: M, tell: Tell) => Promise<S>,
  ): Promise<S> {
    const known = this.#merging + this.#scoring;
    const part = known === 0 ? 1 / (tasks + 1) : this.#merging / known;
    const started = performance.now();
    tell("merging", 0);
    const merged = await merge(sharesTo((share) => tell("merging", part * share)));
    const between = performance.now();
    const scored = await score(merged, (name, share) => tell(name, part + (1 - part) * share));
    this.#merging += between - started;
    this.#scoring += performance.now() - between;
    return scored;
  }
}

/** Looks at the other threads' progress before a thread goes to sleep: some ten microseconds. */
const LOOKS = 2000;

/** Cells of a barrier: threads that have arrived, and turns so far. */
export const BARRIER_CELLS = 2;

/** Where threads wait for each other, again and again. What each wrote before it, all see behind it. */
export class Barrier {
  readonly #cells: Int32Array;
  readonly #threads: number;

  /** @param cells `BARRIER_CELLS` zeros in shared memory. */
  constructor(cells: Int32Array, threads: number) {
    this.#cells = cells;
    this.#threads = threads;
  }

  /** Blocks until all threads are here. */
  wait(): void {
    const cells = this.#cells;
    const turn = Atomics.load(cells, 1);
    if (Atomics.add(cells, 0, 1) === this.#threads - 1) {
      Atomics.store(cells, 0, 0);
      Atomics.add(cells, 1, 1);
      Atomics.notify(cells, 1);
      return;
    }
    for (let look = 0; look < LOOKS; look++) if (Atomics.load(cells, 1) !== turn) return;
    while (Atomics.load(cells, 1) === turn) Atomics.wait(cells, 1, turn);
  }
}

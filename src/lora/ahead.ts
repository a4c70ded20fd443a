/** Work that is given to other threads while the calling one goes on: a few results ahead, and a few outstanding. */

/** Results by index, asked for in ascending order more often than not; the next ones are begun early. */
export class Ahead<T> {
  readonly #known = new Map<number, Promise<T>>();

  /**
   * @param count how many there are.
   * @param window how many are held, begun or done.
   */
  constructor(
    readonly make: (index: number) => Promise<T>,
    readonly count: number,
    readonly window: number,
  ) {}

  get(index: number): Promise<T> {
    const end = Math.min(index + this.window, this.count);
    for (const known of this.#known.keys()) if (known < index || known >= end) this.#known.delete(known);
    for (let next = index; next < end; next++) {
      if (this.#known.has(next)) continue;
      const result = this.make(next);
      // What failed is told where it is asked for.
      result.catch(() => {});
      this.#known.set(next, result);
    }
    return this.#known.get(index)!;
  }
}

/** Results that are awaited later; as many as `most` are under way. */
export class Outstanding {
  readonly #pending = new Set<Promise<void>>();
  #failed: { readonly error: unknown } | null = null;

  constructor(readonly most: number) {}

  /** Resolves when there is room for another. @throws what an earlier one threw. */
  async add(work: Promise<void>): Promise<void> {
    const own: Promise<void> = work
      .catch((error: unknown) => {
        this.#failed ??= { error };
      })
      .finally(() => this.#pending.delete(own));
    this.#pending.add(own);
    while (this.#pending.size >= this.most) await Promise.race(this.#pending);
    this.#throwIfFailed();
  }

  async all(): Promise<void> {
    await Promise.all(this.#pending);
    this.#throwIfFailed();
  }

  #throwIfFailed(): void {
    if (this.#failed !== null) throw this.#failed.error;
  }
}

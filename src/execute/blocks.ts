/**
 * The fixed unit of work. Reductions and checksums are made per block and joined in block order, so nothing that is
 * written depends on tile size, thread count or the order of execution.
 */
export const BLOCK_ENTRIES = 262_144;

/** A run of entries of one planned tensor; at most BLOCK_ENTRIES long where it is written, any length where sampled. */
export interface Block {
  /** Index into the plan's tensors. */
  readonly tensor: number;
  readonly start: number;
  readonly count: number;
}

export function blockCount(entries: number): number {
  return Math.ceil(entries / BLOCK_ENTRIES);
}

export function blocksOf(tensor: number, entries: number): Block[] {
  return Array.from({ length: blockCount(entries) }, (_, index) => {
    const start = index * BLOCK_ENTRIES;
    return { tensor, start, count: Math.min(BLOCK_ENTRIES, entries - start) };
  });
}

/**
 * The fixed unit of work. Reductions and checksums are made per block and joined in block order, so nothing that is
 * written depends on tile size, thread count or the order of execution.
 */
export const BLOCK_ENTRIES = 262_144;

/** Bytes of a mask over a block: its bits are written and hashed with it. */
export const MASK_BLOCK_BYTES = BLOCK_ENTRIES / 8;

/** A run of entries of one planned tensor; at most BLOCK_ENTRIES long where it is written, any length where sampled. */
export interface Block {
  /** Index into the setup's tensors, which begin with the plan's. */
  readonly tensor: number;
  readonly start: number;
  readonly count: number;
  /** Per input what pruning must know besides the tensor's own cuts; absent where nothing was gathered for it. */
  readonly cuts?: BlockCuts;
}

export type BlockCuts = readonly (BlockCut | null)[];

/** What was gathered for the pruning of one input of one block. */
export interface BlockCut {
  /** For a band: bit patterns of its ends, and how many entries equal to them are still inside here. */
  readonly band: {
    readonly low: number;
    readonly lowLeft: number;
    readonly high: number;
    readonly highLeft: number;
  } | null;
  /** What survivors are multiplied by, where it follows from norms. */
  readonly scale: number | null;
  /** Address of a bit per entry of the block, set for survivors, where they were noted while norms were summed. */
  readonly mask: number | null;
}

/** Bytes of the mask of one input of one block. */
export const MASK_BYTES = BLOCK_ENTRIES / 8;

export function blockCount(entries: number): number {
  return Math.ceil(entries / BLOCK_ENTRIES);
}

/** @param size entries of a block. */
export function blocksOf(tensor: number, entries: number, size: number = BLOCK_ENTRIES): Block[] {
  return Array.from({ length: Math.ceil(entries / size) }, (_, index) => {
    const start = index * size;
    return { tensor, start, count: Math.min(size, entries - start) };
  });
}

import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { Block } from "./blocks.js";
import { countNonFinite } from "./combine_jobs.js";
import type { PreparedTile, Workbench } from "./workbench.js";

/** Collects a run of results from the workbench's `floatOut`, tile by tile, in the tensor's format. */
export class BlockEntries {
  readonly #work: Workbench;
  readonly #block: Block;
  readonly #address: number;
  /** NaN or infinite entries, and how many of each input stand where they do (base last). */
  nonFinite = 0;
  nonFiniteInputs: number[] | null = null;

  /** @param address of kernel memory for the run. */
  constructor(work: Workbench, block: Block, address: number) {
    this.#work = work;
    this.#block = block;
    this.#address = address;
  }

  /**
   * Takes what of a tile's results lies in the run.
   * @param again gives the tile's inputs as they are, to look for what is not finite.
   */
  take(tile: PreparedTile, again: (changes: boolean) => PreparedTile): void {
    const { tensor, start, count } = this.#block;
    const { dtype } = this.#work.setup.tensors[tensor]!;
    const from = Math.max(tile.start, start);
    const entries = Math.min(tile.start + tile.count, start + count) - from;
    const target = this.#address + (from - start) * DTYPE_BYTES[dtype];
    const bad = this.#work.narrow(dtype, this.#work.floatOut + (from - tile.start) * 4, target, entries);
    if (bad === 0) return;
    this.nonFinite += bad;
    const { inputs, add } = again(false);
    const addresses = [...inputs, add].map((address) => address + (from - tile.start) * 4);
    this.nonFiniteInputs = countNonFinite(this.#work, addresses, entries, this.nonFiniteInputs);
  }
}

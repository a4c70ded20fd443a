import type { Method } from "../methods/method.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import { partitionPoint } from "../numbers/partition.js";
import type { ByteSource, SourceStamp } from "../sources/source.js";
import { BLOCK_ENTRIES } from "./blocks.js";
import type { Block } from "./blocks.js";
import { combineInto, copyInto } from "./combine_jobs.js";
import { endsInside, withCuts } from "./cuts.js";
import type { CombineBlock, HeldColumns, MixArgs, Quota } from "./job_types.js";
import { combineColumnsInto, mixRowsInto } from "./mixture_jobs.js";
import type { WorkMerge } from "./setup.js";
import type { Workbench } from "./workbench.js";

/** A run of entries that lies in the workbench's output buffer, and what is left of its block's quota behind it. */
interface Run extends Block {
  readonly quota: Quota;
}

function isHeld(args: MixArgs | HeldColumns): args is HeldColumns {
  return "table" in args;
}

/**
 * The tensors of a merge as the bytes of a file that is never written: what is asked for is combined at once. The last
 * run stays in the buffer, so that a merge that several inputs of the same tensor share is computed once.
 */
export class MergedSource implements ByteSource {
  readonly label: string;
  readonly stamp: SourceStamp;
  readonly address = null;
  readonly #merge: WorkMerge;
  readonly #work: Workbench;
  readonly #method: Method;
  /** Tensors that were solved as whole matrices. */
  readonly #stored: ByteSource | null;
  /** Tensor indices by position in the file. */
  readonly #order: readonly number[];
  #last: Run | null = null;
  /** Whose table lies in the workbench. */
  #columns: HeldColumns | null = null;

  /** @param work of `merge.setup`; nothing else uses it. @param stored the file of `merge.stored`, if there is one. */
  constructor(merge: WorkMerge, work: Workbench, method: Method, stored: ByteSource | null) {
    this.label = merge.key;
    this.stamp = { size: 0, version: "" };
    this.#merge = merge;
    this.#work = work;
    this.#method = method;
    this.#stored = stored;
    const { tensors } = merge.setup;
    this.#order = [...tensors.keys()].sort((a, b) => tensors[a]!.offset - tensors[b]!.offset);
  }

  /** Fills `into` with whole entries of one tensor. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    if (into.length === 0) return;
    const index = this.#find(offset);
    if (this.#merge.args[index] === "stored") return this.#stored!.read(offset, into);
    const { dtype, offset: start } = this.#merge.setup.tensors[index]!;
    const bytes = DTYPE_BYTES[dtype];
    const end = (offset - start + into.length) / bytes;
    for (let entry = (offset - start) / bytes, at = 0; entry < end; ) {
      const block = Math.floor(entry / BLOCK_ENTRIES);
      const count = Math.min(end, (block + 1) * BLOCK_ENTRIES) - entry;
      const address = await this.#compute({ tensor: index, start: entry, count });
      into.set(this.#work.bytesAt(address, count * bytes), at);
      entry += count;
      at += count * bytes;
    }
  }

  async close(): Promise<void> {
    this.#last = null;
    await this.#stored?.close();
    await this.#work.close();
  }

  /** The tensor in whose bytes a position lies. */
  #find(offset: number): number {
    const { tensors } = this.#merge.setup;
    const begun = partitionPoint(this.#order.length, (index) => tensors[this.#order[index]!]!.offset <= offset);
    return this.#order[Math.max(0, begun - 1)]!;
  }

  /** @param run inside one block. @returns the address of its entries. */
  async #compute(run: Block): Promise<number> {
    const last = this.#last;
    const { dtype } = this.#merge.setup.tensors[run.tensor]!;
    const inLast = last !== null && last.tensor === run.tensor && last.start <= run.start;
    if (inLast && run.start + run.count <= last.start + last.count) {
      return this.#work.blockOut + (run.start - last.start) * DTYPE_BYTES[dtype];
    }
    this.#last = null;
    // Where a band ends inside the block it must be known what lies before: then the whole block is computed.
    const wide = this.#endsBand(run) ? this.#blockAround(run) : run;
    const quota = await this.#quotaAt(wide, last);
    const left = await this.#fill({ ...wide, quota });
    this.#last = { ...wide, quota: left };
    return this.#work.blockOut + (run.start - wide.start) * DTYPE_BYTES[dtype];
  }

  #endsBand({ tensor, start }: Block): boolean {
    const cuts = this.#merge.cuts.get(tensor)?.[Math.floor(start / BLOCK_ENTRIES)];
    return cuts?.some((cut) => cut?.band != null && endsInside(cut.band)) ?? false;
  }

  #blockAround({ tensor, start }: Block): Block {
    const begin = Math.floor(start / BLOCK_ENTRIES) * BLOCK_ENTRIES;
    return { tensor, start: begin, count: Math.min(BLOCK_ENTRIES, this.#merge.setup.tensors[tensor]!.entries - begin) };
  }

  /** Puts a run into the output buffer. @returns what is left of its quota. */
  async #fill(run: CombineBlock): Promise<Quota> {
    const args = this.#merge.args[run.tensor] ?? null;
    if (args === "stored") throw new RangeError(`${this.label}: a stored tensor is not computed`);
    if (args === null) {
      await copyInto(this.#work, run, this.#work.blockOut);
      return null;
    }
    const bench = { work: this.#work, method: this.#method };
    if ("settings" in args) {
      if (isHeld(args)) {
        this.#hold(args);
        await combineColumnsInto(bench, run, this.#work, this.#work.blockOut);
      } else await mixRowsInto(bench, run, args, this.#work.blockOut);
      return null;
    }
    const dressed = { ...run, ...withCuts(run, this.#merge.cuts, this.#merge.setup.tensors[run.tensor]!) };
    return (await combineInto(bench, dressed, args.args, this.#work.blockOut, () => {})).quota;
  }

  #hold(columns: HeldColumns): void {
    if (this.#columns === columns) return;
    this.#work.bytesAt(this.#work.table, columns.table.length).set(columns.table);
    this.#columns = columns;
  }

  /**
   * What is left of a block's quota where a run begins. Runs are nearly always asked for in order; else what lies before
   * is combined again to know.
   */
  async #quotaAt({ tensor, start }: Block, last: Run | null): Promise<Quota> {
    const block = Math.floor(start / BLOCK_ENTRIES);
    const quota = this.#merge.quotas.get(tensor)?.[block] ?? null;
    const begin = block * BLOCK_ENTRIES;
    const isSpent = quota !== null && quota.some((left) => left !== null && left > 0);
    if (!isSpent || start === begin) return quota;
    const follows = last !== null && last.tensor === tensor && last.start >= begin && last.start + last.count === start;
    return follows ? last.quota : this.#fill({ tensor, start: begin, count: start - begin, quota });
  }
}

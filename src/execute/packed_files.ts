/** The files of an artifact of packed changes: written block by block, with what the journal of an interrupted run knows. */
import { MergewrightError } from "../errors.js";
import type { TileMethod } from "../methods/method.js";
import { blockTreeChecksum, xxh64 } from "../numbers/checksum.js";
import type { Plan, PlannedTensor } from "../plan/types.js";
import { blocksOf } from "./blocks.js";
import type { Block } from "./blocks.js";
import type { Crew, Stage } from "./crew.js";
import type { Jobs, WrittenBlock } from "./jobs.js";
import type { Journal } from "./journal.js";
import { meterStatistics } from "./meter.js";
import { keptIn } from "./packing.js";
import type { Packed, PackingOptions } from "./packing.js";
import { digestsOfPack } from "./packing_jobs.js";
import type { PackBlock, PackedBlock } from "./job_types.js";
import type { RunResult, TensorResult } from "./run.js";
import { setupOf } from "./setup.js";
import type { Workspace } from "./workspace.js";

/**
 * Writes the artifact.
 * @param plan the final one, in which every part has its size.
 */
export async function runPacking(
  plan: Plan,
  method: TileMethod,
  packed: Packed,
  workspace: Workspace,
  journal: Journal,
  { createCrew, progress, strict, tuning, settled }: PackingOptions,
): Promise<RunResult> {
  for (const { name, size, header } of plan.files) workspace.allocate(name, size, header);
  const setup = setupOf(plan, (file) => workspace.path(file), tuning, settled);
  const crew = meterStatistics(await createCrew(setup, 0), setup, progress, "merge");
  try {
    const writing = new Writing(plan, method, packed, new Resumable(crew, journal));
    await writing.whole();
    await writing.packed();
    await writing.base();
    writing.starts(workspace);
    return writing.result(journal.resumed, strict);
  } finally {
    await crew.close();
  }
}

type Lasting = "copy" | "combine" | "pack" | "rereadPacked" | "digestBase";

/** Stages whose parts the journal keeps, block by block: a restart runs what is missing, and what does not lie there whole. */
class Resumable {
  constructor(
    readonly crew: Crew,
    readonly journal: Journal,
  ) {}

  /** What is found out about files that stay as they are. */
  async find<N extends Lasting>(stage: Stage<N>): Promise<Jobs[N]["part"][]> {
    const { job, blocks, args } = stage;
    const missing = blocks.filter((block) => this.#part(job, block) === undefined);
    await this.crew.run({ job, blocks: missing, args }, (parts) => {
      for (const { index, part } of parts) this.journal.recordNote(noteOf(job, missing[index]!), part);
    });
    return blocks.map((block) => this.#part(job, block)!);
  }

  /** Blocks whose bytes are not those that were written (a power failure) are written again. */
  async write<N extends "copy" | "combine">(stage: Stage<N>): Promise<WrittenBlock[]> {
    const { job } = stage;
    const known = stage.blocks.filter((block) => this.#part(job, block) !== undefined);
    const digests = await this.crew.run<"reread">({ job: "reread", blocks: known, args: null });
    const isGood = (block: Block, at: number) => this.#part(job, block)!.digest === digests[at];
    this.#forget(
      job,
      known.filter((block, at) => !isGood(block, at)),
    );
    return this.find(stage);
  }

  async pack(blocks: readonly PackBlock[]): Promise<PackedBlock[]> {
    const known = blocks.filter((block) => this.#part("pack", block) !== undefined);
    const stored = known.map((block) => {
      const { tensor, start, count, begin } = block;
      return { tensor, start, count, begin, kept: this.#part("pack", block)!.kept };
    });
    const digests = await this.crew.run({ job: "rereadPack", blocks: stored, args: null });
    const isGood = (block: Block, at: number) => digestsOfPack(this.#part("pack", block)!) === digests[at];
    this.#forget(
      "pack",
      known.filter((block, at) => !isGood(block, at)),
    );
    return this.find({ job: "pack", blocks, args: null });
  }

  #part<N extends Lasting>(job: N, block: Block): Jobs[N]["part"] | undefined {
    return this.journal.notes.get(noteOf(job, block)) as Jobs[N]["part"] | undefined;
  }

  #forget(job: Lasting, blocks: readonly Block[]): void {
    for (const block of blocks) this.journal.notes.delete(noteOf(job, block));
  }
}

function noteOf(job: Lasting, { tensor, start }: Block): string {
  return `${job} ${tensor} ${start}`;
}

class Writing {
  readonly #checksums: (string | null)[];
  readonly #nonFinite: number[];
  readonly #baseChecksums = new Map<string, string>();
  readonly #starts = new Map<number, BigUint64Array<ArrayBuffer>>();

  constructor(
    readonly plan: Plan,
    readonly method: TileMethod,
    readonly known: Packed,
    readonly crew: Resumable,
  ) {
    this.#checksums = plan.tensors.map(() => null);
    this.#nonFinite = plan.tensors.map(() => 0);
  }

  /** Vectors that stay whole, and the tasks' own tensors. */
  async whole(): Promise<void> {
    const blocks = (isIt: (tensor: PlannedTensor) => boolean) =>
      this.plan.tensors.flatMap((tensor, index) => (isIt(tensor) ? blocksOf(index, tensor.entries) : []));
    const copied = blocks(({ action }) => action === "copy");
    this.#keep(copied, await this.crew.write({ job: "copy", blocks: copied, args: null }));
    const models = new Map<string, number[]>();
    for (const [index, { action, packed, settings }] of this.plan.tensors.entries()) {
      if (action !== "merge" || packed !== undefined) continue;
      const key = JSON.stringify(settings);
      models.set(key, [...(models.get(key) ?? []), index]);
    }
    for (const indices of models.values()) {
      const args = this.method.packing!.bind(this.plan.tensors[indices[0]!]!.settings!, null);
      const own = indices
        .flatMap((index) => blocksOf(index, this.plan.tensors[index]!.entries))
        .map((block) => ({ ...block, quota: null }));
      this.#keep(own, await this.crew.write({ job: "combine", blocks: own, args: { args } }));
    }
  }

  #keep(blocks: readonly Block[], parts: readonly WrittenBlock[]): void {
    for (const [index, written] of groupedBy(blocks, parts)) {
      this.#checksums[index] = blockTreeChecksum(written.map(({ digest }) => digest));
      this.#nonFinite[index] = written.reduce((sum, { nonFinite }) => sum + nonFinite, 0);
    }
  }

  async packed(): Promise<void> {
    const blocks = [...this.known].flatMap(([index, { args, counts }]) => {
      let begin = 0;
      const starts = new BigUint64Array(counts.length);
      const own = blocksOf(index, this.plan.tensors[index]!.packed!.entries).map((block, order) => {
        const place = { ...block, args, begin };
        starts[order] = BigInt(begin);
        begin += counts[order]!;
        return place;
      });
      this.#starts.set(index, starts);
      return own;
    });
    const masks = new Map(
      this.plan.tensors.flatMap(({ mask }, index) => (mask === undefined ? [] : [[mask.over, index] as const])),
    );
    const parts = await this.crew.pack(blocks);
    for (const [index, written] of groupedBy(blocks, parts)) {
      this.#checksums[masks.get(index)!] = blockTreeChecksum(written.map(({ maskDigest }) => maskDigest));
      this.#nonFinite[index] = written.reduce((sum, { nonFinite }) => sum + nonFinite, 0);
    }
    // What is packed from several blocks is hashed in blocks of its own.
    const stored = [...this.known.keys()].flatMap((index) => blocksOf(index, this.plan.tensors[index]!.entries));
    const digests = await this.crew.find({ job: "rereadPacked", blocks: stored, args: null });
    const found = groupedBy(stored, digests);
    for (const index of this.known.keys()) this.#checksums[index] = blockTreeChecksum(found.get(index) ?? []);
  }

  /** Each tensor of the base once, however many models have a vector over it. */
  async base(): Promise<void> {
    const first = new Map<string, number>();
    for (const [index, { name, action }] of this.plan.tensors.entries())
      if (action === "merge" && !first.has(name)) first.set(name, index);
    const blocks = [...first.values()].flatMap((index) => {
      const { packed, entries } = this.plan.tensors[index]!;
      return blocksOf(index, packed?.entries ?? entries);
    });
    const digests = groupedBy(blocks, await this.crew.find({ job: "digestBase", blocks, args: null }));
    for (const [name, index] of first) this.#baseChecksums.set(name, blockTreeChecksum(digests.get(index)!));
  }

  /** Small enough to be written whole: eight bytes for each block. */
  starts(workspace: Workspace): void {
    const files = new Map<number, number[]>();
    for (const [index, { action, file }] of this.plan.tensors.entries())
      if (action === "starts") files.set(file, [...(files.get(file) ?? []), index]);
    for (const [file, indices] of files) {
      const { name, size, header } = this.plan.files[file]!;
      const bytes = new Uint8Array(size);
      bytes.set(header);
      for (const index of indices) {
        const { offset, starts } = this.plan.tensors[index]!;
        const own = new Uint8Array(this.#starts.get(starts!.over)!.buffer);
        bytes.set(own, offset);
        this.#checksums[index] = wholeChecksum(own);
      }
      workspace.writeWhole(name, bytes);
    }
  }

  result(resumed: boolean, strict: boolean): RunResult {
    const models = this.plan.inputs.filter(({ role }) => role === "model");
    const warnings: string[] = [];
    const tensors = this.plan.tensors.map((tensor, index): TensorResult => {
      const { name, inputs, action } = tensor;
      const nonFinite = this.#nonFinite[index]!;
      if (nonFinite > 0) {
        const text = `${name} of ${models[inputs[0]!.model]?.name ?? "the base"}: ${nonFinite} NaN or infinite entries in the output`;
        if (strict && action === "merge") throw nonFiniteError(name, text);
        warnings.push(text);
      }
      const baseChecksum = action === "merge" ? this.#baseChecksums.get(name)! : null;
      return {
        name,
        checksum: this.#checksums[index]!,
        nonFinite,
        nonFiniteInputs: null,
        masks: null,
        baseChecksum,
        figures: null,
      };
    });
    const kept = models.map((_, model) => {
      const own = [...this.known].filter(([index]) => this.plan.tensors[index]!.inputs[0]!.model === model);
      return {
        kept: own.reduce((sum, [, tensor]) => sum + keptIn(tensor), 0),
        entries: own.reduce((sum, [index]) => sum + this.plan.tensors[index]!.packed!.entries, 0),
      };
    });
    return { resumed, tensors, counters: {}, warnings, kept, thresholds: null };
  }
}

function groupedBy<T>(blocks: readonly Block[], parts: readonly T[]): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const [order, { tensor }] of blocks.entries()) {
    const group = groups.get(tensor);
    if (group === undefined) groups.set(tensor, [parts[order]!]);
    else group.push(parts[order]!);
  }
  return groups;
}

function wholeChecksum(bytes: Uint8Array): string {
  const entries = bytes.length / 8;
  const digests = blocksOf(0, entries).map(({ start, count }) => xxh64(bytes.subarray(8 * start, 8 * (start + count))));
  return blockTreeChecksum(digests);
}

function nonFiniteError(tensor: string, found: string): MergewrightError {
  return new MergewrightError("a vector holds NaN or infinite entries", {
    kind: "check",
    code: "values/non-finite",
    where: { tensor },
    found,
    advice: "repair or leave out the input, exclude the tensor, or merge without --strict",
  });
}

/** What must be known of the inputs before their changes can be pruned: ends of bands, norms. */
import type { Known, Scope, ThresholdNeed } from "../methods/method.js";
import type { PlannedTensor } from "../plan/types.js";
import { layerPartitionOf } from "../models/families.js";
import { bandRanks, cutScope } from "../pruners/pruner.js";
import type { CutScope } from "../pruners/pruner.js";
import type { BandCut } from "../methods/method.js";
import { bitsOfMagnitude, INFINITY_BITS } from "../statistics/threshold.js";
import { BLOCK_ENTRIES, blockCount, blocksOf, MASK_BYTES } from "./blocks.js";
import type { Block, BlockCut, BlockCuts } from "./blocks.js";
import type { Crew } from "./crew.js";
import { Gatherer } from "./gather.js";
import type { Gathered } from "./gather.js";
import type { NormsBlock } from "./jobs.js";
import type { WorkTensor } from "./setup.js";

/** Per tensor and block of it: per model, since tied tensors may have other inputs. */
export type Cuts = ReadonlyMap<number, readonly BlockCuts[]>;

/** Whether only some of a block's entries that are equal to an end belong inside. */
export function endsInside({ lowLeft, highLeft }: NonNullable<BlockCut["band"]>): boolean {
  return [lowLeft, highLeft].some((left) => left > 0 && left < ALL);
}

/** Gives tied tensors what is known, by tensor, of those that they are tied to. */
export function withTied<T>(
  known: Map<number, T>,
  tensors: readonly { readonly name: string; readonly tiedTo: string | null }[],
): void {
  const primaries = new Map(tensors.map(({ name }, index) => [name, index]));
  for (const [index, { tiedTo }] of tensors.entries()) {
    const own = tiedTo === null ? undefined : known.get(primaries.get(tiedTo)!);
    if (own !== undefined) known.set(index, own);
  }
}

/** Kernel memory in which what survives is noted until the group is combined. */
export interface MaskRoom {
  readonly address: number;
  readonly bytes: number;
}

/** Enough for a tensor of 64 M entries and four models; what finds no room is pruned a second time. */
const MOST_MASK_BYTES = 32 * 1024 * 1024;

/** What the masks of any one tensor take, within bounds. */
export function mostMaskBytes(tensors: readonly Pick<PlannedTensor, "entries" | "inputs" | "prune">[]): number {
  const wanted = tensors.map(({ entries, inputs, prune }) =>
    prune?.some((cut) => cut?.rescale === "norm") ? blockCount(entries) * inputs.length * MASK_BYTES : 0,
  );
  return wanted.reduce((most, bytes) => Math.max(most, Math.min(bytes, MOST_MASK_BYTES)), 0);
}

/** Norms below this are as good as none. */
const SMALLEST_NORM = 1e-7;
/** More than a block holds. */
const ALL = 0x7fff_ffff;

/** A block with what its cuts need. */
export function withCuts(block: Block, cuts: Cuts, { inputs }: WorkTensor): Block {
  const known = cuts.get(block.tensor)?.[Math.floor(block.start / BLOCK_ENTRIES)];
  return known === undefined ? block : { ...block, cuts: inputs.map(({ model }) => known[model] ?? null) };
}

/**
 * Gathers for a group of tensors: all with a band of scope `model`, else any.
 * With scope `layer`: any, whose layers are whole.
 * @param address of `statisticsBytes` for twice as many models.
 * @param masks only where the group is combined before anything else uses that memory.
 */
export async function gatherCuts(
  crew: Crew,
  tensors: readonly WorkTensor[],
  group: readonly number[],
  models: number,
  address: number,
  masks: MaskRoom | null = null,
): Promise<Cuts> {
  const scope = cutScope(group.flatMap((tensor) => tensors[tensor]!.prune?.map((one) => one?.cut ?? null) ?? []));
  if (scope === null) return new Map();
  const cuts = new Map<number, BlockCuts[]>();
  const gather = async (some: readonly number[]) => {
    const banded = some.filter((tensor) => tensors[tensor]!.ends !== null);
    if (banded.length > 0) await gatherBands(crew, tensors, banded, { models, scope, address }, cuts);
  };
  if (scope === "model") await gather(group);
  else
    for (const some of scope === "layer" ? byLayer(tensors, group) : group.map((tensor) => [tensor]))
      await gather(some);
  await gatherScales(crew, tensors, group, { models, masks }, cuts);
  return cuts;
}

function byLayer(tensors: readonly WorkTensor[], group: readonly number[]): Iterable<readonly number[]> {
  const layers = new Map<string, number[]>();
  for (const tensor of group) {
    const layer = layerPartitionOf(tensors[tensor]!.name);
    layers.set(layer, [...(layers.get(layer) ?? []), tensor]);
  }
  return layers.values();
}

async function gatherBands(
  crew: Crew,
  tensors: readonly WorkTensor[],
  group: readonly number[],
  { models, scope: over, address }: { models: number; scope: CutScope; address: number },
  cuts: Map<number, BlockCuts[]>,
): Promise<void> {
  // A layer's tensors are looked at together as a model's are.
  const scope: Scope = over === "tensor" ? "tensor" : "model";
  const bandOf = new Map<number, BandCut>();
  for (const tensor of group) {
    const { inputs, prune } = tensors[tensor]!;
    for (const [input, { model }] of inputs.entries()) {
      const cut = prune?.[input]?.cut;
      if (cut?.kind === "band" && !bandOf.has(model)) bandOf.set(model, cut);
    }
  }
  const need: ThresholdNeed = {
    statistic: "threshold",
    scope,
    ties: "first",
    ranks: Array.from({ length: 2 * models }, (_, end) => (entries) => {
      const { above, within } = bandRanks(bandOf.get(end % models)!, entries);
      if (end >= models) return above;
      return above + within === entries ? null : above + within;
    }),
  };
  const ends = group.map((tensor) => tensors[tensor]!.ends!);
  const gatherer = new Gatherer(crew, tensors, { tensors: ends }, 2 * models, scope, address);
  const found = await gatherer.gatherExactly((known: Known) => (known.threshold === undefined ? need : null));
  for (const [index, tensor] of group.entries()) {
    const { entries, inputs } = tensors[ends[index]!]!;
    const of = blocksOf(tensor, entries).map((_, block) => {
      const endOf = (end: number) => bandEnd(found, inputs, { tensor: ends[index]!, block, end });
      return Array.from({ length: models }, (_, model): BlockCut | null => {
        const lower = endOf(model);
        if (lower === null) return null;
        const upper = endOf(model + models) ?? { bits: INFINITY_BITS, left: 0 };
        return {
          band: { low: lower.bits, lowLeft: lower.left, high: upper.bits, highLeft: upper.left },
          scale: null,
          mask: null,
        };
      });
    });
    cuts.set(tensor, of);
  }
}

/** An end of a model's band in one block: its magnitude, and how many entries equal to it belong to those above it. */
function bandEnd(
  { known, quotas }: Gathered,
  inputs: WorkTensor["inputs"],
  { tensor, block, end }: { tensor: number; block: number; end: number },
): { bits: number; left: number } | null {
  const input = inputs.findIndex(({ model }) => model === end);
  if (input < 0) return null;
  const bits = bitsOfMagnitude(known.threshold!.thresholds[end]!);
  return { bits, left: quotas.get(tensor)?.[block]?.[input] ?? ALL };
}

/** Adds, where cuts ask for it, the scales that give tensors their old norms. */
async function gatherScales(
  crew: Crew,
  tensors: readonly WorkTensor[],
  group: readonly number[],
  { models, masks }: { models: number; masks: MaskRoom | null },
  cuts: Map<number, BlockCuts[]>,
): Promise<void> {
  const wants = (tensor: number) => tensors[tensor]!.prune?.some((one) => one?.cut.rescale === "norm") ?? false;
  const normed = group.filter(wants);
  let room = masks?.bytes ?? 0;
  const blocks = normed.flatMap((tensor) =>
    blocksOf(tensor, tensors[tensor]!.entries).map((block): NormsBlock => {
      const bytes = tensors[tensor]!.inputs.length * MASK_BYTES;
      room -= bytes;
      // What finds no room is pruned again when it is combined.
      return { ...withCuts(block, cuts, tensors[tensor]!), masks: room < 0 ? null : masks!.address + room };
    }),
  );
  const parts = await crew.run({ job: "norms", blocks, args: null });
  let next = 0;
  for (const tensor of normed) {
    const { inputs, entries, prune } = tensors[tensor]!;
    const count = blocksOf(tensor, entries).length;
    const noted = blocks.slice(next, next + count);
    const own = parts.slice(next, (next += count));
    const scales = new Map<number, number>();
    for (const [input, { model }] of inputs.entries()) {
      if (prune![input]?.cut.rescale !== "norm") continue;
      const sum = (which: "before" | "after") => own.reduce((total, part) => total + part[input]![which], 0);
      scales.set(model, scaleOf(sum("before"), sum("after")));
    }
    const bands = cuts.get(tensor);
    cuts.set(
      tensor,
      own.map((_, block) =>
        Array.from({ length: models }, (_, model): BlockCut | null => {
          const band = bands?.[block]?.[model]?.band ?? null;
          const scale = scales.get(model) ?? null;
          if (band === null && scale === null) return null;
          const { masks: first } = noted[block]!;
          const input = inputs.findIndex((one) => one.model === model);
          return { band, scale, mask: first === null || scale === null ? null : first + input * MASK_BYTES };
        }),
      ),
    );
  }
}

/** 1 where a norm is too small, or no number. */
function scaleOf(before: number, after: number): number {
  const scale = Math.fround(before / after);
  return before >= SMALLEST_NORM && after >= SMALLEST_NORM && Number.isFinite(scale) ? scale : 1;
}

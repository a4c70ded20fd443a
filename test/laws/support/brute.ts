/** TIES by brute force: whole vectors in memory, thresholds by sorting, then the definition. The truth the engine is held to. */

import type { Known, ParameterValue, Settings } from "../../../src/methods/method.js";
import { ties } from "../../../src/methods/ties.js";
import { BLOCK_ENTRIES } from "../../../src/execute/blocks.js";
import { energyOf, mergeBlocks, type Moments, momentsOf } from "../../../src/numbers/sums.js";
import { patterns } from "./random.js";
import { selectRank, sortedMagnitudes } from "./selection.js";
import { settingsOf } from "./twin.js";

export interface Family {
  /** Per tensor: the base's entries and every model's, widened. */
  readonly tensors: readonly {
    readonly name: string;
    readonly base: Float32Array;
    /** `null` for a model that lacks the tensor. */
    readonly models: readonly (Float32Array | null)[];
  }[];
}

export interface BruteResult {
  readonly tensors: ReadonlyMap<string, Float32Array>;
  readonly kept: readonly number[];
  readonly counters: Readonly<Record<string, number>>;
}

/** @param own per model. `select: top` or `none`; any election but an oracle's. */
export function bruteTies(
  { tensors }: Family,
  given: Readonly<Record<string, ParameterValue>>,
  own: readonly Readonly<Record<string, ParameterValue>>[],
): BruteResult {
  const settings = settingsOf(ties, given, own);
  const changed = tensors.map(({ name, base, models }) => ({
    name,
    base,
    changes: models.map((values) => values?.map((x, p) => x - base[p]!) ?? null),
  }));
  const groups = settings.global.trim === "tensor" ? changed.map((one) => [one]) : [changed];
  const out = new Map<string, Float32Array>();
  const kept = own.map(() => 0);
  const counters: Record<string, number> = {};
  for (const group of groups) {
    const thresholds = own.map((_, model) => {
      const { threshold, count } = trim(
        settings,
        model,
        group.flatMap(({ changes }) => changes[model] ?? []),
      );
      kept[model]! += count;
      return threshold;
    });
    const energies = own.map((_, model) =>
      energyOf(
        mergeBlocks(
          group.flatMap(({ changes }) =>
            changes[model] === null ? [] : blockMoments(changes[model]!, thresholds[model]!),
          ),
        ),
      ),
    );
    const combine = (votes: Known["votes"], into: Record<string, number>) => {
      for (const { name, base, changes } of group) {
        const has = changes.flatMap((values, model) => (values === null ? [] : [model]));
        const picked = { global: settings.global, models: has.map((model) => settings.models[model]!) };
        const threshold = { thresholds: has.map((model) => thresholds[model]!), kept: [], entries: 0 };
        const energy = { energy: has.map((model) => energies[model]!) };
        const args = ties.bind(picked, { threshold, energy, ...(votes && { votes }) });
        const inputs = has.map((model) => changes[model]!);
        const result = new Float32Array(base.length);
        ties.combine({ count: base.length, base, inputs, extra: {}, out: result, counters: into }, args);
        out.set(name, result);
      }
    };
    const votes: Record<string, number> = {};
    combine(undefined, votes);
    combine({ positive: votes.positive!, negative: votes.negative! }, counters);
  }
  return { tensors: out, kept, counters };
}

/** Of what survives, block by block as the engine sums it. */
function blockMoments(changes: Float32Array, threshold: number): Moments[] {
  const kept = changes.map((x) => (Math.abs(x) < threshold ? 0 : x));
  return Array.from({ length: Math.ceil(kept.length / BLOCK_ENTRIES) }, (_, block) =>
    momentsOf(kept.subarray(block * BLOCK_ENTRIES, (block + 1) * BLOCK_ENTRIES)),
  );
}

/** Trims a model's changes in place where the quota is exact; a threshold stands for the rest. */
function trim(
  { models }: Settings,
  model: number,
  changes: readonly Float32Array[],
): { threshold: number; count: number } {
  const { density, quota, select } = models[model]!;
  const entries = changes.reduce((sum, { length }) => sum + length, 0);
  if (select === "none" || Number(density) >= 1) return { threshold: 0, count: entries };
  const share = Math.trunc(entries * Number(density));
  let rank = quota === "at-least" ? share + 1 : share;
  if (quota === "exactly-nonzero" && Number(density) > 0) rank = Math.max(1, rank);
  rank = Math.min(rank, entries);
  if (rank === 0) return { threshold: Infinity, count: 0 };
  const joined = new Float32Array(entries);
  let at = 0;
  for (const part of changes) {
    joined.set(part, at);
    at += part.length;
  }
  const { bits, above, atLeast } = selectRank(sortedMagnitudes(joined), rank);
  const threshold = new Float32Array(Uint32Array.of(bits).buffer)[0]!;
  if (quota === "at-least") return { threshold, count: atLeast };
  let left = rank - above;
  for (const part of changes) {
    const magnitudes = patterns(part);
    for (let p = 0; p < part.length; p++) if ((magnitudes[p]! & 0x7fffffff) === bits && left-- <= 0) part[p] = 0;
  }
  return { threshold, count: rank };
}

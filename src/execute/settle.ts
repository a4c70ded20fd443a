/**
 * The statistics of merges that are inputs of others. They must be known before the first entry is handed on, so each
 * such merge is read for them on its own, those that it reads being settled first. Nothing is written but a line of the
 * journal, which spares a restart the reading.
 */
import type { Known, Method, Scope, Settings, TileMethod } from "../methods/method.js";
import type { Plan, PlannedMerge } from "../plan/types.js";
import type { Crew } from "./crew.js";
import { Gatherer } from "./gather.js";
import type { Gathered } from "./gather.js";
import type { CombineArgs } from "./job_types.js";
import type { CutScope } from "../pruners/pruner.js";
import { blocksOf } from "./blocks.js";
import type { Block, BlockCuts } from "./blocks.js";
import { gatherCuts, withCuts, withTied } from "./cuts.js";
import type { Cuts } from "./cuts.js";
import type { Journal } from "./journal.js";
import { meterStatistics } from "./meter.js";
import { eachInLanes } from "./lanes.js";
import { settleMixtures } from "./mixtures.js";
import { settlePacking } from "./packing.js";
import { groupSettings, isProved, keptOf, knownFor, LEAD_BYTES, scoresOf, statisticsLayout } from "./run.js";
import type { RunOptions } from "./run.js";
import { settleSolved } from "./solved.js";
import { setupOf } from "./setup.js";
import type { Settled, Tuning, WorkSetup } from "./setup.js";
import type { Workspace } from "./workspace.js";

export interface SettleOptions extends Pick<RunOptions, "createCrew" | "progress"> {
  readonly findMethod: (name: string) => Method;
  readonly workspace: Workspace;
  readonly tuning?: Tuning;
}

/** @returns by key, what is needed to compute any run of entries of the plan's merges. */
export async function settle(
  merges: readonly PlannedMerge[],
  journal: Journal,
  options: SettleOptions,
): Promise<Map<string, Settled>> {
  const settled = new Map<string, Settled>();
  for (const merge of merges) {
    settled.set(merge.key, await settleOne(merge, journal, settled, options));
  }
  return settled;
}

async function settleOne(
  { key, plan }: PlannedMerge,
  journal: Journal,
  inner: ReadonlyMap<string, Settled>,
  { createCrew, findMethod, workspace, progress, tuning }: SettleOptions,
): Promise<Settled> {
  const method = findMethod(plan.method);
  if (method.grain === "matrix") {
    const [file] = plan.files;
    return settleSolved({
      ...{ key, plan, method, journal, workspace },
      setupFor: (path) => setupOf({ ...plan, files: [file!] }, () => path, tuning, inner),
      startCrew: async (setup) => meterStatistics(await createCrew(setup, 0), setup, progress),
    });
  }
  if (method.grain === "mixture") {
    const setup = setupOf({ ...plan, files: [] }, (file) => file, tuning, inner);
    const { lanes, laneBytes } = statisticsLayout(plan, method);
    const startCrew = async () => meterStatistics(await createCrew(setup, lanes * laneBytes), setup, progress);
    const args = await settleMixtures({ key, plan, method, journal, startCrew });
    return { args, quotas: new Map(), cuts: new Map() };
  }
  if (method.packing !== undefined) {
    const packing = {
      createCrew,
      strict: false,
      settled: inner,
      ...(progress && { progress }),
      ...(tuning && { tuning }),
    };
    return {
      args: await settlePacking(key, plan, method, journal, packing),
      quotas: new Map(),
      cuts: new Map(),
    };
  }
  const { scope, cutScope, lanes, laneBytes } = statisticsLayout(plan, method);
  const groups = groupsOf(plan, scope);
  const cuts = new Map<number, readonly BlockCuts[]>();
  const keyOf = (group: StatisticsGroup) => `${key}/${group.name}`;
  const missing = groups.filter((group) => !journal.settled.has(keyOf(group)));
  if (missing.length > 0 || cutScope !== null) {
    const setup = setupOf({ ...plan, files: [] }, (file) => file, tuning, inner);
    const crew = await createCrew(setup, lanes * laneBytes);
    try {
      const watched = meterStatistics(crew, setup, progress);
      await settleCuts(plan, setup, watched, { scope: cutScope, lanes, laneBytes }, cuts);
      const settling = new Settling(plan, method, setup, watched, cuts);
      await eachInLanes(missing, lanes, async (group, lane) => {
        const address = crew.statistics + lane * laneBytes + LEAD_BYTES;
        journal.recordSettled(keyOf(group), await settling.know(group, scope!, address));
      });
    } finally {
      await crew.close();
    }
  }
  const quotas = new Map(groups.flatMap((group) => [...journal.settled.get(keyOf(group))!.quotas]));
  withTied(quotas, plan.tensors);
  const knownOf = new Map(
    groups.flatMap((group) => group.merged.map((tensor) => [tensor, journal.settled.get(keyOf(group))!.known])),
  );
  return { args: argsOf(plan, method, (tensor) => knownOf.get(tensor) ?? {}), quotas, cuts };
}

/** What pruning must know comes first: the method's statistics are those of pruned changes. */
async function settleCuts(
  plan: Plan,
  setup: WorkSetup,
  crew: Crew,
  { scope, lanes, laneBytes }: { scope: CutScope | null; lanes: number; laneBytes: number },
  cuts: Map<number, readonly BlockCuts[]>,
): Promise<void> {
  const models = plan.inputs.filter(({ role }) => role === "model").length;
  await eachInLanes(groupsOf(plan, scope), lanes, async ({ own }, lane) => {
    const address = crew.statistics + lane * laneBytes + LEAD_BYTES;
    for (const [index, blocks] of await gatherCuts(crew, setup.tensors, own, models, address)) cuts.set(index, blocks);
  });
  withTied(cuts, plan.tensors);
}

/** Tensors with common statistics: `own` they are taken over, `merged` are those and the ones tied to them. */
interface StatisticsGroup {
  /** "" for the whole model, else the tensor's. */
  readonly name: string;
  readonly own: readonly number[];
  readonly merged: readonly number[];
}

function groupsOf({ tensors }: Plan, scope: CutScope | null): StatisticsGroup[] {
  const merged = tensors.flatMap(({ action }, index) => (action === "merge" ? [index] : []));
  const own = merged.filter((index) => tensors[index]!.tiedTo === null);
  if (scope === null) return [];
  if (scope !== "tensor") return [{ name: "", own, merged }];
  const tied = new Map<string, number[]>();
  for (const index of merged) {
    const name = tensors[index]!.tiedTo ?? tensors[index]!.name;
    const group = tied.get(name);
    if (group === undefined) tied.set(name, [index]);
    else group.push(index);
  }
  return own.map((index) => {
    const { name } = tensors[index]!;
    return { name, own: [index], merged: tied.get(name)! };
  });
}

/** Per tensor; equal ones are one object, so that a message to the threads stays short. */
function argsOf(plan: Plan, method: TileMethod, knownOf: (tensor: number) => Known): (CombineArgs | null)[] {
  const seen = new Map<string, CombineArgs>();
  const models = plan.inputs.filter(({ role }) => role === "model").length;
  return plan.tensors.map((tensor, index) => {
    if (tensor.action === "copy") return null;
    const args: CombineArgs = { args: method.bind(tensor.settings!, knownFor(knownOf(index), tensor, models)) };
    const text = JSON.stringify(args, (_, value: unknown) => (value === Number.POSITIVE_INFINITY ? "Infinity" : value));
    const twin = seen.get(text);
    if (twin === undefined) seen.set(text, args);
    return twin ?? args;
  });
}

class Settling {
  constructor(
    readonly plan: Plan,
    readonly method: TileMethod,
    readonly setup: WorkSetup,
    readonly crew: Crew,
    readonly cuts: Cuts,
  ) {}

  /** @param address of `statisticsBytes` bytes of kernel memory. */
  async know(group: StatisticsGroup, scope: Scope, address: number): Promise<Gathered> {
    const models = this.plan.inputs.filter(({ role }) => role === "model").length;
    const settings = groupSettings(this.plan, group.own, models);
    const own = { tensors: group.own };
    const scores = scoresOf(this.plan, this.method, models);
    const dress = (block: Block) => withCuts(block, this.cuts, this.setup.tensors[block.tensor]!);
    const gatherer = new Gatherer(this.crew, this.setup.tensors, own, models, scope, address, scores, dress);
    const majority = (this.method.majority?.(settings) ?? null) !== null;
    const proved = majority ? await this.#proveGuess(gatherer, group, settings) : null;
    if (proved !== null) return proved;
    const gathered = await gatherer.gatherExactly((known) => this.method.needs(settings, known));
    if (!majority) return gathered;
    const { votes } = await this.#rehearse(group, gathered);
    return { ...gathered, known: { ...gathered.known, votes } };
  }

  /** Votes and thresholds in one pass, where a sample leaves little doubt of the thresholds and nothing else is needed. */
  async #proveGuess(gatherer: Gatherer, group: StatisticsGroup, settings: Settings): Promise<Gathered | null> {
    const need = this.method.needs(settings, {});
    if (need?.statistic !== "threshold" || need.ties === "first") return null;
    const guess = await gatherer.guess(need);
    if (guess === null || this.method.needs(settings, guess.known) !== null) return null;
    const { votes, above, atLeast } = await this.#rehearse(group, guess);
    if (!isProved(guess.unproved!, above, atLeast)) return null;
    const threshold = { ...guess.known.threshold!, kept: keptOf(guess.unproved!, atLeast) };
    return { known: { threshold, votes }, quotas: guess.quotas, unproved: null };
  }

  /** Counts what a combination under these statistics would elect. */
  async #rehearse({ own }: StatisticsGroup, { known, quotas, unproved }: Gathered) {
    const guesses = unproved?.bits.map((bits) => bits ?? 0) ?? null;
    const above = this.plan.inputs.map(() => 0);
    const atLeast = this.plan.inputs.map(() => 0);
    const votes = { positive: 0, negative: 0 };
    const args = argsOf(this.plan, this.method, () => known);
    const stages = new Map<CombineArgs, number[]>();
    for (const index of own) stages.set(args[index]!, [...(stages.get(args[index]!) ?? []), index]);
    for (const [{ args: bound }, tensors] of stages) {
      const blocks = tensors.flatMap((tensor) =>
        blocksOf(tensor, this.plan.tensors[tensor]!.entries).map((block, index) => {
          const dressed = withCuts(block, this.cuts, this.setup.tensors[tensor]!);
          return { ...dressed, quota: quotas.get(tensor)?.[index] ?? null };
        }),
      );
      const parts = await this.crew.run({ job: "rehearse", blocks, args: { args: bound, guesses } });
      for (const [index, { counters, ...proof }] of parts.entries()) {
        votes.positive += counters.positive ?? 0;
        votes.negative += counters.negative ?? 0;
        for (const [input, { model }] of this.plan.tensors[blocks[index]!.tensor]!.inputs.entries()) {
          above[model]! += proof.above[input] ?? 0;
          atLeast[model]! += proof.atLeast[input] ?? 0;
        }
      }
    }
    return { votes, above, atLeast };
  }
}

import { MergewrightError } from "../errors.js";
import type {
  Known,
  MaskSums,
  MatrixMethod,
  Method,
  Scope,
  ScoresValue,
  Settings,
  TileMethod,
} from "../methods/method.js";
import { blockTreeChecksum } from "../numbers/checksum.js";
import { sumOf } from "../numbers/sums.js";
import type { Plan, PlannedTensor } from "../plan/types.js";
import { BLOCK_ENTRIES, blockCount, blocksOf } from "./blocks.js";
import type { Block, BlockCuts } from "./blocks.js";
import { isSolved } from "../plan/matrices.js";
import { cutScope } from "../pruners/pruner.js";
import type { CutScope } from "../pruners/pruner.js";
import { gatherCuts, mostMaskBytes, withCuts, withTied } from "./cuts.js";
import type { MaskRoom } from "./cuts.js";
import { digestsOf } from "./combine_jobs.js";
import type { Crew, Stage } from "./crew.js";
import { Gatherer, NOTHING_GATHERED, quotasOf, statisticsBytes } from "./gather.js";
import type { Gathered, Guess, Quotas, ScoresOf } from "./gather.js";
import type { CombineBlock, Proof, Quota, WrittenBlock } from "./jobs.js";
import { scoresBytes } from "./gather_scores.js";
import type { Journal } from "./journal.js";
import { eachInLanes } from "./lanes.js";
import { meter } from "./meter.js";
import type { Progress } from "./meter.js";
import { rowsOf } from "../statistics/score_rows.js";
import { mergeMixtures, MIXTURE_LANES, mixtureLaneBytes } from "./mixtures.js";
import type { WorkSetup } from "./setup.js";
import { stagesOf } from "./stages.js";
import type { Workspace } from "./workspace.js";

export interface RunOptions {
  readonly createCrew: (setup: WorkSetup, statisticsBytes: number) => Promise<Crew>;
  readonly progress?: (progress: Progress) => void;
  /** NaN or infinity in an input is an error instead of a warning. */
  readonly strict: boolean;
}

/** What is known of a written tensor. */
export interface TensorResult {
  readonly name: string;
  /** Block tree of XXH64; see numbers/checksum.ts. */
  readonly checksum: string;
  readonly nonFinite: number;
  readonly nonFiniteInputs: readonly number[] | null;
  /** Per input, what its mask over this tensor keeps; `null` for a tensor without masks. */
  readonly masks: readonly MaskSums[] | null;
  /** Checksum of the base's copy as it is stored, for a tensor with masks. */
  readonly baseChecksum: string | null;
  /** What a method of whole matrices told of this one, by name: residuals, condition numbers. */
  readonly figures: Readonly<Record<string, readonly number[]>> | null;
}

export interface RunResult {
  readonly resumed: boolean;
  readonly tensors: readonly TensorResult[];
  /** The method's counters over all tensors. */
  readonly counters: Readonly<Record<string, number>>;
  /** Per model: entries that the trim kept, of how many; `null` where nothing was trimmed by a threshold. */
  readonly kept: readonly { readonly kept: number; readonly entries: number }[] | null;
  /** Thresholds per model, where they hold for the whole model. */
  readonly thresholds: readonly number[] | null;
  readonly warnings: readonly string[];
}

/** Groups that are worked on at the same time where statistics are per tensor: the next is read while one ends. */
const LANES = 3;

/**
 * Executes a plan into a workspace, whose files and journal then hold the result; `commit` is the caller's.
 * @param journal of the workspace, opened for the plan.
 */
export async function run(
  plan: Plan,
  method: Method,
  setup: WorkSetup,
  workspace: Workspace,
  journal: Journal,
  options: RunOptions,
): Promise<RunResult> {
  for (const { name, size, header } of plan.files) workspace.allocate(name, size, header);
  const models = plan.inputs.filter(({ role }) => role === "model").length;
  const layout = statisticsLayout(plan, method);
  const crew = await options.createCrew(setup, layout.lanes * layout.laneBytes);
  try {
    const execution = new Execution(
      plan,
      method,
      setup,
      journal,
      meter(crew, plan, setup, journal, options.progress),
      models,
    );
    await execution.dropDamaged();
    await execution.copy();
    await execution.merge(layout);
    return execution.result(options.strict);
  } finally {
    await crew.close();
  }
}

/** Kernel memory for statistics: how many groups are worked on at once, and what each takes. */
export interface StatisticsLayout {
  /** Over which entries the method's statistics are taken, the same for every tensor; `null` where there are none. */
  readonly scope: Scope | null;
  /** The same for what must be known before changes are pruned. */
  readonly cutScope: CutScope | null;
  readonly lanes: number;
  readonly laneBytes: number;
  /** The end of a lane's bytes, for masks. */
  readonly maskBytes: number;
}

export function statisticsLayout(plan: Plan, method: Method): StatisticsLayout {
  if (method.grain === "matrix") return { scope: null, cutScope: null, lanes: 0, laneBytes: 0, maskBytes: 0 };
  if (method.grain === "mixture") {
    return {
      scope: null,
      cutScope: null,
      lanes: MIXTURE_LANES,
      laneBytes: mixtureLaneBytes(plan, method),
      maskBytes: 0,
    };
  }
  // Some tensors may need nothing; those that need something look over the same entries.
  const distinct = new Set(plan.tensors.map(({ settings }) => settings));
  const scopes = [...distinct].map((settings) =>
    settings === null ? null : (method.needs(settings, {})?.scope ?? method.majority?.(settings) ?? null),
  );
  const scope = scopes.find((one) => one !== null) ?? null;
  const cuts = cutScope(plan.tensors.flatMap(({ prune }) => prune ?? []));
  const models = plan.inputs.filter(({ role }) => role === "model").length;
  const bytesOf = (one: CutScope | null, rows: number) =>
    one === null ? 0 : statisticsBytes(rows, one === "tensor" ? one : "model");
  const own = method.scores === undefined ? bytesOf(scope, models) : scoresBytes(method, models);
  const hasBands = plan.tensors.some(({ prune }) => prune?.some((cut) => cut?.kind === "band") ?? false);
  const bytes = Math.max(scope === null ? 0 : own, hasBands ? bytesOf(cuts, 2 * models) : 0);
  if (scope === null && cuts === null) return { scope, cutScope: cuts, lanes: 0, laneBytes: 0, maskBytes: 0 };
  // Masks are of use where a tensor is combined before its lane takes the next.
  const maskBytes = cuts === "tensor" && scope !== "model" ? mostMaskBytes(plan.tensors) : 0;
  const lanes = scope === "tensor" || cuts === "tensor" ? LANES : 1;
  return { scope, cutScope: cuts, lanes, laneBytes: LEAD_BYTES + Math.ceil(bytes / 64) * 64 + maskBytes, maskBytes };
}

/** Tensors with common statistics: `own` they are taken over, `merged` are those and the ones tied to them. */
interface MergeGroup {
  readonly own: readonly number[];
  readonly merged: readonly number[];
  readonly scope: Scope;
  /** Of kernel memory for the lead and the statistics. */
  readonly address: number;
}

/** The lead, an i64, and what keeps the memory after it aligned. */
export const LEAD_BYTES = 64;

/** Whether two quotas keep the same entries of a block. */
function keepTheSame(a: Quota, b: Quota, { above, atLeast }: Proof): boolean {
  return above.every((larger, input) => {
    const here = atLeast[input]! - larger;
    return Math.min(a?.[input] ?? here, here) === Math.min(b?.[input] ?? here, here);
  });
}

/** Whether each guessed threshold is the exact one: its rank lies among the entries equal to it. */
export function isProved({ bits, ranks }: Guess, above: readonly number[], atLeast: readonly number[]): boolean {
  return bits.every((pattern, model) => {
    const rank = ranks[model]!;
    return pattern === null || (above[model]! < rank && rank <= atLeast[model]!);
  });
}

export function keptOf({ bits, ranks, entries, ties }: Guess, atLeast: readonly number[]): number[] {
  return ranks.map((rank, model) => {
    if (rank === null) return entries[model]!;
    return bits[model] === null || ties === "first" ? rank : atLeast[model]!;
  });
}

class Execution {
  readonly #known = new Map<string, Known>();
  readonly #indexOf: ReadonlyMap<string, number>;
  readonly #cuts = new Map<number, readonly BlockCuts[]>();

  constructor(
    readonly plan: Plan,
    readonly method: Method,
    readonly setup: WorkSetup,
    readonly journal: Journal,
    readonly crew: Crew,
    readonly models: number,
  ) {
    this.#indexOf = new Map(
      plan.tensors.flatMap(({ name, action }, index) => (action === "merge" ? [[name, index]] : [])),
    );
  }

  /** Blocks that the journal calls written but whose bytes say otherwise (a power failure) are written again. */
  async dropDamaged(): Promise<void> {
    const blocks = [...this.journal.written].flatMap(([tensor, written]) =>
      blocksOf(tensor, this.plan.tensors[tensor]!.entries).filter((_, index) => written.has(index)),
    );
    const digests = await this.crew.run({ job: "reread", blocks, args: null });
    for (const [index, { tensor, start }] of blocks.entries()) {
      const written = this.journal.written.get(tensor)!.get(start / BLOCK_ENTRIES);
      if (written === undefined || digestsOf(written) !== digests[index]) this.journal.forget(tensor, start);
    }
  }

  async copy(): Promise<void> {
    const copied = this.plan.tensors.flatMap(({ action }, index) => (action === "copy" ? [index] : []));
    await this.#write({ job: "copy", blocks: this.#unwritten(copied, new Map()), args: null });
  }

  async merge({ scope, cutScope, lanes, laneBytes, maskBytes }: StatisticsLayout): Promise<void> {
    const { plan, method, journal, crew } = this;
    if (method.grain === "mixture") {
      const unwritten = (tensors: readonly number[]) => this.#unwritten(tensors, new Map());
      await mergeMixtures({ plan, method, journal, crew, unwritten, write: (stage) => this.#write(stage) });
      return;
    }
    if (method.grain === "matrix") {
      await this.#solve(method);
      return;
    }
    const merged = this.plan.tensors.flatMap(({ action }, index) => (action === "merge" ? [index] : []));
    const own = merged.filter((index) => this.plan.tensors[index]!.tiedTo === null);
    const { statistics } = this.crew;
    const eachTensor = (work: (group: Omit<MergeGroup, "scope">) => Promise<void>) =>
      eachInLanes(own, lanes, (tensor, lane) => {
        const { name } = this.plan.tensors[tensor]!;
        const tied = merged.filter((index) => this.plan.tensors[index]!.tiedTo === name);
        return work({ own: [tensor], merged: [tensor, ...tied], address: statistics + lane * laneBytes });
      });
    const all = { own, merged, address: statistics };
    // Cuts come first: of all tensors where either they or the method look beyond one, else of each in its turn.
    if (cutScope === "model" || cutScope === "layer") await this.#cut(all, scope);
    else if (cutScope === "tensor" && scope === "model") await eachTensor((group) => this.#cut(group, scope));
    if (scope === "model") await this.#mergeGroup({ ...all, scope });
    else if (scope === "tensor" || cutScope === "tensor") {
      await eachTensor(async (group) => {
        const masks = { address: group.address + laneBytes - maskBytes, bytes: maskBytes };
        if (cutScope === "tensor") await this.#cut(group, scope, masks);
        if (scope === "tensor") await this.#mergeGroup({ ...group, scope });
        else await this.#combine(group.merged, NOTHING_GATHERED);
      });
    } else await this.#combine(merged, NOTHING_GATHERED);
  }

  /** Finds out what the cuts of a group need. It follows from the inputs, so it is not in the journal. */
  async #cut(
    { own, merged, address }: Omit<MergeGroup, "scope">,
    scope: Scope | null,
    masks: MaskRoom | null = null,
  ): Promise<void> {
    const isKnown = (index: number) =>
      scope === null || this.journal.known.has(`known:${scope === "model" ? "" : this.plan.tensors[index]!.name}`);
    if (own.every(isKnown) && this.#unwritten(merged, new Map()).length === 0) return;
    const cuts = await gatherCuts(this.crew, this.setup.tensors, own, this.models, address + LEAD_BYTES, masks);
    for (const [index, blocks] of cuts) this.#cuts.set(index, blocks);
    withTied(this.#cuts, this.plan.tensors);
  }

  /** Whole matrices, each by one thread; the largest first, so that none is left to the end. The rest tile by tile. */
  async #solve(method: MatrixMethod): Promise<void> {
    const { tensors } = this.plan;
    const unwritten = tensors.flatMap(({ action, entries }, index) => {
      const isDone = blocksOf(index, entries).every(({ tensor, start }) => this.journal.has(tensor, start));
      return action === "merge" && !isDone ? [index] : [];
    });
    const isMatrix = (index: number) => isSolved(method, tensors[index]!);
    const rest = stagesOf(
      unwritten.filter((index) => !isMatrix(index)),
      (index) => ({ args: method.otherwise.bind(tensors[index]!.settings!) }),
    );
    const matrices = unwritten.filter(isMatrix).sort((a, b) => tensors[b]!.entries - tensors[a]!.entries || a - b);
    const solved = stagesOf(matrices, (index) => ({ settings: tensors[index]!.settings! }));
    await Promise.all([
      ...solved.map(({ args, tensors: same }) => {
        const blocks = same.map((tensor) => ({ tensor, start: 0, count: tensors[tensor]!.entries }));
        return this.crew.run({ job: "solveMatrix", blocks, args }, (parts) => {
          for (const { index, part } of parts) {
            const { tensor } = blocks[index]!;
            this.journal.recordBlocks(part.map((written, at) => ({ tensor, start: at * BLOCK_ENTRIES, written })));
          }
        });
      }),
      ...rest.map(({ args, tensors: same }) =>
        this.#write({ job: "combine", blocks: this.#unwritten(same, new Map()), args }),
      ),
    ]);
  }

  /** Asked only where `merge` found no mixture. */
  get #tileMethod(): TileMethod {
    if (this.method.grain !== "tile") throw new RangeError(`${this.method.name} is not made of tiles`);
    return this.method;
  }

  async #mergeGroup(group: MergeGroup): Promise<void> {
    const { own, merged, scope, address } = group;
    const key = scope === "model" ? "" : this.plan.tensors[own[0]!]!.name;
    const settings = groupSettings(this.plan, own, this.models);
    const need = this.#tileMethod.needs(settings, {});
    const gatherer = new Gatherer(
      this.crew,
      this.setup.tensors,
      { tensors: own },
      this.models,
      scope,
      address + LEAD_BYTES,
      scoresOf(this.plan, this.#tileMethod, this.models),
      (block) => this.#dress(block),
    );
    let known = this.journal.known.get(`known:${key}`) ?? null;
    let gathered: Gathered = { ...NOTHING_GATHERED, known: this.journal.known.get(`statistics:${key}`) ?? {} };
    if (known === null) {
      const isNew = !this.journal.known.has(`statistics:${key}`);
      const guess = isNew ? await this.#guess(gatherer, settings) : null;
      let proved = guess === null ? null : await this.#assume(group, guess);
      if (proved === null) {
        if (isNew) gathered = await this.#gather(gatherer, settings, key);
        const assumes = gathered.unproved !== null || (this.#tileMethod.majority?.(settings) ?? null) !== null;
        proved = assumes ? (await this.#assume(group, gathered))! : gathered;
      }
      gathered = proved;
      known = gathered.known;
      this.journal.recordKnown(`known:${key}`, known);
    } else if (
      need?.statistic === "threshold" &&
      need.ties === "first" &&
      this.#unwritten(merged, new Map()).length > 0
    ) {
      // Quotas are long and follow from the inputs, so they are not in the journal.
      gathered = await gatherer.gatherExactly((known) => this.#tileMethod.needs(settings, known));
    }
    this.#known.set(key, known);
    await this.#combine(merged, { ...gathered, known });
  }

  /** A guess, where thresholds are all that the method needs. */
  async #guess(gatherer: Gatherer, settings: Settings): Promise<Gathered | null> {
    const need = this.#tileMethod.needs(settings, {});
    if (need?.statistic !== "threshold") return null;
    const guess = await gatherer.guess(need);
    return guess === null || this.#tileMethod.needs(settings, guess.known) !== null ? null : guess;
  }

  async #gather(gatherer: Gatherer, settings: Settings, key: string): Promise<Gathered> {
    const gathered = await gatherer.gather(
      (known) => this.#tileMethod.needs(settings, known),
      this.journal.known.get(`partial:${key}`),
      (known) => this.journal.recordKnown(`partial:${key}`, known),
    );
    if (gathered.quotas.size === 0) this.journal.recordKnown(`statistics:${key}`, gathered.known);
    return gathered;
  }

  /**
   * Combines under the majority of signs so far and, where something is unproved, under guessed thresholds and predicted
   * quotas, counting what proves them. Blocks in which an assumption proves wrong and matters are left to be combined
   * again.
   * @returns what is then known, or `null` where a threshold is refuted and nothing written stands.
   */
  async #assume(group: MergeGroup, gathered: Gathered): Promise<Gathered | null> {
    const { known, quotas: predicted, unproved } = gathered;
    const { own, merged, address } = group;
    new BigInt64Array(this.crew.memory.buffer, address, 1)[0] = 0n;
    await this.#writeAssuming(group, gathered, predicted);
    const { above, atLeast } = this.#proofs(own);
    if (unproved !== null && !isProved(unproved, above, atLeast)) {
      this.journal.recordRedo(this.#blocks(merged));
      return null;
    }
    let quotas = predicted;
    if (unproved?.ties === "first") {
      quotas = this.#provedQuotas(own, unproved, above);
      await this.#mendQuotas(group, gathered, quotas);
    }
    const { votes } = this.#proofs(own);
    const positive = votes.positive > votes.negative;
    const wrong = this.#blocks(merged).filter(({ tensor, start }) => {
      const written = this.journal.written.get(tensor)!.get(start / BLOCK_ENTRIES);
      return written !== undefined && written.proof!.positive !== positive && (written.counters.cancelled ?? 0) > 0;
    });
    this.journal.recordRedo(wrong);
    const threshold = unproved === null ? known.threshold : { ...known.threshold!, kept: keptOf(unproved, atLeast) };
    return { known: { ...known, votes, ...(threshold && { threshold }) }, quotas, unproved: null };
  }

  /** Combines what is not written yet, under the majority of signs so far. */
  async #writeAssuming(group: MergeGroup, { known, unproved }: Gathered, quotas: Quotas) {
    const guesses = unproved?.bits.map((bits) => bits ?? 0) ?? null;
    const stages = stagesOf(group.merged, (index) => {
      const tensor = this.plan.tensors[index]!;
      const bind = (positive: number) => {
        const assumed = { ...known, votes: { positive, negative: 0 } };
        return this.#tileMethod.bind(tensor.settings!, knownFor(assumed, tensor, this.models));
      };
      return { positive: bind(1), negative: bind(0), guesses, lead: group.address };
    });
    await Promise.all(
      stages.map(({ args, tensors }) => this.#write({ job: "assume", blocks: this.#unwritten(tensors, quotas), args })),
    );
  }

  /** Takes back the blocks whose predicted quota was wrong and, where votes hang on them, combines them again. */
  async #mendQuotas(group: MergeGroup, gathered: Gathered, quotas: Quotas): Promise<void> {
    const wrong = this.#blocks(group.merged).filter((block) => {
      const { proof } = this.journal.written.get(block.tensor)!.get(block.start / BLOCK_ENTRIES)!;
      return !keepTheSame(this.#quotaOf(block, gathered.quotas), this.#quotaOf(block, quotas), proof!);
    });
    this.journal.recordRedo(wrong);
    const majority = this.#tileMethod.majority?.(groupSettings(this.plan, group.own, this.models)) ?? null;
    if (majority !== null) await this.#writeAssuming(group, gathered, quotas);
  }

  #provedQuotas(own: readonly number[], guess: Guess, above: readonly number[]): Quotas {
    const blocks = this.#blocks(own);
    const proofs = blocks.map(
      ({ tensor, start }) => this.journal.written.get(tensor)!.get(start / BLOCK_ENTRIES)!.proof!,
    );
    return quotasOf(guess, above, blocks, proofs, this.setup.tensors);
  }

  /** Adds up what a group's blocks prove. */
  #proofs(own: readonly number[]) {
    const above = Array.from({ length: this.models }, () => 0);
    const atLeast = Array.from({ length: this.models }, () => 0);
    const votes = { positive: 0, negative: 0 };
    for (const index of own) {
      const { inputs } = this.plan.tensors[index]!;
      for (const { proof, counters } of this.journal.written.get(index)!.values()) {
        for (const [input, { model }] of inputs.entries()) {
          above[model]! += proof!.above[input] ?? 0;
          atLeast[model]! += proof!.atLeast[input] ?? 0;
        }
        votes.positive += counters.positive ?? 0;
        votes.negative += counters.negative ?? 0;
      }
    }
    return { above, atLeast, votes };
  }

  async #combine(tensors: readonly number[], { known, quotas }: Gathered): Promise<void> {
    const stages = stagesOf(tensors, (index) => {
      const tensor = this.plan.tensors[index]!;
      return { args: this.#tileMethod.bind(tensor.settings!, knownFor(known, tensor, this.models)) };
    });
    const job = this.method.masking === undefined ? "combine" : "mask";
    await Promise.all(
      stages.map(({ args, tensors: same }) => this.#write({ job, blocks: this.#unwritten(same, quotas), args })),
    );
  }

  #blocks(tensors: readonly number[]): Block[] {
    return tensors.flatMap((index) => blocksOf(index, this.plan.tensors[index]!.entries));
  }

  #dress(block: Block): Block {
    return withCuts(block, this.#cuts, this.setup.tensors[block.tensor]!);
  }

  #unwritten(tensors: readonly number[], quotas: Quotas): CombineBlock[] {
    return this.#blocks(tensors)
      .filter(({ tensor, start }) => !this.journal.has(tensor, start))
      .map((block) => ({ ...this.#dress(block), quota: this.#quotaOf(block, quotas) }));
  }

  /** A tied copy keeps what the tensor keeps that it is tied to. */
  #quotaOf({ tensor, start }: Block, quotas: Quotas): Quota {
    const { tiedTo } = this.plan.tensors[tensor]!;
    const counted = tiedTo === null ? tensor : this.#indexOf.get(tiedTo)!;
    return quotas.get(counted)?.[start / BLOCK_ENTRIES] ?? null;
  }

  async #write<N extends "combine" | "mask" | "assume" | "copy" | "mixRows" | "combineColumns">(
    stage: Stage<N>,
  ): Promise<void> {
    const { blocks } = stage;
    await this.crew.run(stage, (parts) => {
      this.journal.recordBlocks(
        parts.map(({ index, part }) => {
          const { tensor, start } = blocks[index] as Block;
          return { tensor, start, written: part };
        }),
      );
    });
  }

  result(strict: boolean): RunResult {
    const counters: Record<string, number> = Object.fromEntries(
      Object.keys(this.method.counters).map((name) => [name, 0]),
    );
    const warnings: string[] = [];
    const tensors = this.plan.tensors.map((tensor, index): TensorResult => {
      if (tensor.mask !== undefined) return maskResult(tensor.name, this.#parts(tensor.mask.over), tensor.mask.input);
      const parts = this.#parts(index);
      let nonFinite = 0;
      let nonFiniteInputs: number[] | null = null;
      for (const part of parts) {
        nonFinite += part.nonFinite;
        if (part.nonFiniteInputs !== null) {
          nonFiniteInputs = part.nonFiniteInputs.map((count, i) => count + (nonFiniteInputs?.[i] ?? 0));
        }
        if (tensor.tiedTo === null) {
          for (const [name, count] of Object.entries(part.counters)) counters[name] = (counters[name] ?? 0) + count;
        }
      }
      if (nonFinite > 0) warnings.push(this.#nonFiniteWarning(tensor, nonFinite, nonFiniteInputs, strict));
      const told = parts[0]?.solved;
      if (told !== undefined) warnings.push(...told.warnings.map((text) => `${tensor.name}: ${text}`));
      const checksum = blockTreeChecksum(parts.map(({ digest }) => digest));
      const masks = tensor.inputs.map((_, input) => maskSums(tensor.entries, parts, input));
      const isMasked = parts[0]?.masks !== undefined;
      const baseChecksum = isMasked ? blockTreeChecksum(parts.map((part) => part.baseDigest!)) : null;
      return {
        name: tensor.name,
        checksum,
        nonFinite,
        nonFiniteInputs,
        masks: isMasked ? masks : null,
        baseChecksum,
        figures: told?.figures ?? null,
      };
    });
    return { resumed: this.journal.resumed, tensors, counters, warnings, ...this.#trimmed() };
  }

  /** What is known of a tensor's blocks, in their order. */
  #parts(index: number): WrittenBlock[] {
    const written = this.journal.written.get(index);
    return Array.from({ length: blockCount(this.plan.tensors[index]!.entries) }, (_, block) => written!.get(block)!);
  }

  #nonFiniteWarning(
    tensor: PlannedTensor,
    nonFinite: number,
    inputs: readonly number[] | null,
    strict: boolean,
  ): string {
    const models = this.plan.inputs.filter(({ role }) => role === "model");
    const names = [...tensor.inputs.map(({ model }) => models[model]?.name ?? "the base"), "the base"];
    const found = (inputs ?? []).flatMap((count, i) => (count > 0 ? [`${count} in ${names[i]}`] : []));
    const origin = found.length > 0 ? found.join(", ") : `no input; the result exceeds the range of ${tensor.dtype}`;
    const text = `${tensor.name}: ${nonFinite} NaN or infinite entries in the output (${origin})`;
    // What is copied was asked to stay as it is.
    if (!strict || tensor.action === "copy") return text;
    throw new MergewrightError("a merged tensor holds NaN or infinite entries", {
      kind: "check",
      code: "values/non-finite",
      where: { tensor: tensor.name },
      found: `${nonFinite} in the output (${origin})`,
      advice: "repair or leave out the input, exclude the tensor, or merge without --strict",
    });
  }

  /** Entries kept by threshold, summed over groups. */
  #trimmed(): Pick<RunResult, "kept" | "thresholds"> {
    const kept = Array.from({ length: this.models }, () => ({ kept: 0, entries: 0 }));
    let any = false;
    let thresholds: readonly number[] | null = null;
    for (const [key, known] of this.#known) {
      const value = known.threshold ?? known["norm-share"];
      if (value === undefined) continue;
      any = true;
      if (key === "") ({ thresholds } = value);
      for (const [model, count] of value.kept.entries()) {
        kept[model]!.kept += count;
        kept[model]!.entries += value.entries;
      }
    }
    return { kept: any ? kept : null, thresholds };
  }
}

/** Settings with one entry per model of the plan; a model that a tensor lacks takes them from one that has it. */
export function groupSettings(plan: Plan, tensors: readonly number[], models: number): Settings {
  const planned = tensors.map((index) => plan.tensors[index]!);
  const own = Array.from({ length: models }, (_, model) => {
    for (const { inputs, settings } of planned) {
      const at = inputs.findIndex((input) => input.model === model);
      if (at >= 0) return settings!.models[at]!;
    }
    return planned[0]!.settings!.global;
  });
  return { global: planned[0]!.settings!.global, models: own };
}

function maskResult(name: string, parts: readonly WrittenBlock[], input: number): TensorResult {
  const checksum = blockTreeChecksum(parts.map(({ masks }) => masks![input]!.digest));
  return { name, checksum, nonFinite: 0, nonFiniteInputs: null, masks: null, baseChecksum: null, figures: null };
}

/** Joined in block order. */
function maskSums(entries: number, parts: readonly WrittenBlock[], input: number): MaskSums {
  const masks = parts.flatMap((part) => part.masks?.[input] ?? []);
  return {
    entries,
    kept: masks.reduce((sum, { kept }) => sum + kept, 0),
    change: sumOf(masks.map(({ change }) => change)),
    shared: sumOf(masks.map(({ shared }) => shared)),
  };
}

/** A method's scores with what gives their numbers for a tensor of the plan. */
export function scoresOf(plan: Plan, method: TileMethod, models: number): ScoresOf {
  return (name) => {
    const score = method.scores![name]!;
    const argsOf = (index: number, known: Known) => {
      const tensor = plan.tensors[index]!;
      return score.bind(tensor.settings!, knownFor(known, tensor, models));
    };
    return { score, argsOf };
  };
}

/** The statistics of a group, reduced to those of its `models` that a tensor has. */
export function knownFor(known: Known, { inputs, collected }: PlannedTensor, models: number): Known {
  const pick = (values: readonly number[]) => inputs.map(({ model }) => values[model]!);
  const { threshold, votes, moments, energy, overlap, scores } = known;
  const present = inputs.map(({ model }) => model);
  const pickScores = ({ per, rows }: ScoresValue) => ({
    per,
    rows: rowsOf(per, present, models).map((row) => rows[row]!),
  });
  const share = known["norm-share"];
  return {
    ...(threshold && {
      threshold: { ...threshold, thresholds: pick(threshold.thresholds), kept: pick(threshold.kept) },
    }),
    ...(collected && { collected }),
    ...(votes && { votes }),
    ...(moments && { moments: { ...moments, mean: pick(moments.mean), deviation: pick(moments.deviation) } }),
    ...(energy && { energy: { energy: pick(energy.energy) } }),
    ...(overlap && { overlap: { shared: pick(overlap.shared), unique: pick(overlap.unique) } }),
    ...(scores && {
      scores: Object.fromEntries(Object.entries(scores).map(([key, value]) => [key, pickScores(value)])),
    }),
    ...(share && { "norm-share": { ...share, thresholds: pick(share.thresholds), kept: pick(share.kept) } }),
  };
}

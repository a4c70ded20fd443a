/**
 * What is done to one module at a time, as plain data, so that any thread can do it: read the factors, compute, hand
 * back factors. Memory is that of one module's matrices.
 */
import type { Algebra, Matrix } from "../algebra/algebra.js";
import type { ByteSource } from "../sources/source.js";
import type { LoraModule } from "../adapters/adapter.js";
import { readFactors } from "../adapters/adapter.js";
import { coreSpace } from "./core_space.js";
import { denseUpdates } from "./dense.js";
import { align } from "./knots.js";
import type { Aligned } from "./knots.js";
import { concatenate, toF64 } from "./low_rank.js";
import type { LowRank, Term } from "./low_rank.js";
import { fromCore, frobenius, recompress, truncate } from "./recompress.js";
import type { Cutoff, Recompressed } from "./recompress.js";

/** A module of one adapter, and what its update is multiplied by. */
export interface Part {
  /** Index into `ModuleWork.sources`. */
  readonly source: number;
  readonly module: LoraModule;
  readonly scale: number;
}

/** An open source, or what another thread opens one by. */
export interface AdapterSource<S> {
  /** The adapter's, for messages. */
  readonly label: string;
  readonly source: S;
}

/** What is done; plain data. */
export type Action =
  /** The sum, exactly where `cutoff` is `null`. @param rounded A is multiplied as PEFT does it (roundedTwice). */
  | { readonly do: "sum"; readonly cutoff: Cutoff | null; readonly rounded?: boolean }
  /** Coordinates in the common subspace. */
  | { readonly do: "cores" }
  /** From merged coordinates back. @param cores one per expert. */
  | { readonly do: "expand"; readonly cores: readonly Float32Array[]; readonly cutoff: Cutoff }
  /** The V_t of KnOTS. */
  | { readonly do: "align" }
  /** The update of the one part as it is, [out, in], without its weight. */
  | { readonly do: "dense" }
  /** How far an update is from the sum. @param updates one per expert, already times its scaling. */
  | { readonly do: "apart"; readonly updates: readonly LowRank[] }
  /** Of no part: a matrix, or a sum of factors, at a rank. */
  | { readonly do: "refactor"; readonly update: Matrix; readonly cutoff: Cutoff }
  | { readonly do: "recompress"; readonly terms: readonly Term[]; readonly cutoff: Cutoff };

export interface ModuleWork<S> {
  readonly sources: readonly AdapterSource<S>[];
  /** Those of the adapters that have the module, in recipe order. */
  readonly parts: readonly Part[];
  readonly action: Action;
}

/** Coordinates of one expert's updates, [rows, columns], in the order of the parts. */
export interface Cores {
  readonly rows: number;
  readonly columns: number;
  readonly parts: readonly Float32Array[];
}

/** One entry per expert (one, where there are none). */
export type ModuleResult =
  | { readonly kind: "updates"; readonly updates: readonly Recompressed[] }
  | { readonly kind: "cores"; readonly cores: readonly Cores[] }
  | { readonly kind: "aligned"; readonly experts: readonly Aligned[] }
  | { readonly kind: "dense"; readonly experts: readonly Matrix[] }
  /** Squared Frobenius norms: of the difference, of the sum. */
  | { readonly kind: "apart"; readonly away: number; readonly whole: number };

export async function workOnModule(algebra: Algebra, work: ModuleWork<ByteSource>): Promise<ModuleResult> {
  const { action } = work;
  if (action.do === "refactor") {
    return { kind: "updates", updates: [refactor(algebra, action.update, action.cutoff)] };
  }
  if (action.do === "recompress") {
    return { kind: "updates", updates: [recompress(algebra, action.terms, action.cutoff)] };
  }
  if (action.do === "dense") {
    const [{ source, module }] = work.parts as [Part];
    return { kind: "dense", experts: await denseUpdates(algebra, work.sources[source]!, module, null) };
  }
  const experts = await readTerms(work);
  if (action.do === "align") return { kind: "aligned", experts: experts.map((terms) => align(algebra, terms)) };
  if (action.do === "apart") return apart(algebra, experts, action.updates);
  if (action.do === "cores") return { kind: "cores", cores: experts.map((terms) => coresOf(algebra, terms)) };
  const updates = experts.map((terms, expert) => {
    if (action.do === "expand") return expand(algebra, terms, action.cores[expert]!, action.cutoff);
    if (action.cutoff !== null) return recompress(algebra, terms, action.cutoff);
    return exactly(algebra, action.rounded ? roundedTwice(terms, work.parts) : terms);
  });
  return { kind: "updates", updates };
}

function apart(algebra: Algebra, experts: readonly (readonly Term[])[], updates: readonly LowRank[]): ModuleResult {
  let [away, whole] = [0, 0];
  for (const [expert, terms] of experts.entries()) {
    const negative = terms.map((term) => ({ ...term, scale: -term.scale }));
    away += recompress(algebra, [{ ...updates[expert]!, scale: 1 }, ...negative], { rank: 1 }).norm ** 2;
    whole += recompress(algebra, terms, { rank: 1 }).norm ** 2;
  }
  return { kind: "apart", away, whole };
}

/** Terms per expert. */
export async function readTerms({
  sources,
  parts,
}: Pick<ModuleWork<ByteSource>, "sources" | "parts">): Promise<Term[][]> {
  const experts: Term[][] = [];
  for (const { source, module, scale } of parts) {
    const all = await readFactors(sources[source]!, module);
    for (const [expert, { a, b, out, rank, in: width }] of all.entries()) {
      (experts[expert] ??= []).push({
        a: { rows: rank, columns: width, data: a },
        b: { rows: out, columns: rank, data: b },
        scale,
      });
    }
  }
  return experts;
}

function exactly(algebra: Algebra, terms: readonly Term[]): Recompressed {
  const { norm } = recompress(algebra, terms, { rank: 1 });
  return { ...concatenate(terms), error: 0, norm };
}

/** PEFT multiplies A, as it is stored, by the weight and then by the scaling, and rounds both times. */
function roundedTwice(terms: readonly Term[], parts: readonly Part[]): Term[] {
  const { fround } = Math;
  return terms.map(({ a, b, scale }, index) => {
    const { scaling, layout } = parts[index]!.module;
    const weight = fround(scale / scaling);
    const times = ({ data, ...shape }: Matrix): Matrix => {
      return { ...shape, data: data.map((value) => fround(value * weight) * fround(scaling)) };
    };
    return layout === "embedding" ? { a, b: times(b), scale: 1 } : { a: times(a), b, scale: 1 };
  });
}

function coresOf(algebra: Algebra, terms: readonly Term[]): Cores {
  const { cores } = coreSpace(algebra, terms);
  const { rows, columns } = cores[0]!;
  return { rows, columns, parts: cores.map(({ data }) => Float32Array.from(data)) };
}

function expand(algebra: Algebra, terms: readonly Term[], merged: Float32Array, cutoff: Cutoff): Recompressed {
  const { left, right, cores } = coreSpace(algebra, terms);
  const { rows, columns } = cores[0]!;
  return fromCore(algebra, left, toF64({ rows, columns, data: merged }), right, cutoff);
}

/**
 * What trimming leaves has a flat spectrum, whose leading vectors the usual two power iterations miss: by 6e-3 of the update on
 * the zoo's adapters at rank 8, where eight of them are 3e-8 from the exact decomposition.
 */
const FLAT = { powerIterations: 8 };

/** A dense update, [out, in], in factors. */
export function refactor(algebra: Algebra, update: Matrix, cutoff: Cutoff): Recompressed {
  if (frobenius(update.data) > 0) return truncate(algebra, update, cutoff, FLAT);
  const a = { rows: 1, columns: update.columns, data: new Float32Array(update.columns) };
  return { a, b: { rows: update.rows, columns: 1, data: new Float32Array(update.rows) }, error: 0, norm: 0 };
}

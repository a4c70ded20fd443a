/**
 * A LoRA out of a fine-tune: the change of every weight matrix at a low rank. Matrices are read and cut one at a time; the
 * adapter is what is held.
 */
import type { AdapterDraft, DraftTensor } from "../adapters/draft.js";
import { draftTensor, loraConfig, peftKey } from "../adapters/draft.js";
import { defect } from "../adapters/defect.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { embeddingsAreTied, roleOf, tiedGroups } from "../models/families.js";
import { isFloat } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { matches } from "../recipe/pattern.js";
import type { ByteSource } from "../sources/source.js";
import { readModelTensor } from "./base_tensors.js";
import type { Difference, DifferenceWork } from "./difference.js";
import { loraTensors } from "./draft_of.js";
import type { AdapterProgress, ModuleReport } from "./given.js";
import { together } from "./given.js";
import { frobenius } from "./recompress.js";
import type { Recompressed } from "./recompress.js";
import type { Rest } from "./rests.js";

export type { Rest } from "./rests.js";

export interface ExtractWish {
  /** Largest rank; with `auto` the most that is looked at (default 128). */
  readonly rank: number | null;
  readonly energy: number | null;
  readonly auto: boolean;
  /** Patterns on tensor names; empty: all. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly rest: Rest;
  /** Of the factors. */
  readonly dtype: FloatDtype;
}

/** All tensors, in F32, at a rank that is yet to be said. */
export const EXTRACT_DEFAULTS: ExtractWish = {
  rank: null,
  energy: null,
  auto: false,
  include: [],
  exclude: [],
  rest: "save",
  dtype: "F32",
};

/** Of a tensor that is no module's weight. */
export interface RestReport {
  readonly tensor: string;
  /** Frobenius norm of its change. */
  readonly norm: number;
  readonly saved: boolean;
}

export interface ExtractReport {
  readonly model: string;
  readonly base: string;
  readonly modules: readonly ModuleReport[];
  readonly rest: readonly RestReport[];
  /** Weights that did not change. */
  readonly unchanged: number;
  /** ‖change − what the adapter says‖ / ‖change‖ over all tensors, those left out included. */
  readonly error: number;
  readonly parameters: number;
  readonly warnings: readonly string[];
}

/** Works on all, on as many threads as there are; `done` is called once for each, in any order. */
export type WorkOnDifferences = (
  works: readonly DifferenceWork<ByteSource>[],
  done: (index: number, result: Difference) => void,
) => Promise<void>;

export async function extractLora(
  model: Checkpoint,
  base: Checkpoint,
  wish: ExtractWish,
  workOn: WorkOnDifferences,
  progress: (progress: AdapterProgress) => void = () => {},
): Promise<{ draft: AdapterDraft; report: ExtractReport }> {
  checkWish(wish);
  const pairs = pairsOf(model, base, wish);
  const weights = pairs.filter(({ asModule }) => asModule !== null);
  const updates: Recompressed[] = [];
  let done = 0;
  await workOn(
    weights.map((pair) => workOf(model, base, pair, wish)),
    (index, { update }) => {
      updates[index] = update;
      progress({ doing: "extracting", done: ++done, of: weights.length });
    },
  );
  const changed = weights.flatMap(({ asModule }, index) => {
    const update = updates[index]!;
    return update.a.rows === 0 ? [] : [{ module: asModule!, update }];
  });
  const others = pairs.filter(({ asModule }) => asModule === null);
  const paths = new Set(changed.map(({ module: { path } }) => path));
  const rest = await restOf(model, base, others, { paths, isSaved: wish.rest === "save" });
  if (changed.length === 0 && rest.tensors.length === 0) {
    throw defect("plan/nothing-to-merge", "the model does not differ from its base in anything that was looked at", {
      where: { file: model.label },
      expected: `weights other than those of ${base.label}`,
      advice: "check both paths and the patterns",
    });
  }
  const tensors = [
    ...changed.flatMap(({ module, update }) => loraTensors(module, [update], wish.dtype)),
    ...rest.tensors,
  ];
  const modules = changed.map(({ module, update }) => reportOf(module.path, update));
  const lost = rest.reports.map(({ norm, saved }) => ({ norm, error: saved ? 0 : 1 }));
  return {
    draft: { config: configOf(changed, rest, base), tensors },
    report: {
      model: model.label,
      base: base.label,
      modules,
      rest: rest.reports,
      unchanged: weights.length - changed.length,
      error: together([...changed.map(({ update }) => update), ...lost]),
      parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0),
      warnings: warningsOf(rest),
    },
  };
}

function checkWish({ rank, energy, auto }: ExtractWish): void {
  const clash = auto && energy !== null;
  if (!clash && (rank !== null || energy !== null || auto)) return;
  throw defect("usage", clash ? "--auto and --energy both choose the rank" : "it is not said how much to keep", {
    expected: "--rank 16, --energy 0.95 (with --rank as the most), or --auto",
    advice: clash ? "leave one of them out" : "give one of these",
  });
}

/** A module that a LoRA can stand for, with its weight as a matrix. */
interface NewWeight {
  readonly path: string;
  readonly first: { readonly layout: "linear" | "conv"; readonly a: { readonly shape: readonly number[] } };
  readonly rows: number;
  readonly columns: number;
}

interface Pair {
  readonly name: string;
  readonly model: StoredTensor & { readonly dtype: FloatDtype };
  readonly base: StoredTensor & { readonly dtype: FloatDtype };
  readonly asModule: NewWeight | null;
}

/** Tensors of both models, by name; tied copies once. */
function pairsOf(model: Checkpoint, base: Checkpoint, { include, exclude }: ExtractWish): Pair[] {
  const tied = new Set(tiedGroups(base.config, base.tensors.keys()).flatMap(({ aliases }) => aliases));
  const wanted = (name: string) =>
    (include.length === 0 || include.some((pattern) => matches(pattern, name))) &&
    !exclude.some((pattern) => matches(pattern, name)) &&
    !tied.has(name);
  const pairs: Pair[] = [];
  for (const name of [...base.tensors.keys()].filter(wanted).sort()) {
    const ours = base.tensors.get(name)!;
    const theirs = model.tensors.get(name);
    if (!isFloat(ours.dtype)) continue;
    if (theirs === undefined || !isFloat(theirs.dtype) || String(theirs.shape) !== String(ours.shape)) {
      throw defect("plan/shape", "the model does not have the tensors of its base", {
        where: { file: model.label, tensor: name },
        expected: `${ours.dtype} [${ours.shape.join(", ")}]`,
        found: theirs === undefined ? "no such tensor" : `${theirs.dtype} [${theirs.shape.join(", ")}]`,
        advice: `give the base that it was fine-tuned from, or leave the tensor out: --exclude '${name}'`,
      });
    }
    pairs.push({
      name,
      model: theirs as Pair["model"],
      base: ours as Pair["base"],
      asModule: moduleOf(name, ours.shape),
    });
  }
  const foreign = [...model.tensors.keys()].find((name) => !base.tensors.has(name) && wanted(name));
  if (foreign === undefined) return pairs;
  throw defect("plan/missing-tensor", "the model has a tensor that its base has not", {
    where: { file: model.label, tensor: foreign },
    advice: `leave it out: --exclude '${foreign}'`,
  });
}

/** Linear layers and convolutions; embeddings, heads that share their rows with them, and vectors are not. */
function moduleOf(name: string, shape: readonly number[]): NewWeight | null {
  const isMatrix = shape.length >= 2 && shape.length <= 5 && !shape.includes(0);
  if (!name.endsWith(".weight") || !isMatrix || roleOf(name) === "vocabulary" || /embed/i.test(name)) return null;
  const [rows, ...others] = shape as [number, ...number[]];
  const columns = others.reduce((product, size) => product * size, 1);
  const layout = shape.length === 2 ? "linear" : "conv";
  return { path: name.slice(0, -".weight".length), first: { layout, a: { shape } }, rows, columns };
}

function workOf(model: Checkpoint, base: Checkpoint, pair: Pair, wish: ExtractWish): DifferenceWork<ByteSource> {
  const { rank, energy, auto } = wish;
  const { rows, columns } = pair.asModule!;
  const place = (stored: Pair["model"], source: number) => {
    return { source, offset: stored.offset, length: stored.length, dtype: stored.dtype };
  };
  return {
    sources: [
      { label: model.label, source: model.shards[pair.model.shard]!.source },
      { label: base.label, source: base.shards[pair.base.shard]!.source },
    ],
    name: pair.name,
    model: place(pair.model, 0),
    base: place(pair.base, 1),
    rows,
    columns,
    cutoff: { ...(rank !== null && { rank }), ...(energy !== null && { energy }) },
    knee: auto,
  };
}

interface RestResult {
  readonly tensors: readonly DraftTensor[];
  readonly reports: readonly RestReport[];
  /** Modules that are saved whole. */
  readonly modules: readonly string[];
  /** Whether biases of LoRA modules are among them. */
  readonly biases: boolean;
}

/** @param how `paths`: of the LoRA modules, whose biases become theirs. */
async function restOf(
  model: Checkpoint,
  base: Checkpoint,
  pairs: readonly Pair[],
  { paths, isSaved }: { readonly paths: ReadonlySet<string>; readonly isSaved: boolean },
): Promise<RestResult> {
  const tensors: DraftTensor[] = [];
  const reports: RestReport[] = [];
  const modules = new Set<string>();
  let biases = false;
  for (const { name, model: stored } of pairs) {
    const { data, shape } = await readModelTensor(model, name);
    const before = await readModelTensor(base, name);
    const change = data.map((value, i) => value - before.data[i]!);
    const norm = frobenius(change);
    if (norm === 0) continue;
    reports.push({ tensor: name, norm, saved: isSaved });
    if (!isSaved) continue;
    const path = name.replace(/\.(?:weight|bias)$/, "");
    if (name.endsWith(".bias") && paths.has(path)) {
      tensors.push(draftTensor(peftKey(path, "lora_B.bias"), shape, change));
      biases = true;
    } else {
      tensors.push(draftTensor(`base_model.model.${name}`, shape, data, stored.dtype));
      modules.add(path);
    }
  }
  return { tensors, reports, modules: [...modules].sort(), biases };
}

function reportOf(module: string, { a, norm, error }: Recompressed): ModuleReport {
  return { module, rank: a.rows, norm, error };
}

function configOf(
  changed: readonly { readonly module: NewWeight; readonly update: Recompressed }[],
  rest: RestResult,
  base: Checkpoint,
): AdapterDraft["config"] {
  const shapes = changed.map(({ module: { path }, update: { a } }) => ({ path, rank: a.rows, alpha: a.rows }));
  return loraConfig(shapes, {
    base_model_name_or_path: base.label,
    modules_to_save: rest.modules.length === 0 ? null : rest.modules,
    lora_bias: rest.biases,
    // Without it a saved embedding parts from the head that shares its rows.
    ...(sharesRows(rest, base) && { ensure_weight_tying: true }),
  });
}

function sharesRows({ reports }: RestResult, base: Checkpoint): boolean {
  return (
    embeddingsAreTied(base.config) && reports.some(({ tensor, saved }) => saved && roleOf(tensor) === "vocabulary")
  );
}

function warningsOf({ reports, modules }: RestResult): string[] {
  const bare = reports.filter(({ tensor, saved }) => saved && modules.includes(tensor)).map(({ tensor }) => tensor);
  const left = reports.filter(({ saved }) => !saved);
  return [
    ...(left.length === 0 ? [] : [`left out, although changed: ${left.map(({ tensor }) => tensor).join(", ")}`]),
    ...(bare.length === 0
      ? []
      : [`saved whole, but parameters without a module of their own, which PEFT does not load: ${bare.join(", ")}`]),
  ];
}

import { keyOf, placeOf } from "../analyse/recorded.js";
import type { RunResult } from "../execute/run.js";
import { planHash } from "../execute/journal.js";
import { xxh64 } from "../numbers/checksum.js";
import type { Plan, PlannedSource } from "../plan/types.js";
import { stringifyRecipe } from "../recipe/write.js";
import type { Recipe } from "../recipe/recipe.js";
import { VERSION } from "../version.js";
import { recordedFigures } from "./figures.js";
import type { Figures } from "./figures.js";

export { PROVENANCE_FILE } from "../analyse/recorded.js";

/**
 * What a result was made of and how, written into it. Nothing in it depends on the machine, the time or the number of
 * threads, so that equal inputs and an equal recipe give equal bytes.
 */
export interface Provenance {
  readonly mergewright: string;
  readonly format: 1;
  /** Hash of the plan; equal plans over equal inputs make equal files. */
  readonly plan: string;
  readonly method: string;
  /** XXH64 of the module of a method of one's own. */
  readonly methodHash?: string;
  readonly dialect: string;
  readonly seed: number;
  /** The complete recipe as YAML, every default written out; of a task's model, that of its artifact. */
  readonly recipe: string;
  /** Of a task's model: which task of which artifact, as given, and the fingerprint of its base. */
  readonly artifact?: { readonly folder: string; readonly task: string; readonly fingerprint: string };
  readonly inputs: readonly ProvenanceInput[];
  /** Merges that were inputs and are written nowhere, each after those that it reads. */
  readonly merges?: readonly ProvenanceMerge[];
  /** Weight files; header: XXH64 of the 8 length bytes and the header. */
  readonly outputs: readonly { readonly file: string; readonly bytes: number; readonly header?: string }[];
  /** Configs, indexes and copies of small files; XXH64 of the content where the plan made it, else whose copy it is. */
  readonly sideFiles?: readonly { readonly file: string; readonly checksum?: string; readonly input?: number }[];
  /** Per tensor: XXH64 over the XXH64 of its blocks of 262,144 entries. */
  readonly checksums: Readonly<Record<string, string>>;
  readonly counts: ProvenanceCounts;
  /** What the method told of tensors that it solved as whole matrices: residuals, condition numbers, steps. */
  readonly figures?: Figures;
  readonly skipped: readonly { readonly model: string; readonly name: string; readonly reason: string }[];
  readonly warnings: readonly string[];
}

export interface ProvenanceInput {
  readonly role: string;
  readonly name: string;
  readonly model: string;
  readonly files: readonly {
    readonly file: string;
    readonly bytes: number;
    readonly modified: string;
    readonly header: string;
    /** SHA-256 of the whole file, as `sha256:…`; only where it was asked for. */
    readonly content?: string;
  }[];
  /** Key of a merge that was read without being written; it has no files of its own. */
  readonly merge?: string;
}

export interface ProvenanceMerge
  extends Pick<Provenance, "plan" | "method" | "methodHash" | "dialect" | "seed" | "recipe" | "inputs"> {
  readonly key: string;
}

export interface ProvenanceCounts {
  readonly tensors: { readonly merged: number; readonly copied: number; readonly skipped: number };
  readonly mergedEntries: number;
  /** Per model: how many entries of its task vector the trim kept. */
  readonly kept: Readonly<Record<string, { readonly kept: number; readonly entries: number }>> | null;
  readonly counters: Readonly<Record<string, number>>;
  readonly nonFinite: number;
}

/**
 * @param contents hashes of whole input files, by path.
 * @param written small files that follow from the result.
 */
export function provenanceOf(
  recipe: Recipe,
  plan: Plan,
  result: RunResult,
  contents: ReadonlyMap<string, string>,
  written: readonly { readonly file: string; readonly text: string }[] = [],
): Provenance {
  const made = {
    method: recipe.method.name,
    dialect: recipe.dialect,
    seed: recipe.seed,
    recipe: stringifyRecipe(recipe),
  };
  return recordOf(made, plan, result, contents, written);
}

/** `provenanceOf`, for what was made otherwise than by a recipe. */
export function recordOf(
  made: Pick<Provenance, "method" | "dialect" | "seed" | "recipe" | "artifact">,
  plan: Plan,
  result: RunResult,
  contents: ReadonlyMap<string, string>,
  written: readonly { readonly file: string; readonly text: string }[],
): Provenance {
  const models = plan.inputs.filter(({ role }) => role === "model");
  const { kept } = result;
  const figures = recordedFigures(result, (index) => tensorKey(plan, index));
  const count = (action: string) => plan.tensors.filter((tensor) => tensor.action === action).length;
  return {
    mergewright: VERSION,
    format: 1,
    plan: planHash(plan),
    ...made,
    ...(plan.methodHash !== null && { methodHash: plan.methodHash }),
    inputs: inputsOf(plan, contents),
    ...(plan.merges.length > 0 && { merges: mergesOf(plan, contents) }),
    outputs: plan.files.map(({ name, size, header }) => ({ file: name, bytes: size, header: xxh64(header) })),
    sideFiles: [
      ...plan.sideFiles.map((file) => {
        return "text" in file
          ? { file: file.name, checksum: checksumOf(file.text) }
          : { file: file.name, input: file.input };
      }),
      ...written.map(({ file, text }) => ({ file, checksum: checksumOf(text) })),
    ],
    checksums: Object.fromEntries(result.tensors.map(({ checksum }, index) => [tensorKey(plan, index), checksum])),
    counts: {
      tensors: { merged: count("merge"), copied: count("copy"), skipped: plan.skipped.length },
      mergedEntries: plan.estimate.mergedEntries,
      kept: kept === null ? null : Object.fromEntries(models.map(({ name }, i) => [name, kept[i]!])),
      counters: result.counters,
      nonFinite: result.tensors.reduce((sum, { nonFinite }) => sum + nonFinite, 0),
    },
    ...(figures !== null && { figures }),
    skipped: plan.skipped,
    warnings: [...plan.warnings, ...result.warnings],
  };
}

function inputsOf(plan: Plan, contents: ReadonlyMap<string, string>): ProvenanceInput[] {
  return plan.inputs.map(({ role, name, label }, input): ProvenanceInput => {
    // Rows in another vocabulary are no file; the files that they come from are listed.
    const own = plan.sources.filter((source) => source.input === input && source.address?.kind !== "rows");
    const address = own[0]?.address;
    if (address?.kind === "merge") return { role, name, model: label, files: [], merge: address.key };
    return { role, name, model: label, files: own.map((source) => fileOf(source, contents)) };
  });
}

function mergesOf({ merges }: Plan, contents: ReadonlyMap<string, string>): ProvenanceMerge[] {
  return merges.map(({ key, dialect, recipe, plan }) => {
    const { method, methodHash, seed } = plan;
    const own = methodHash !== null && { methodHash };
    return { key, plan: planHash(plan), method, ...own, dialect, seed, recipe, inputs: inputsOf(plan, contents) };
  });
}

function fileOf({ file, stamp, headerHash, address }: PlannedSource, contents: ReadonlyMap<string, string>) {
  const content = address?.kind === "file" ? contents.get(address.path) : undefined;
  return {
    file: baseName(file),
    bytes: stamp.size,
    modified: stamp.version,
    header: headerHash,
    ...(content && { content }),
  };
}

/** As it is written: JSON that a person can read, lists of numbers in one line each. */
export function provenanceText(provenance: Provenance): string {
  // No string has a line break of its own in JSON.
  const numbers = /\[\n\s+(?:(?:-?\d[\d.e+-]*|null),?\n\s*)+\]/g;
  const oneLine = (list: string) => list.replaceAll(/\n\s*/g, "").replaceAll(",", ", ");
  return `${JSON.stringify(provenance, null, 2).replaceAll(numbers, oneLine)}\n`;
}

/** A tensor's name; of a separate head with its folder, since names repeat there. */
export function tensorKey(plan: Plan, index: number): string {
  const { name, file } = plan.tensors[index]!;
  return keyOf(placeOf(plan.files[file]!.name).folder, name);
}

function checksumOf(text: string): string {
  return xxh64(new TextEncoder().encode(text));
}

function baseName(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1);
}

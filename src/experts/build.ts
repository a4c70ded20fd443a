/**
 * Builds experts: every model's change of every tensor, one at a time, in the form that the method says. What is made lies
 * in a file of its own beside the artifact's parts until all sizes are known, so that a killed run does nothing twice.
 */
import type { AlgebraCrew } from "../algebra/crew.js";
import { placeOf } from "../analyse/recorded.js";
import { MergewrightError } from "../errors.js";
import { BLOCK_ENTRIES, MASK_BLOCK_BYTES } from "../execute/blocks.js";
import type { Journal } from "../execute/journal.js";
import type { Progress } from "../execute/meter.js";
import type { RunResult, TensorResult } from "../execute/run.js";
import type { Workspace } from "../execute/workspace.js";
import { EXPERT_PARTS } from "../plan/artifact.js";
import type { ExpertOf, ExpertPart } from "../plan/artifact.js";
import type { OpenInputs, Plan, PlannedExpert, PlannedTensor, Stream } from "../plan/types.js";
import type { Recipe } from "../recipe/recipe.js";
import { blockTreeChecksum, xxh64 } from "../numbers/checksum.js";
import { widen } from "../numbers/convert.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { Dtype, FloatDtype } from "../numbers/dtypes.js";
import { joined } from "../numbers/joined.js";
import type { ByteSource } from "../sources/source.js";
import { expertTask } from "./changes.js";
import type { ExpertBytes, ExpertChange, MadeExpert } from "./changes.js";

/** One tensor of one expert, as it was made. */
export interface BuiltExpert extends MadeExpert {
  readonly tensor: string;
  readonly shape: readonly number[];
  /** Index among the models. */
  readonly model: number;
  /** Bytes of its parts. */
  readonly bytes: number;
}

export interface Built {
  readonly experts: readonly BuiltExpert[];
  /** By job: bytes of each part in the file in which they lie. */
  readonly sizes: ReadonlyMap<string, Noted["sizes"]>;
  /** By tensor: checksum of what the changes are taken from. */
  readonly references: ReadonlyMap<string, string>;
}

export interface BuildOptions {
  readonly crew: AlgebraCrew;
  readonly progress?: (progress: Progress) => void;
}

/** In the journal: what was made, and the checksum of its file. */
interface Noted {
  readonly made: MadeExpert;
  readonly sizes: Readonly<Partial<Record<ExpertPart, number>>>;
  readonly checksum: string;
  readonly reference: string;
}

/**
 * Makes what every model adds.
 * @param plan before sizes are known; where experts are over the merge, it has been written into the workspace.
 */
export async function buildExperts(
  recipe: Recipe,
  plan: Plan,
  inputs: OpenInputs,
  workspace: Workspace,
  journal: Journal,
  { crew, progress }: BuildOptions,
): Promise<Built> {
  const building = new Building(recipe, plan, workspace, inputs);
  const jobs = building.jobs();
  const found = jobs.map((job) => building.known(journal, job));
  const missing = jobs.flatMap((_, index) => (found[index] === null ? [index] : []));
  const totalBytes = missing.reduce((sum, index) => sum + jobs[index]!.bytes, 0);
  let doneBytes = 0;
  await crew.map(expertTask, missing.length, {
    input: (order) => building.change(jobs[missing[order]!]!),
    done(order, output) {
      const index = missing[order]!;
      const job = jobs[index]!;
      const noted = building.keep(job, output);
      journal.recordNote(job.key, noted);
      found[index] = noted;
      doneBytes += job.bytes;
      progress?.({ phase: "experts", doneBytes, totalBytes });
    },
  });
  const experts: BuiltExpert[] = [];
  const references = new Map<string, string>();
  const sizes = new Map<string, Noted["sizes"]>();
  for (const [index, { key, tensor, model }] of jobs.entries()) {
    const noted = found[index]!;
    const bytes = Object.values(noted.sizes).reduce((sum, size) => sum + size, 0);
    experts.push({ tensor: tensor.name, shape: tensor.shape, model, bytes, ...noted.made });
    references.set(tensor.name, noted.reference);
    sizes.set(key, noted.sizes);
  }
  return { experts: withoutUntouched(experts), references, sizes };
}

/** A tensor that no model changes has no experts, nor has the bias of a gated layer whose matrix has none. */
function withoutUntouched(experts: readonly BuiltExpert[]): BuiltExpert[] {
  const changed = new Set(experts.filter(({ norm }) => norm > 0).map(({ tensor }) => tensor));
  for (const { tensor, gate } of experts) {
    if (gate > 0 && !changed.has(tensor)) changed.delete(`${tensor.slice(0, -".weight".length)}.bias`);
  }
  return experts.map((expert) =>
    changed.has(expert.tensor) ? expert : { ...expert, kind: "none", rank: 0, gate: 0, kept: 0, bytes: 0 },
  );
}

/** Of models that change nothing that experts are made of: their factors are zeros, and no token is drawn to them. */
export function emptyWarnings({ experts }: Built, { models }: Recipe): string[] {
  const changing = new Set(experts.filter(({ norm }) => norm > 0).map(({ model }) => model));
  const made = new Set(experts.map(({ model }) => model));
  return [...made]
    .filter((model) => !changing.has(model))
    .map((model) => `${models[model]!.name} is what the tasks share; its expert adds nothing`);
}

/** Per model and tensor: form, rank, bytes and the relative error of what is stored. */
export function expertsText({ experts }: Built, { models }: Recipe): string {
  const lines = experts.map(({ model, ...expert }) => JSON.stringify({ task: models[model]!.name, ...expert }));
  return `[\n${lines.join(",\n")}\n]\n`;
}

/** For the plan in which every part gets its place. */
export function expertOf({ experts }: Built): ExpertOf {
  const sizes = new Map(experts.map((expert) => [`${expert.model} ${expert.tensor}`, expert]));
  return (model, tensor) => sizes.get(`${model} ${tensor}`)!;
}

/** One tensor of one model. */
interface Job {
  readonly key: string;
  readonly tensor: PlannedExpert;
  readonly model: number;
  readonly stream: Stream;
  /** Of the model's tensor. */
  readonly bytes: number;
}

class Building {
  readonly #sources: readonly ByteSource[];
  /** By job: of what its change is taken from. */
  readonly #checksums = new Map<string, string>();
  /** The reference that was read last: models follow each other tensor by tensor. */
  #last: { readonly name: string; readonly values: Float32Array; readonly checksum: string } | null = null;

  constructor(
    readonly recipe: Recipe,
    readonly plan: Plan,
    readonly workspace: Workspace,
    { base, models, extra }: OpenInputs,
  ) {
    const checkpoints = [...(base === null ? [] : [base]), ...models, ...Object.values(extra)];
    this.#sources = checkpoints.flatMap(({ shards }) => shards.map(({ source }) => source));
  }

  jobs(): Job[] {
    return this.plan.experts!.flatMap((tensor, index) => {
      if (tensor.form.kind === "none") return [];
      return tensor.inputs.map(({ model, stream }): Job => {
        const bytes = tensor.entries * DTYPE_BYTES[stream.dtype];
        return { key: `${index}-${model}`, tensor, model, stream, bytes };
      });
    });
  }

  /** What an earlier run made, where it is still there. */
  known(journal: Journal, { key }: Job): Noted | null {
    const noted = journal.notes.get(key) as Noted | undefined;
    if (noted === undefined) return null;
    const bytes = this.workspace.readWhole(spillOf(key));
    return bytes !== null && xxh64(bytes) === noted.checksum ? noted : null;
  }

  async change({ tensor, model, stream, key }: Job): Promise<ExpertChange> {
    const { name, shape, entries, form } = tensor;
    const reference = await this.#reference(tensor);
    const change = subtracted(await this.#read(stream, entries), reference.values);
    const modelName = this.recipe.models[model]!.name;
    this.#checkFinite(change, name, modelName);
    this.#checksums.set(key, reference.checksum);
    const dtype = tensor.dtype as FloatDtype;
    return { tensor: name, model: modelName, shape, change, form, dtype, seed: this.recipe.seed };
  }

  keep({ key }: Job, { made, parts }: ExpertBytes): Noted {
    const bytes = joined(
      Uint8Array,
      EXPERT_PARTS.flatMap((part) => parts[part] ?? []),
    );
    this.workspace.writeWhole(spillOf(key), bytes);
    const sizes = Object.fromEntries(Object.entries(parts).map(([part, { length }]) => [part, length]));
    return { made, sizes, checksum: xxh64(bytes), reference: this.#checksums.get(key)! };
  }

  async #reference(tensor: PlannedExpert) {
    const { name, entries } = tensor;
    if (this.#last?.name === name) return this.#last;
    const shared = this.plan.tensors.find((one) => one.action === "merge" && one.name === name);
    const dtype = (shared ?? tensor.base!).dtype as FloatDtype;
    const bytes = new Uint8Array(entries * DTYPE_BYTES[dtype]);
    if (shared !== undefined) this.workspace.readAt(this.plan.files[shared.file]!.name, shared.offset, bytes);
    else await this.#sources[tensor.base!.source]!.read(tensor.base!.offset, bytes);
    return (this.#last = { name, values: floats(dtype, bytes), checksum: checksumOf(bytes, dtype) });
  }

  async #read({ source, offset, dtype }: Stream, entries: number): Promise<Float32Array> {
    const bytes = new Uint8Array(entries * DTYPE_BYTES[dtype]);
    await this.#sources[source]!.read(offset, bytes);
    return floats(dtype as FloatDtype, bytes);
  }

  #checkFinite(change: Float32Array, tensor: string, model: string): void {
    const at = change.findIndex((entry) => !Number.isFinite(entry));
    if (at < 0) return;
    throw new MergewrightError("a change that an expert is made of is not finite", {
      kind: "check",
      code: "values/non-finite",
      where: { tensor },
      found: `${change[at]!} at entry ${at}, between ${model} and the shared model`,
      advice: "repair the model or leave it out, or exclude the tensor",
    });
  }
}

/** Where what is made is kept until all sizes are known. */
const SPILL_FOLDER = "made-experts";

function spillOf(key: string): string {
  return `${SPILL_FOLDER}/${key}`;
}

function floats(dtype: FloatDtype, bytes: Uint8Array): Float32Array {
  const values = new Float32Array(bytes.length / DTYPE_BYTES[dtype]);
  widen(dtype, bytes, values);
  return values;
}

function subtracted(own: Float32Array, reference: Float32Array): Float32Array {
  return own.map((value, p) => value - reference[p]!);
}

/** As of every tensor: over blocks of its entries. */
function checksumOf(bytes: Uint8Array, dtype: Dtype, blockEntries = BLOCK_ENTRIES): string {
  const step = blockEntries * DTYPE_BYTES[dtype];
  const digests: string[] = [];
  for (let at = 0; at < bytes.length; at += step) digests.push(xxh64(bytes.subarray(at, at + step)));
  return blockTreeChecksum(digests);
}

/** What of a plan is written before experts are made: the shared model and the heads. */
export function sharedPlan(plan: Plan): Plan {
  const kept = new Set(plan.tensors.flatMap(({ action, file }) => (action === "expert" ? [] : [file])));
  const files = [...kept];
  const tensors = plan.tensors
    .filter(({ action }) => action !== "expert")
    .map((tensor) => ({ ...tensor, file: files.indexOf(tensor.file) }));
  return { ...plan, tensors, files: files.map((file) => plan.files[file]!) };
}

/**
 * Puts what was made at its place in the artifact.
 * @param written the final plan.
 * @param shared what was written before.
 * @returns a result for every tensor of the plan.
 */
export function placeExperts(written: Plan, shared: RunResult, built: Built, workspace: Workspace): RunResult {
  const expertFiles = new Set(written.tensors.flatMap(({ action, file }) => (action === "expert" ? [file] : [])));
  for (const file of expertFiles) {
    const { name, size, header } = written.files[file]!;
    workspace.allocate(name, size, header);
  }
  const before = written.tensors.filter(({ action }) => action !== "expert");
  const indices = new Map(written.experts!.map(({ name }, index) => [name, index]));
  const tensors = written.tensors.map((tensor): TensorResult => {
    const { name, file, offset, dtype, action } = tensor;
    const baseChecksum = action === "copy" ? null : (built.references.get(name) ?? null);
    if (action !== "expert") return { ...shared.tensors[before.indexOf(tensor)]!, baseChecksum };
    const part = placeOf(written.files[file]!.name).folder.split("/")[0] as ExpertPart;
    const bytes = partBytes(workspace, built, `${indices.get(name)!}-${tensor.inputs[0]!.model}`, part);
    workspace.writeAt(written.files[file]!.name, offset, bytes);
    const checksum = checksumOf(bytes, dtype, part === "masks" ? MASK_BLOCK_BYTES : BLOCK_ENTRIES);
    return { name, checksum, nonFinite: 0, nonFiniteInputs: null, masks: null, baseChecksum, figures: null };
  });
  workspace.remove(SPILL_FOLDER);
  return { ...shared, tensors, kept: storedNumbers(written) };
}

/** Per model the numbers that its expert is stored in, of how many entries; tied copies counted once. */
function storedNumbers({ inputs, tensors, experts }: Plan): RunResult["kept"] {
  const isNumber = ({ action, dtype, tiedTo }: PlannedTensor) =>
    action === "expert" && tiedTo === null && dtype !== "U8" && dtype !== "U64";
  return inputs
    .filter(({ role }) => role === "model")
    .map((_, model) => {
      const own = tensors.filter((tensor) => isNumber(tensor) && tensor.inputs[0]!.model === model);
      const over = experts!.filter((tensor) => tensor.inputs.some((input) => input.model === model));
      const sum = (list: readonly { readonly entries: number }[]) =>
        list.reduce((total, { entries }) => total + entries, 0);
      return { kept: sum(own), entries: sum(over) };
    });
}

/** Its bytes in the file in which the tensor's parts lie in their order. */
function partBytes(workspace: Workspace, { sizes }: Built, key: string, part: ExpertPart): Uint8Array {
  const own = sizes.get(key)!;
  const before = EXPERT_PARTS.slice(0, EXPERT_PARTS.indexOf(part));
  const offset = before.reduce((sum, one) => sum + (own[one] ?? 0), 0);
  const bytes = new Uint8Array(own[part]!);
  workspace.readAt(spillOf(key), offset, bytes);
  return bytes;
}

/** The whole pipeline: a recipe and checkpoints become a plan, the plan becomes files. */
import type { AlgebraCrew } from "./algebra/crew.js";
import { EXPERTS_FILE } from "./artifacts/experts_file.js";
import { MANIFEST_FILE, manifestText } from "./artifacts/manifest.js";
import type { Manifest } from "./artifacts/manifest.js";
import { manifestOf } from "./artifacts/write.js";
import type { Built, BuiltExpert } from "./experts/build.js";
import { openInputs } from "./inputs.js";
import type { OpenModel } from "./inputs.js";
import type { Crew } from "./execute/crew.js";
import { Journal, planHash } from "./execute/journal.js";
import { planMeasuring, withMeasuredAlpha } from "./execute/lines.js";
import type { Progress } from "./execute/meter.js";
import { runPacking } from "./execute/packed_files.js";
import { gatherPacking, keptIn } from "./execute/packing.js";
import type { Packed } from "./execute/packing.js";
import { run } from "./execute/run.js";
import type { RunOptions, RunResult } from "./execute/run.js";
import { settle } from "./execute/settle.js";
import { dropSolved } from "./execute/solved.js";
import { setupOf } from "./execute/setup.js";
import type { Tuning, WorkSetup } from "./execute/setup.js";
import type { Workspace } from "./execute/workspace.js";
import type { KeptOf } from "./plan/artifact.js";
import { makePlan } from "./plan/plan.js";
import { storedSources } from "./plan/streams.js";
import type { OpenInputs } from "./plan/types.js";
import type { Plan } from "./plan/types.js";
import { methodsOf } from "./recipe/methods.js";
import type { Recipe } from "./recipe/recipe.js";
import { modelCard } from "./report/model_card.js";
import { PROVENANCE_FILE, provenanceOf, provenanceText } from "./report/provenance.js";
import type { Provenance } from "./report/provenance.js";

/** What a platform supplies. */
export interface Platform {
  readonly openModel: OpenModel;
  readonly createCrew: (setup: WorkSetup, threads: number, statisticsBytes: number) => Promise<Crew>;
  /** @throws where the place is taken, busy, or inside an input. */
  readonly openWorkspace: (out: string, inputs: OpenInputs, options: { readonly force: boolean }) => Workspace;
  /** Threads for whole matrices. Default: the calling thread. */
  readonly createAlgebraCrew?: (threads: number) => AlgebraCrew | Promise<AlgebraCrew>;
  /** SHA-256 of a whole input file, as `sha256:…`; for provenance on request. */
  readonly hashFile: (path: string) => Promise<string>;
}

export interface MergeOptions {
  /** Folder to write; must not exist or be empty unless `force`. */
  readonly out: string;
  /** Default: one per processor. */
  readonly threads: number;
  /** Start over and replace. Default false. */
  readonly force?: boolean;
  /** NaN or infinity in the result is an error (code values/non-finite). Default false: a warning. */
  readonly strict?: boolean;
  /** Also record hashes of the inputs' whole content, which reads them once more. Default false. */
  readonly hashInputs?: boolean;
  readonly progress?: (progress: Progress) => void;
  readonly tuning?: Tuning;
}

export interface MergeResult {
  readonly plan: Plan;
  readonly provenance: Provenance;
  readonly result: RunResult;
  /** Where the result is an artifact. */
  readonly artifact: Manifest | null;
  /** Where it holds experts. */
  readonly experts: readonly BuiltExpert[] | null;
  readonly seconds: number;
}

export async function mergeModels(recipe: Recipe, platform: Platform, options: MergeOptions): Promise<MergeResult> {
  const started = performance.now();
  const inputs = await openInputs(recipe, platform.openModel);
  try {
    const plan = makePlan(recipe, inputs);
    const workspace = platform.openWorkspace(options.out, inputs, { force: options.force ?? false });
    try {
      const journal = new Journal(workspace, plan);
      const runOptions: RunOptions = {
        createCrew: (setup, statisticsBytes) => platform.createCrew(setup, options.threads, statisticsBytes),
        strict: options.strict ?? false,
        ...(options.progress && { progress: options.progress }),
      };
      const measuring = planMeasuring(recipe, inputs);
      const merges = measuring?.merges ?? plan.merges;
      const settled = await settle(merges, journal, {
        ...runOptions,
        findMethod: methodsOf(recipe),
        workspace,
        ...(options.tuning && { tuning: options.tuning }),
      });
      const { method } = recipe;
      let written = plan;
      let experts: Built | null = null;
      let result: RunResult;
      if (method.grain === "tile" && method.packing !== undefined) {
        const packing = { ...runOptions, settled, ...(options.tuning && { tuning: options.tuning }) };
        const packed = await gatherPacking(plan, method, journal, packing);
        written = makePlan(recipe, inputs, { keptOf: keptOf(plan, packed) });
        result = await runPacking(written, method, packed, workspace, journal, packing);
      } else if (method.experts !== undefined) {
        const { buildExperts, expertOf, placeExperts, sharedPlan } = await import("./experts/build.js");
        const own = sharedPlan(plan);
        const setup = setupOf(own, (file) => workspace.path(file), options.tuning, settled);
        const shared = await run(own, method, setup, workspace, journal, runOptions);
        const crew = await algebraCrew(platform, options.threads);
        try {
          experts = await buildExperts(recipe, plan, inputs, workspace, journal, { ...options, crew });
        } finally {
          await crew.close();
        }
        written = makePlan(recipe, inputs, { expertOf: expertOf(experts) });
        result = placeExperts(written, shared, experts, workspace);
      } else {
        let told: readonly string[] = [];
        if (measuring !== null) {
          const how = { ...runOptions, settled, ...(options.tuning && { tuning: options.tuning }) };
          const scaled = await withMeasuredAlpha(recipe, measuring, journal, how);
          written = makePlan(scaled.recipe, inputs);
          told = [scaled.told];
        }
        const setup = setupOf(written, (file) => workspace.path(file), options.tuning, settled);
        result = await run(written, method, setup, workspace, journal, runOptions);
        result = { ...result, warnings: [...told, ...result.warnings] };
      }
      dropSolved(merges, workspace);
      const inner = [...settled.values()].flatMap((one) => one.warnings ?? []);
      if (inner.length > 0) result = { ...result, warnings: [...inner, ...result.warnings] };
      const contents = options.hashInputs ? await hashInputs(plan, platform) : new Map<string, string>();
      const artifact = manifestOf(written, method, result);
      const manifest = [
        ...(artifact === null ? [] : [{ file: MANIFEST_FILE, text: manifestText(artifact.manifest) }]),
        ...(experts === null ? [] : [await expertsFile(experts, recipe)]),
      ];
      const empty = experts === null ? [] : (await import("./experts/build.js")).emptyWarnings(experts, recipe);
      const warnings = [...result.warnings, ...(artifact?.warnings ?? []), ...empty];
      const told = artifact === null ? result : { ...result, kept: artifact.manifest.tasks, warnings };
      const provenance = { ...provenanceOf(recipe, written, told, contents, manifest), plan: planHash(plan) };
      await writeSideFiles(written, inputs, workspace);
      for (const { file, text } of manifest) workspace.writeWhole(file, encode(text));
      workspace.writeWhole("README.md", encode(modelCard(recipe, written, provenance)));
      workspace.writeWhole(PROVENANCE_FILE, encode(provenanceText(provenance)));
      workspace.commit();
      return {
        plan: written,
        provenance,
        result,
        artifact: artifact?.manifest ?? null,
        experts: experts?.experts ?? null,
        seconds: (performance.now() - started) / 1000,
      };
    } catch (error) {
      workspace.release();
      throw error;
    }
  } finally {
    await inputs.close();
  }
}

/** Linear algebra is loaded by the methods that need it. */
async function algebraCrew({ createAlgebraCrew }: Platform, threads: number): Promise<AlgebraCrew> {
  if (createAlgebraCrew !== undefined) return createAlgebraCrew(threads);
  return (await import("./algebra/crew.js")).soloAlgebraCrew();
}

async function expertsFile(experts: Built, recipe: Recipe): Promise<{ readonly file: string; readonly text: string }> {
  const { expertsText } = await import("./experts/build.js");
  return { file: EXPERTS_FILE, text: expertsText(experts, recipe) };
}

/** How much each tensor keeps, for the plan in which it gets its place. */
function keptOf({ tensors }: Plan, packed: Packed): KeptOf {
  const kept = new Map<string, number>();
  const keyOf = (model: number, name: string) => `${model} ${name}`;
  for (const [index, tensor] of packed) {
    const { name, inputs } = tensors[index]!;
    kept.set(keyOf(inputs[0]!.model, name), keptIn(tensor));
  }
  return (model, name) => kept.get(keyOf(model, name))!;
}

/** The plan alone; reads headers and configs, no weights. */
export async function planMerge(recipe: Recipe, platform: Pick<Platform, "openModel">): Promise<Plan> {
  const inputs = await openInputs(recipe, platform.openModel);
  try {
    return makePlan(recipe, inputs);
  } finally {
    await inputs.close();
  }
}

async function writeSideFiles(plan: Plan, { base, models }: OpenInputs, workspace: Workspace): Promise<void> {
  const checkpoints = base === null ? models : [base, ...models];
  for (const file of plan.sideFiles) {
    if ("text" in file) workspace.writeWhole(file.name, encode(file.text));
    else {
      const side = checkpoints[file.input]!.sideFiles.find(({ name }) => name === file.file)!;
      workspace.writeWhole(file.name, await side.read());
    }
  }
}

/** By path. */
async function hashInputs(plan: Plan, { hashFile }: Platform): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const { address } of storedSources(plan)) {
    if (address?.kind === "file" && !hashes.has(address.path)) hashes.set(address.path, await hashFile(address.path));
  }
  return hashes;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/**
 * Merges of whole matrices that are inputs of others. Each matrix is solved once, by one thread, and lies in a file beside
 * the growing result until that is done: what is handed on run by run cannot be solved run by run. Tensors that are not
 * solved are combined where they are read, like those of any other inner merge.
 */
import type { MatrixMethod } from "../methods/method.js";
import { isSolved } from "../plan/matrices.js";
import type { Plan, PlannedMerge, PlannedTensor } from "../plan/types.js";
import { BLOCK_ENTRIES, blocksOf } from "./blocks.js";
import type { Crew } from "./crew.js";
import type { WrittenBlock } from "./jobs.js";
import type { Journal } from "./journal.js";
import type { Settled, WorkSetup } from "./setup.js";
import { stagesOf } from "./stages.js";
import type { Workspace } from "./workspace.js";

/** What the journal keeps of one solved matrix. */
interface SolvedNote {
  readonly digests: readonly string[];
  readonly warnings: readonly string[];
}

export interface SolveRun {
  readonly key: string;
  readonly plan: Plan;
  readonly method: MatrixMethod;
  readonly journal: Journal;
  readonly workspace: Workspace;
  /** What the threads need to write the plan's one file to a path. */
  readonly setupFor: (path: string) => WorkSetup;
  readonly startCrew: (setup: WorkSetup) => Promise<Crew>;
}

/** Bytes of the matrices that lie in a file while a merge is an input of another. */
export function heldBytes({ tensors }: Plan, method: MatrixMethod): number {
  return tensors.reduce((sum, tensor) => sum + (isHeld(method, tensor) ? tensor.length : 0), 0);
}

function isHeld(method: MatrixMethod, tensor: PlannedTensor): boolean {
  return tensor.action === "merge" && isSolved(method, tensor);
}

export async function settleSolved(run: SolveRun): Promise<Settled> {
  const { key, plan, method, workspace } = run;
  const rest = { quotas: new Map(), cuts: new Map() };
  const solved = plan.tensors.flatMap((tensor, index) => (isHeld(method, tensor) ? [index] : []));
  const isOne = new Set(solved);
  const args = plan.tensors.map(({ action, settings }, index) => {
    if (action !== "merge") return null;
    return isOne.has(index) ? ("stored" as const) : { args: method.otherwise.bind(settings!) };
  });
  if (solved.length === 0) return { ...rest, args };
  const file = fileOf(key);
  const [{ size, header }] = plan.files as [Plan["files"][number]];
  workspace.allocate(file, size, header);
  const path = workspace.path(file);
  await solveMissing(run, solved, run.setupFor(path));
  const warnings = solved.flatMap((index) => {
    const { warnings: told } = run.journal.notes.get(noteOf(run, index)) as SolvedNote;
    return told.map((text) => `${plan.tensors[index]!.name} of the merge by ${method.name} among the inputs: ${text}`);
  });
  return { ...rest, args, stored: { path, size }, warnings };
}

/** Takes the files of solved matrices away: the result holds none of them. */
export function dropSolved(merges: readonly PlannedMerge[], workspace: Workspace): void {
  for (const { key } of merges) workspace.remove(fileOf(key));
}

function fileOf(key: string): string {
  return `inner-${key}.safetensors`;
}

function noteOf({ key, plan }: Pick<SolveRun, "key" | "plan">, index: number): string {
  return `solved ${key}/${plan.tensors[index]!.name}`;
}

/** The largest first, so that none is left to the end. */
async function solveMissing(run: SolveRun, solved: readonly number[], setup: WorkSetup): Promise<void> {
  const { plan, journal } = run;
  const { tensors } = plan;
  const crew = await run.startCrew(setup);
  try {
    const known = solved.filter((index) => journal.notes.has(noteOf(run, index)));
    const blocks = known.flatMap((index) => blocksOf(index, tensors[index]!.entries));
    const digests = await crew.run({ job: "reread", blocks, args: null });
    const damaged = new Set<number>();
    for (const [at, { tensor, start }] of blocks.entries()) {
      const note = journal.notes.get(noteOf(run, tensor)) as SolvedNote;
      if (note.digests[start / BLOCK_ENTRIES] !== digests[at]) damaged.add(tensor);
    }
    const missing = solved
      .filter((index) => damaged.has(index) || !known.includes(index))
      .sort((a, b) => tensors[b]!.entries - tensors[a]!.entries || a - b);
    await Promise.all(
      stagesOf(missing, (index) => ({ settings: tensors[index]!.settings! })).map(({ args, tensors: same }) => {
        const whole = same.map((tensor) => ({ tensor, start: 0, count: tensors[tensor]!.entries }));
        return crew.run({ job: "solveMatrix", blocks: whole, args }, (parts) => {
          for (const { index, part } of parts) journal.recordNote(noteOf(run, whole[index]!.tensor), noted(part));
        });
      }),
    );
  } finally {
    await crew.close();
  }
}

function noted(blocks: readonly WrittenBlock[]): SolvedNote {
  return { digests: blocks.map(({ digest }) => digest), warnings: blocks[0]?.solved?.warnings ?? [] };
}

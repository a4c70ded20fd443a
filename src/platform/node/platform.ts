import { createReadStream, existsSync, realpathSync } from "node:fs";
import path from "node:path";
import type { VerifyPlatform } from "../../analyse/platform.js";
import { openReference, parseReference } from "../../adapters/reference.js";
import { MANIFEST_FILE } from "../../artifacts/manifest.js";
import { openTaskModel } from "../../artifacts/open.js";
import { MergewrightError } from "../../errors.js";
import type { Platform } from "../../merge.js";
import { openCheckpoint } from "../../models/checkpoint.js";
import type { FolderAccess } from "../../models/folder.js";
import { httpFolder } from "../../models/http_folder.js";
import type { Method } from "../../methods/method.js";
import type { Checkpoint } from "../../models/model.js";
import type { OpenInputs } from "../../plan/types.js";
import { openAdapterAt } from "./adapters.js";
import { createCrew } from "./crew.js";
import { openFolder } from "./files.js";
import { defaultThreads } from "./threads.js";
import { openWorkspace } from "./workspace.js";

export { defaultThreads };

/** Files, threads and folders of Node. */
export const nodePlatform: Platform & VerifyPlatform = {
  openModel,
  openFolder: folderOf,
  createCrew: (setup, threads, statisticsBytes) => createCrew(setup, threads, statisticsBytes),
  createAlgebraCrew: async (threads) => (await import("./algebra_crew.js")).createAlgebraCrew(threads),
  openWorkspace(out, inputs, options) {
    refuseInsideInput(out, inputs);
    return openWorkspace(out, options);
  },
  hashFile,
};

/** The same with methods of one's own. */
export function platformWith(own: readonly Method[]): typeof nodePlatform {
  return { ...nodePlatform, createCrew: (setup, threads, bytes) => createCrew(setup, threads, bytes, own) };
}

/**
 * @param label a folder, a `.safetensors` file, the address of a folder on a server that answers ranges,
 * `ARTIFACT#TASK` (`ARTIFACT` alone where it has one task), or any of these with adapters: `BASE+ADAPTER`.
 * @param base what an artifact is read over, instead of the base that it names.
 */
export async function openModel(label: string, base: string | null = null): Promise<Checkpoint> {
  const folded = existsSync(label) ? null : parseReference(label);
  if (folded !== null) {
    return openReference(label, folded, { openBase: (own) => openModel(own, base), openAdapter: openAdapterAt });
  }
  const reference = taskReference(label);
  if (reference === null) return openCheckpoint(label, folderOf(label));
  return openTaskModel(reference.folder, reference.task, nodePlatform, { base });
}

/** Whether a label names an artifact as a whole. */
export function namesArtifact(label: string): boolean {
  return existsSync(path.join(label, MANIFEST_FILE));
}

/** The artifact, and its task, that a label names; `null` for other models. */
function taskReference(label: string): { folder: string; task: string | null } | null {
  const hash = label.lastIndexOf("#");
  const candidates = [{ folder: label, task: null }];
  const named = hash < 0 ? [] : [{ folder: label.slice(0, hash), task: label.slice(hash + 1) }];
  const found = [...candidates, ...named].find(({ folder }) => namesArtifact(folder));
  return found ?? null;
}

function folderOf(label: string): FolderAccess {
  return /^https?:\/\//.test(label) ? httpFolder(label) : openFolder(label);
}

/** An output inside an input would be read as part of it the next time, or overwrite it. */
function refuseInsideInput(out: string, inputs: OpenInputs): void {
  const target = realPath(path.resolve(out));
  const named = [inputs, ...inputs.merges.map((merge) => merge.inputs)];
  const checkpoints = named.flatMap(({ base, models, extra }) => [base ?? [], models, Object.values(extra)].flat());
  for (const { location, label } of checkpoints) {
    if (location === "" || !path.isAbsolute(location)) continue;
    const relative = path.relative(location, target);
    if (relative !== "" && (relative.startsWith("..") || path.isAbsolute(relative))) continue;
    throw new MergewrightError("the output lies inside an input", {
      kind: "request",
      code: "output/inside-input",
      where: { file: out },
      found: `it is ${relative === "" ? "" : "inside "}the input ${label}`,
      advice: "write to a folder of its own",
    });
  }
}

/** The real path of a place that may not exist yet: links are resolved in the part that does. */
function realPath(target: string): string {
  if (existsSync(target)) return realpathSync(target);
  const parent = path.dirname(target);
  return parent === target ? target : path.join(realPath(parent), path.basename(target));
}

async function hashFile(file: string): Promise<string> {
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return `sha256:${hash.digest("hex")}`;
}

/** Whether an artifact's folder still is what a merge wrote, and what routes its inputs still fits it. */
import { countOf, failure, passed } from "../analyse/checks.js";
import type { Check } from "../analyse/checks.js";
import type { VerifyPlatform } from "../analyse/platform.js";
import type { RecordedMerge } from "../analyse/recorded.js";
import { verifyOutput } from "../analyse/verify.js";
import type { Verification, VerifyOptions } from "../analyse/verify.js";
import { isArtifact, readManifest } from "../artifacts/manifest.js";
import type { Manifest } from "../artifacts/manifest.js";
import { readExperts } from "../artifacts/experts_file.js";
import { MergewrightError } from "../errors.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { hasRouterFile } from "./chooser.js";
import { readRouter } from "./router_file.js";

/**
 * As `verifyOutput`, for results that may be artifacts: of these the manifest, the shapes of gates beside what they are over,
 * and the router are looked at, too. The base is not needed.
 * @throws as `verifyOutput`.
 */
export async function verifyResult(
  folder: string,
  platform: VerifyPlatform,
  options: VerifyOptions,
): Promise<Verification> {
  const verification = await verifyOutput(folder, platform, options);
  const access = platform.openFolder(folder);
  if (!(await isArtifact(access))) return verification;
  const started = performance.now();
  const own = await artifactChecks(folder, platform);
  return {
    ...verification,
    ok: verification.ok && own.every(({ ok }) => ok),
    checks: [...verification.checks, ...own],
    seconds: verification.seconds + (performance.now() - started) / 1000,
  };
}

async function artifactChecks(label: string, platform: VerifyPlatform): Promise<Check[]> {
  const read = await found(() => readManifest(label, platform.openFolder(label)));
  if (typeof read === "string") return [failure("manifest", [read])];
  const { manifest, recorded } = read;
  const { version, method, tasks, routing } = manifest;
  const manifestCheck = passed("manifest", `version ${version}, of ${method}, ${countOf(tasks.length, "task")}`);
  if (routing === null) return [manifestCheck];
  const experts = await expertsCheck(label, platform, manifest, recorded);
  if (routing.by === "tokens") return [manifestCheck, experts, await gatesCheck(label, platform, manifest)];
  return [manifestCheck, experts, await routerCheck(label, platform, manifest)];
}

async function expertsCheck(
  label: string,
  platform: VerifyPlatform,
  { tasks }: Manifest,
  recorded: RecordedMerge,
): Promise<Check> {
  const read = await found(() => readExperts(platform.openFolder(label), recorded));
  if (typeof read === "string") return failure("experts", [read]);
  const strange = read.filter(({ task }) => !tasks.some(({ name }) => name === task));
  if (strange.length > 0)
    return failure(
      "experts",
      strange.map(({ task }) => `${task} is no task of the artifact`),
    );
  return passed("experts", `${countOf(read.length, "tensor")} of ${countOf(tasks.length, "task")}`);
}

/** Every task has a gate for the same layers, of the same rank, as wide as what it gates. */
async function gatesCheck(label: string, { openFolder }: VerifyPlatform, { tasks }: Manifest): Promise<Check> {
  const problems: string[] = [];
  const gates = new Map<string, string>();
  for (const { name, gates: folder, factors } of tasks) {
    if (folder === null) {
      problems.push(`${name} has no gates`);
      continue;
    }
    const own = await shapesIn(`${label}/${folder}`, openFolder);
    const right =
      factors === null ? new Map<string, readonly number[]>() : await shapesIn(`${label}/${factors.right}`, openFolder);
    for (const shapes of [own, right]) if (typeof shapes === "string") problems.push(shapes);
    if (typeof own === "string" || typeof right === "string") continue;
    for (const [layer, shape] of own) {
      const wanted = gates.get(layer) ?? String(shape);
      gates.set(layer, wanted);
      const width = right.get(layer)?.[1];
      if (shape.length !== 2 || (width !== undefined && shape[1] !== width)) {
        problems.push(`${folder}/${layer}: shape [${shape.join(", ")}] over a layer of ${width ?? "unknown"} inputs`);
      } else if (wanted !== String(shape)) {
        problems.push(`${folder}/${layer}: shape [${shape.join(", ")}], of another task [${wanted}]`);
      }
    }
  }
  if (problems.length > 0) return failure("gates", problems);
  return passed("gates", `of ${countOf(gates.size, "layer")}, as wide as their inputs`);
}

async function shapesIn(
  place: string,
  openFolder: VerifyPlatform["openFolder"],
): Promise<Map<string, readonly number[]> | string> {
  return found(async () => {
    const checkpoint = await openCheckpoint(place, openFolder(place));
    try {
      return new Map([...checkpoint.tensors].map(([name, { shape }]) => [name, shape] as const));
    } finally {
      await checkpoint.close();
    }
  });
}

async function routerCheck(label: string, platform: VerifyPlatform, manifest: Manifest): Promise<Check> {
  if (!(await hasRouterFile(label, platform))) return passed("router", "there is none yet");
  const tasks = manifest.tasks.map(({ name }) => name);
  const read = await found(() => readRouter({ label, manifest, tasks }, platform));
  if (typeof read === "string") return failure("router", [read]);
  return passed("router", `${read.kind}, for these tasks and this shared model`);
}

/** What is wrong, where reading fails because of the files. */
async function found<T>(read: () => Promise<T>): Promise<T | string> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof MergewrightError) || error.kind === "environment") throw error;
    const { where, expected, found: seen } = error;
    const told = [expected && `expected ${expected}`, seen && `found ${seen}`].filter(Boolean).join(", ");
    const file = where.file === undefined ? "" : `${where.file}: `;
    return `${file}${error.message.split("\n")[0]!}${told === "" ? "" : `: ${told}`}`;
  }
}

/** Whether an output folder still holds what a merge wrote, byte for byte, and nothing that would be loaded with it. */
import { BLOCK_ENTRIES, MASK_BLOCK_BYTES } from "../execute/blocks.js";
import type { StoredBlock } from "../execute/job_types.js";
import type { StoredTensor } from "../models/model.js";
import { blockTreeChecksum } from "../numbers/checksum.js";
import { countOf, failure, passed } from "./checks.js";
import type { Check } from "./checks.js";
import { checkInputs } from "./verify_inputs.js";
import { checkConfigs, checkIndexes, checkSideFiles, checkStrays, openFolders } from "./verify_folder.js";
import type { OutputShard } from "./verify_folder.js";
import { openWeights } from "./verify_weights.js";
import type { AnalysisOptions, VerifyPlatform } from "./platform.js";
import { metered, readingSetup, runOver, storedTensors } from "./reading.js";
import { keyOf, readRecorded } from "./recorded.js";
import type { RecordedMerge } from "./recorded.js";

export interface VerifyOptions extends AnalysisOptions {
  /** Also check that the inputs are still those that were merged. Default false. */
  readonly inputs?: boolean;
}

export interface Verification {
  /** Whether every check passed. */
  readonly ok: boolean;
  readonly checks: readonly Check[];
  /** Tensors whose bytes were read. */
  readonly tensors: number;
  /** Bytes of them. */
  readonly bytes: number;
  readonly seconds: number;
}

/**
 * Damage is a failed check, never an error.
 * @param folder what a merge wrote.
 * @throws checkpoint/missing-file, verify/failed where the record of the merge is missing or unreadable; io/* where the
 * disk fails.
 */
export async function verifyOutput(
  folder: string,
  platform: VerifyPlatform,
  options: VerifyOptions,
): Promise<Verification> {
  const started = performance.now();
  const root = platform.openFolder(folder);
  const recorded = await readRecorded(folder, root);
  const folders = await openFolders(folder, root, recorded, platform.openFolder);
  const weights = await openWeights(folders, recorded);
  try {
    const { shards } = weights;
    const stored = storedTensors(shards);
    const keys = stored.map(({ name, shard }) => keyOf(shards[shard]!.folder, name));
    const values = await checkValues(recorded, shards, stored, keys, platform, options);
    const checks = [
      ...weights.checks,
      checkStrays(folders, recorded),
      checkTensors(recorded, shards, stored, keys),
      ...values,
      await checkIndexes(folders, recorded, shards),
      await checkConfigs(folders),
      await checkSideFiles(folders, recorded),
      ...(options.inputs === true ? await checkInputs(recorded, folders, platform) : []),
    ];
    return {
      ok: checks.every(({ ok }) => ok),
      checks,
      tensors: stored.length,
      bytes: stored.reduce((sum, { length }) => sum + length, 0),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    for (const { source } of weights.shards) await source.close();
  }
}

function checkTensors(
  { checksums }: RecordedMerge,
  shards: readonly OutputShard[],
  stored: readonly StoredTensor[],
  keys: readonly string[],
): Check {
  const problems: string[] = [];
  const found = new Map<string, string>();
  for (const [index, key] of keys.entries()) {
    const { name } = shards[stored[index]!.shard]!;
    const twin = found.get(key);
    if (twin !== undefined) problems.push(`${key} is in ${twin} and in ${name}`);
    else if (!Object.hasOwn(checksums, key)) problems.push(`${key} in ${name} is not recorded`);
    found.set(key, name);
  }
  const recorded = Object.keys(checksums);
  for (const key of recorded) if (!found.has(key)) problems.push(`${key} is in no readable file`);
  return problems.length > 0
    ? failure("tensors", problems)
    : passed("tensors", `${countOf(recorded.length, "tensor")}, as recorded`);
}

/** Reads every tensor once, for checksums and for NaN and infinity. */
async function checkValues(
  { checksums, counts }: RecordedMerge,
  shards: readonly OutputShard[],
  stored: readonly StoredTensor[],
  keys: readonly string[],
  { createCrew }: VerifyPlatform,
  { threads, progress }: VerifyOptions,
): Promise<Check[]> {
  const setup = readingSetup(shards, stored);
  const tensors = [...stored.keys()];
  let parts: StoredBlock[][];
  const crew = await createCrew(setup, threads, 0);
  try {
    parts = await runOver(
      metered(crew, setup, { tensors, passes: 1, phase: "check" }, progress),
      setup,
      tensors,
      "examine",
      null,
      (tensor) => (isMask(shards[stored[tensor]!.shard]!) ? MASK_BLOCK_BYTES : BLOCK_ENTRIES),
    );
  } finally {
    await crew.close();
  }
  const problems = stored.flatMap(({ shard }, index) => {
    const expected = checksums[keys[index]!];
    const found = blockTreeChecksum(parts[index]!.map(({ digest }) => digest));
    const place = `${keys[index]!} in ${shards[shard]!.name}`;
    return expected === undefined || expected === found ? [] : [`${place}: checksum ${found}, recorded ${expected}`];
  });
  const same = problems.length === 0;
  const checked = same
    ? passed("checksums", `${countOf(stored.length, "tensor")}, every byte as written`)
    : failure("checksums", problems);
  const nonFinite = parts.map((blocks) => blocks.reduce((sum, block) => sum + block.nonFinite, 0));
  return [checked, checkFinite(counts.nonFinite, nonFinite, keys)];
}

/** Masks are hashed by the blocks of what they are over. */
function isMask({ folder }: OutputShard): boolean {
  return folder.startsWith("masks/");
}

function checkFinite(recorded: number, nonFinite: readonly number[], keys: readonly string[]): Check {
  const found = nonFinite.reduce((sum, count) => sum + count, 0);
  if (found === recorded)
    return passed("finite", found === 0 ? "no NaN, no infinity" : `${found} NaN or infinite entries, as recorded`);
  const where = keys.flatMap((key, index) =>
    nonFinite[index]! > 0 ? [`${key}: ${nonFinite[index]!} NaN or infinite entries`] : [],
  );
  return failure("finite", [...where, `${found} NaN or infinite entries in all, recorded ${recorded}`]);
}

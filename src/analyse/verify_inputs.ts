/** Whether the inputs of a merge are still those that it read, and the small files still theirs. */
import { MergewrightError } from "../errors.js";
import type { Checkpoint, Shard } from "../models/model.js";
import { xxh64 } from "../numbers/checksum.js";
import { LIMITS } from "../models/limits.js";
import { countOf, failure, passed } from "./checks.js";
import type { Check } from "./checks.js";
import { storedInputs } from "./recorded.js";
import type { RecordedFile, RecordedInput, RecordedMerge } from "./recorded.js";
import type { VerifyPlatform } from "./platform.js";
import type { OutputFolder } from "./verify_folder.js";

type InputPlatform = Pick<VerifyPlatform, "openModel" | "hashFile">;

export async function checkInputs(
  recorded: RecordedMerge,
  folders: readonly OutputFolder[],
  platform: InputPlatform,
): Promise<Check[]> {
  const problems: string[] = [];
  const copies: string[] = [];
  const { sideFiles } = recorded;
  const copied = new Map(
    sideFiles
      .filter(({ checksum }) => checksum === undefined)
      .map(({ file, input }) => [file, input === undefined ? undefined : recorded.inputs[input]]),
  );
  let compared = 0;
  const inputs = storedInputs(recorded);
  for (const input of inputs) {
    const checkpoint = await openOrProblem(input, platform);
    if (typeof checkpoint === "string") {
      problems.push(checkpoint);
      continue;
    }
    try {
      problems.push(...(await weightProblems(input, checkpoint, platform)));
      if (input.role === "extra") continue;
      for (const file of checkpoint.sideFiles) {
        const { name } = file;
        if (!copied.has(name)) continue;
        // Where no model is recorded, or a merge, the first input that has a file is where it was copied from.
        const from = copied.get(name);
        if (from !== undefined && from.merge === undefined && from.model !== input.model) continue;
        copied.delete(name);
        compared++;
        if (!(await isCopy(folders[0]!, name, await file.read())))
          copies.push(`${name} differs from that of ${input.model}`);
      }
    } finally {
      await checkpoint.close();
    }
  }
  if (problems.length === 0) for (const name of copied.keys()) copies.push(`${name} is in no input any more`);
  return [
    problems.length > 0
      ? failure("inputs", problems)
      : passed("inputs", `${countOf(inputs.length, "model")}, unchanged`),
    copies.length > 0
      ? failure("copies", copies)
      : passed("copies", `${countOf(compared, "small file")}, as in the inputs`),
  ];
}

async function openOrProblem({ model }: RecordedInput, { openModel }: InputPlatform): Promise<Checkpoint | string> {
  try {
    return await openModel(model);
  } catch (error) {
    if (error instanceof MergewrightError) return `${model}: ${error.message.split("\n")[0]!}`;
    throw error;
  }
}

async function weightProblems(
  { model, files }: RecordedInput,
  { shards }: Checkpoint,
  platform: InputPlatform,
): Promise<string[]> {
  const problems: string[] = [];
  const nameOf = ({ source: { label } }: Shard) => label.slice(label.lastIndexOf("/") + 1);
  for (const [index, recorded] of files.entries()) {
    // A task's model is read from several folders, whose files may have the same name; the order is always the same.
    const own = shards[index];
    const isOwn = own !== undefined && nameOf(own) === recorded.file;
    const shard = isOwn ? own : shards.find((candidate) => nameOf(candidate) === recorded.file);
    const problem =
      shard === undefined ? "is not part of the model any more" : await shardProblem(recorded, shard, platform);
    if (problem !== null) problems.push(`${model}/${recorded.file} ${problem}`);
  }
  if (shards.length > files.length)
    problems.push(`${model} has ${shards.length} weight files, recorded ${files.length}`);
  return problems;
}

/** A recorded content says more than the time of a file. */
async function shardProblem(
  { bytes, modified, header, content }: RecordedFile,
  { source: { stamp, address }, header: found }: Shard,
  { hashFile }: InputPlatform,
): Promise<string | null> {
  if (stamp.size !== bytes) return `has ${stamp.size} bytes, recorded ${bytes}`;
  if (found.hash !== header) return `has another header (${found.hash}, recorded ${header})`;
  if (content !== undefined && address?.kind === "file") {
    const hash = await hashFile(address.path);
    return hash === content ? null : `has another content (${hash}, recorded ${content})`;
  }
  return stamp.version === modified ? null : `was written to since (at ${stamp.version}, recorded ${modified})`;
}

async function isCopy({ access, files }: OutputFolder, name: string, bytes: Uint8Array): Promise<boolean> {
  if (access === null || !files.includes(name)) return false;
  return xxh64(await access.readWhole(name, LIMITS.sideFile)) === xxh64(bytes);
}

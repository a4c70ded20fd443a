/** The weight files of an output folder: there, of the recorded size, with the recorded header. */
import { MergewrightError } from "../errors.js";
import { readHeader } from "../formats/safetensors/header.js";
import type { ByteSource } from "../sources/source.js";
import { countOf, failure, passed } from "./checks.js";
import type { Check } from "./checks.js";
import { placeOf } from "./recorded.js";
import type { RecordedMerge } from "./recorded.js";
import type { OutputFolder, OutputShard } from "./verify_folder.js";

export interface Weights {
  /** The files whose header can be read; their sources are open. */
  readonly shards: readonly OutputShard[];
  readonly checks: readonly Check[];
}

export async function openWeights(folders: readonly OutputFolder[], { outputs }: RecordedMerge): Promise<Weights> {
  const shards: OutputShard[] = [];
  const files: string[] = [];
  const headers: string[] = [];
  for (const { file, bytes, header: recorded } of outputs) {
    const { folder: name, name: own } = placeOf(file);
    const folder = folders.find((candidate) => candidate.name === name)!;
    if (folder.access === null || !folder.files.includes(own)) {
      files.push(`${file} is missing`);
      continue;
    }
    const source = await folder.access.open(own);
    const { size } = source.stamp;
    if (size !== bytes) files.push(`${file} has ${size} bytes, recorded ${bytes}`);
    const header = await headerOrProblem(source);
    if (typeof header === "string") {
      headers.push(`${file}: ${header}`);
      await source.close();
      continue;
    }
    if (recorded !== undefined && header.hash !== recorded) headers.push(`${file}: the header is not as written`);
    shards.push({ folder: name, name: own, source, header });
  }
  return { shards, checks: [checkOf("files", files, outputs.length), checkOf("headers", headers, outputs.length)] };
}

async function headerOrProblem(source: ByteSource): Promise<Awaited<ReturnType<typeof readHeader>> | string> {
  try {
    return await readHeader(source);
  } catch (error) {
    if (error instanceof MergewrightError && error.kind === "request") return error.message.split("\n")[0]!;
    throw error;
  }
}

function checkOf(name: string, problems: readonly string[], count: number): Check {
  return problems.length > 0 ? failure(name, problems) : passed(name, `${countOf(count, "weight file")}, as recorded`);
}

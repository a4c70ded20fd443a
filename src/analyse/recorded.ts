/** The provenance file of an output folder, read back: the part that a verification needs. */
import * as v from "valibot";
import { MergewrightError } from "../errors.js";
import { printable } from "../formats/safetensors/text.js";
import { isPlainName, type FolderAccess } from "../models/folder.js";
import { TEMPLATE_FOLDER } from "../models/files.js";
import { LIMITS } from "../models/limits.js";

/** Name of the provenance file in an output folder. */
export const PROVENANCE_FILE = "mergewright.json";

const Hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/, "16 hexadecimal digits"));
const Size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Names never lead out of the folder. */
const OutputFile = v.pipe(
  v.string(),
  v.check(
    (name) => placeOf(name).inside,
    "the name of a file in the folder, or in a part's folder such as heads/MODEL/",
  ),
);

const RecordedFile = v.object({
  file: v.string(),
  bytes: Size,
  modified: v.string(),
  header: Hash,
  content: v.optional(v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/, "sha256: and 64 hexadecimal digits"))),
});

export type RecordedFile = v.InferOutput<typeof RecordedFile>;

export const RecordedInputs = v.array(
  v.object({
    role: v.string(),
    name: v.string(),
    model: v.string(),
    files: v.array(RecordedFile),
    /** Key of a merge that was read without being written: it has no files. */
    merge: v.optional(v.string()),
  }),
);

export type RecordedInput = v.InferOutput<typeof RecordedInputs>[number];

/** Merges that were inputs, each after those that it reads. */
export const RecordedMerges = v.optional(v.array(v.object({ key: v.string(), inputs: RecordedInputs })), []);

const RecordedMerge = v.object({
  format: v.literal(1),
  dialect: v.optional(v.string(), ""),
  seed: v.optional(v.number(), 0),
  recipe: v.optional(v.string(), ""),
  inputs: RecordedInputs,
  merges: RecordedMerges,
  outputs: v.pipe(
    v.array(v.object({ file: OutputFile, bytes: Size, header: v.optional(Hash) })),
    v.minLength(1, "at least one weight file"),
  ),
  sideFiles: v.optional(
    v.array(v.object({ file: OutputFile, checksum: v.optional(Hash), input: v.optional(Size) })),
    [],
  ),
  checksums: v.record(v.string(), Hash),
  counts: v.object({ nonFinite: Size }),
});

export type RecordedMerge = v.InferOutput<typeof RecordedMerge>;

/**
 * The checkpoints that were read, each once, those of merges in the place of the merges; what an extra input reads is
 * extra. A merge is looked for among those before it, so that no record can lead round in circles.
 */
export function storedInputs({ inputs, merges }: Pick<RecordedMerge, "inputs" | "merges">): RecordedInput[] {
  const known = new Map<string, readonly RecordedInput[]>();
  const expand = (some: readonly RecordedInput[]) => {
    const expanded = some.flatMap((input) => {
      if (input.merge === undefined) return [input];
      const inner = known.get(input.merge) ?? [];
      return input.role === "extra" ? inner.map((one) => ({ ...one, role: "extra" })) : inner;
    });
    const keyOfInput = ({ role, model, files }: RecordedInput) => JSON.stringify([role === "extra", model, files]);
    return [...new Map(expanded.map((input) => [keyOfInput(input), input])).values()];
  };
  for (const merge of merges) known.set(merge.key, expand(merge.inputs));
  return expand(inputs);
}

/** Folders that hold one folder per model, or per part of an artifact. */
const PART_FOLDERS: ReadonlySet<string> = new Set([
  "gates",
  "heads",
  "left",
  "masks",
  "models",
  "right",
  "starts",
  "values",
  "vectors",
]);

/** Where an output file lies: the folder of a part, such as a separate head's, or "", and the name in it. */
export interface Place {
  readonly folder: string;
  readonly name: string;
  readonly inside: boolean;
}

export function placeOf(file: string): Place {
  const parts = file.split("/");
  const isPart = parts.length > 2 && PART_FOLDERS.has(parts[0]!);
  const own = isPart ? parts.slice(2) : parts;
  const nested = own.length === 2 && own[0] === TEMPLATE_FOLDER;
  return {
    folder: isPart ? parts.slice(0, 2).join("/") : "",
    name: own.join("/"),
    inside: (own.length === 1 || nested) && parts.every(isPlainName),
  };
}

/** A tensor's key among the checksums; names repeat between parts. */
export function keyOf(folder: string, tensor: string): string {
  return folder === "" ? tensor : `${folder}/${tensor}`;
}

/**
 * @param label the folder as the user wrote it.
 * @throws checkpoint/missing-file where there is none, verify/failed where it is not what a merge writes.
 */
export async function readRecorded(label: string, access: FolderAccess): Promise<RecordedMerge> {
  const { files, complete } = await access.list();
  if (complete && !files.some(({ name }) => name === PROVENANCE_FILE)) {
    throw new MergewrightError("this folder says nothing of a merge", {
      kind: "request",
      code: "checkpoint/missing-file",
      where: { file: label },
      expected: PROVENANCE_FILE,
      advice: "give the folder that mergewright merge wrote; mergewright inspect looks at other models",
    });
  }
  const file = `${label}/${PROVENANCE_FILE}`;
  const parsed = v.safeParse(RecordedMerge, parseJson(await access.readWhole(PROVENANCE_FILE, LIMITS.index), file));
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const { kind, expected, message, received } = issue;
  throw unreadable(file, {
    key: printable(v.getDotPath(issue) ?? ""),
    // A check says what it wants in its message, a type in `expected`.
    expected: printable(kind === "schema" && expected !== null ? expected : message),
    found: printable(received),
  });
}

function parseJson(bytes: Uint8Array, file: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw unreadable(file, { found: printable(cause instanceof Error ? cause.message : String(cause)), cause });
  }
}

function unreadable(
  file: string,
  { key, ...details }: { key?: string; expected?: string; found: string; cause?: unknown },
): MergewrightError {
  return new MergewrightError("the record of the merge is damaged or of another version", {
    kind: "check",
    code: "verify/failed",
    where: { file, ...(key !== undefined && key !== "" && { key }) },
    ...details,
    advice: "merge again; what was merged cannot be checked without it",
  });
}

/** artifact.json: what the parts of an artifact's folder are and how a task's weights follow from them. */
import * as v from "valibot";
import { PROVENANCE_FILE, readRecorded } from "../analyse/recorded.js";
import type { RecordedMerge } from "../analyse/recorded.js";
import { MergewrightError } from "../errors.js";
import type { ErrorDetails } from "../errors.js";
import { printable } from "../formats/safetensors/text.js";
import { isPlainName } from "../models/folder.js";
import type { FolderAccess } from "../models/folder.js";
import { LIMITS } from "../models/limits.js";
import { xxh64 } from "../numbers/checksum.js";

export const MANIFEST_FILE = "artifact.json";
/** Raised when a reader of the version before would read the files wrongly: experts came with 2. */
export const MANIFEST_VERSION = 2;
const VERSIONS: readonly number[] = [1, MANIFEST_VERSION];

const Hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/, "16 hexadecimal digits"));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** `PART/NAME`, inside the folder. */
const PartFolder = v.pipe(
  v.string(),
  v.check((name) => {
    const parts = name.split("/");
    return parts.length === 2 && parts.every(isPlainName);
  }, "a folder such as masks/TASK"),
);
const Name = v.pipe(v.string(), v.check(isPlainName, "a plain name"));

const Task = v.object({
  name: Name,
  /** As the recipe called it. */
  model: v.string(),
  /** Multiplies the vector. */
  scale: v.pipe(v.number(), v.finite()),
  /** The vector that is the task's own; `null`: the shared one. */
  vector: v.nullable(PartFolder),
  /** One bit per entry of the vector's tensors; `null`: all entries count. */
  mask: v.nullable(PartFolder),
  /** Of a vector that holds nothing but the entries under the mask: where each block's begin. */
  starts: v.nullable(PartFolder),
  /** Tensors that the task has instead of the base's; `null`: none. */
  head: v.nullable(PartFolder),
  /** Matrices whose vector is a product: `[rows, rank]`, `[rank]` and `[rank or more, columns]` under one name. */
  factors: v.optional(v.nullable(v.object({ left: PartFolder, values: PartFolder, right: PartFolder })), null),
  /** Per routed matrix the rows that a token is projected on, `[gate rank, columns]`. */
  gates: v.optional(v.nullable(PartFolder), null),
  /** Numbers that are the task's own, of how many entries they are over; tied copies counted once. */
  kept: Count,
  entries: Count,
});

/** How an input finds its experts. */
const Routing = v.variant("by", [
  /** By weights per input, which a router gives that is trained for the artifact. */
  v.object({ by: v.literal("inputs") }),
  /** By token and layer: the norm of its projection on each expert's gate; so many experts are gone through. */
  v.object({ by: v.literal("tokens"), top: v.pipe(Count, v.minValue(1)) }),
]);

const Manifest = v.object({
  format: v.literal("mergewright artifact"),
  version: v.picklist(VERSIONS),
  /** Name of the method that made it. */
  method: v.string(),
  base: v.object({
    /** As the recipe called it; of a base that is a part of the artifact, its folder. */
    model: v.string(),
    /** The folder, where the base is a part of the artifact. */
    inside: v.optional(v.nullable(PartFolder), null),
    /** XXH64 over names and checksums of the tensors below. */
    fingerprint: Hash,
    /** Checksums of the base's tensors under the vectors, as it stores them. */
    tensors: v.record(v.string(), Hash),
  }),
  /** The vector of the tasks that have none of their own. */
  shared: v.nullable(PartFolder),
  routing: v.optional(v.nullable(Routing), null),
  tasks: v.pipe(
    v.array(Task),
    v.minLength(1, "at least one task"),
    v.check((tasks) => new Set(tasks.map(({ name }) => name)).size === tasks.length, "tasks of different names"),
  ),
});

export type Manifest = v.InferOutput<typeof Manifest>;
export type ManifestTask = Manifest["tasks"][number];
export type ManifestRouting = NonNullable<Manifest["routing"]>;

export function fingerprintOf(tensors: Readonly<Record<string, string>>): string {
  const lines = Object.keys(tensors)
    .sort()
    .map((name) => `${JSON.stringify(name)} ${tensors[name]!}\n`);
  return xxh64(new TextEncoder().encode(lines.join("")));
}

export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** Whether a folder is an artifact's. */
export async function isArtifact(access: FolderAccess): Promise<boolean> {
  const { files, complete } = await access.list();
  return complete && files.some(({ name }) => name === MANIFEST_FILE);
}

/**
 * The manifest and the record of its folder, which holds the checksums of all parts and of the manifest.
 * @throws artifact/manifest for a damaged one or one of another version; checkpoint/missing-file, verify/failed where the
 * record is missing or damaged.
 */
export async function readManifest(
  label: string,
  access: FolderAccess,
): Promise<{ readonly manifest: Manifest; readonly recorded: RecordedMerge; readonly hash: string }> {
  const file = `${label}/${MANIFEST_FILE}`;
  const bytes = await access.readWhole(MANIFEST_FILE, LIMITS.index);
  const manifest = parseManifest(file, bytes);
  const recorded = await readRecorded(label, access);
  const hash = xxh64(bytes);
  const expected = recorded.sideFiles.find((side) => side.file === MANIFEST_FILE)?.checksum;
  if (hash === expected) return { manifest, recorded, hash };
  throw defect(file, "the artifact's manifest is not as it was written", {
    expected: expected === undefined ? `its checksum in ${PROVENANCE_FILE}` : `XXH64 ${expected}`,
    found: `XXH64 ${hash}`,
  });
}

function parseManifest(file: string, bytes: Uint8Array): Manifest {
  let content: unknown;
  try {
    content = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw defect(file, "the artifact's manifest cannot be read", {
      found: printable(cause instanceof Error ? cause.message : String(cause)),
      cause,
    });
  }
  const head = v.safeParse(v.object({ format: v.literal("mergewright artifact"), version: v.number() }), content);
  if (head.success && !VERSIONS.includes(head.output.version)) {
    throw defect(file, "the artifact has another version than this program reads", {
      expected: `version ${VERSIONS.join(" or ")}`,
      found: `version ${head.output.version}`,
      advice: "use the version of mergewright that wrote it, or a newer one",
    });
  }
  const parsed = v.safeParse(Manifest, content);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const { kind, expected, message, received } = issue;
  const key = printable(v.getDotPath(issue) ?? "");
  throw defect(file, "the artifact's manifest is damaged", {
    where: { file, ...(key !== "" && { key }) },
    expected: printable(kind === "schema" && expected !== null ? expected : message),
    found: printable(received),
  });
}

function defect(file: string, summary: string, details: Partial<ErrorDetails>): MergewrightError {
  return new MergewrightError(summary, {
    kind: "request",
    code: "artifact/manifest",
    where: { file },
    advice: "make the artifact again, or copy it again from where it came",
    ...details,
  });
}

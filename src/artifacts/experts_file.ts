/** experts.json of an artifact: how each tensor of each expert is stored, and how near it comes to the model's own change. */
import * as v from "valibot";
import type { RecordedMerge } from "../analyse/recorded.js";
import { printable } from "../formats/safetensors/text.js";
import type { FolderAccess } from "../models/folder.js";
import { LIMITS } from "../models/limits.js";
import { xxh64 } from "../numbers/checksum.js";
import { defect } from "./defect.js";

export const EXPERTS_FILE = "experts.json";

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Expert = v.object({
  task: v.string(),
  tensor: v.string(),
  /** Of the shared model's tensor. */
  shape: v.array(Count),
  kind: v.picklist(["none", "whole", "factors", "packed"]),
  rank: Count,
  gate: Count,
  kept: Count,
  /** Bytes of its parts. */
  bytes: Count,
  /** Relative (Frobenius), of what is stored. */
  error: v.number(),
  /** Of the change. */
  norm: v.number(),
});

export type StoredExpert = v.InferOutput<typeof Expert>;

/** @throws artifact/damaged where it is not as it was written; checkpoint/missing-file. */
export async function readExperts(access: FolderAccess, { sideFiles }: RecordedMerge): Promise<StoredExpert[]> {
  const bytes = await access.readWhole(EXPERTS_FILE, LIMITS.index);
  const expected = sideFiles.find(({ file }) => file === EXPERTS_FILE)?.checksum;
  const found = xxh64(bytes);
  const where = { file: EXPERTS_FILE };
  if (found !== expected) {
    throw defect("artifact/damaged", "a part of the artifact is not as it was written", {
      where,
      expected: expected === undefined ? "its checksum in mergewright.json" : `XXH64 ${expected}`,
      found: `XXH64 ${found}`,
    });
  }
  const parsed = v.safeParse(v.array(Expert), JSON.parse(new TextDecoder().decode(bytes)));
  if (parsed.success) return parsed.output;
  throw defect("artifact/damaged", "the list of experts is not one that this program reads", {
    where: { ...where, key: printable(v.getDotPath(parsed.issues[0]) ?? "") },
    found: printable(parsed.issues[0].message),
  });
}

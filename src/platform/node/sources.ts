import { auroraSource } from "../../adapters/aurora.js";
import { foldedSource } from "../../adapters/folded_source.js";
import type { WorkSource } from "../../execute/setup.js";
import { httpSource } from "../../sources/http.js";
import type { ByteSource, SourceStamp } from "../../sources/source.js";
import { taskSource } from "../../sources/task.js";
import { MergewrightError } from "../../errors.js";
import { fileSource } from "./files.js";

/** Opens a stored source in this thread, and checks that it is still what the plan saw. */
export function openAddress({ label, address, stamp }: WorkSource): ByteSource | Promise<ByteSource> {
  if (address === null || address.kind === "merge" || address.kind === "rows")
    throw new RangeError(`${label} cannot be opened by another thread`);
  if (address.kind === "task")
    return openParts(address.layout, (files) => taskSource(address.layout, files, { label, stamp }));
  if (address.kind === "folded") {
    return openParts(address.layout, (files) => foldedSource(address.layout, files, { label, stamp }));
  }
  if (address.kind === "aurora") return openAurora(address.file, stamp);
  if (address.kind === "http") return httpSource(address.url, { headers: address.headers, label, stamp });
  const source = fileSource(address.path, label);
  const { size, version } = source.stamp;
  if (size === stamp.size && version === stamp.version) return source;
  void source.close();
  throw new MergewrightError("an input changed after the plan was made", {
    kind: "request",
    code: "input/changed",
    where: { file: label },
    expected: `${stamp.size} bytes, version ${stamp.version}`,
    found: `${size} bytes, version ${version}`,
    advice: "find out what writes to it, then start again",
  });
}

async function openAurora(file: WorkSource, stamp: SourceStamp): Promise<ByteSource> {
  const source = await openAddress(file);
  return auroraSource(source, stamp);
}

/** Opens the files that a computed source reads. */
async function openParts(
  layout: { readonly files: readonly WorkSource[] },
  make: (files: readonly ByteSource[]) => ByteSource,
): Promise<ByteSource> {
  const files: ByteSource[] = [];
  try {
    for (const file of layout.files) files.push(await openAddress(file));
  } catch (error) {
    for (const file of files) await file.close();
    throw error;
  }
  return make(files);
}

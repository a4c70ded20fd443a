import type { WorkSource } from "../../execute/setup.js";
import { httpSource } from "../../sources/http.js";
import type { ByteSource } from "../../sources/source.js";
import { MergewrightError } from "../../errors.js";
import { fileSource } from "./files.js";

/** Opens a stored source in this thread, and checks that it is still what the plan saw. */
export function openAddress({ label, address, stamp }: WorkSource): ByteSource | Promise<ByteSource> {
  if (address === null || address.kind === "merge" || address.kind === "rows")
    throw new RangeError(`${label} cannot be opened by another thread`);
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

/** mergekit's references to models: `path[@revision][+lora[@revision]]`, or the same as a map. */

import { quote } from "../issues.js";
import { entryOf, type Node } from "../tree.js";
import { isNothing, join, placed, readEntries, type Reading, readLocation, wrongType } from "../values.js";

/** @returns the path; `undefined` after an issue. */
export function readReference(reading: Reading, node: Node, path: string): string | undefined {
  if (node.kind === "dictionary") {
    return entryOf(node, "merge") === undefined ? readMap(reading, node, path) : readLocation(reading, node, path);
  }
  const text = readLocation(reading, node, path);
  // An address may hold what separates the parts of a reference.
  if (text === undefined || /^\w+:\/\//.test(text)) return text;
  const [model, lora, ...more] = text.split("+");
  const parts = [model!, ...(lora === undefined ? [] : [lora])].map((part) => part.split("@"));
  if (more.length > 0 || parts.some((part) => part.length > 2)) {
    reading.issues.add(`${quote(text)} is no reference to a model`, {
      code: "recipe/out-of-range",
      where: placed(node.where, path),
      expected: "path[@revision][+lora[@revision]]",
      advice: "for a path that holds + or @ write {model: {path: ...}}",
    });
    return undefined;
  }
  const revision = parts.find((part) => part.length === 2)?.[1];
  // A base with an adapter is a reference of our own, too.
  return revision === undefined ? text : refuseRevision(reading, node, path, revision);
}

function readMap(reading: Reading, node: Node, path: string): string | undefined {
  const entries = readEntries(reading, node, path, { known: ["model", "lora", "override_architecture"] });
  const model = entries?.get("model")?.node;
  if (model === undefined) {
    return wrongType(reading, node, path, "{model: {path: ..., revision: ...}, lora: null}");
  }
  const location = readPart(reading, model, join(path, "model"));
  const lora = entries!.get("lora")?.node;
  if (location === undefined || lora === undefined || isNothing(lora)) return location;
  const adapter = readPart(reading, lora, join(path, "lora"));
  return adapter === undefined ? undefined : `${location}+${adapter}`;
}

/** `path`, or `{path: ..., revision: ...}`. */
function readPart(reading: Reading, node: Node, path: string): string | undefined {
  if (node.kind !== "dictionary") return readLocation(reading, node, path);
  const parts = readEntries(reading, node, path, { known: ["path", "revision"] });
  const revision = parts?.get("revision")?.node;
  if (revision?.kind === "scalar" && revision.value !== null) {
    return refuseRevision(reading, revision, join(path, "revision"), revision.text);
  }
  const location = parts?.get("path")?.node;
  if (location === undefined) return wrongType(reading, node, path, "{path: ..., revision: ...}");
  return readLocation(reading, location, join(path, "path"));
}

function refuseRevision({ issues }: Reading, node: Node, path: string, revision: string): undefined {
  issues.add(`the revision ${quote(revision)} is not fetched`, {
    code: "recipe/unsupported",
    where: placed(node.where, path),
    expected: "a folder, a file or an address",
    advice: "download that revision and name its folder, or give its address (https://…/resolve/REVISION)",
  });
}

/**
 * mergekit-multi: several documents in one file, each a merge, of which some have a `name` that stands for their result
 * in others. They become one recipe with merges inside it; nothing is written in between.
 */

import { issue, quote } from "../issues.js";
import { dictionary, type Dictionary, entryOf, type Node, withoutEntry } from "../tree.js";
import { placed } from "../values.js";

/**
 * @param documents at least two. @returns the one without a name, its references to others replaced by those.
 * @throws recipe/syntax for documents that do not fit together.
 */
export function readMergekitDocuments(documents: readonly Node[]): Node {
  const named = new Map<string, Dictionary>();
  const unnamed: Dictionary[] = [];
  for (const document of documents) {
    if (document.kind !== "dictionary" || entryOf(document, "merge_method") === undefined) {
      throw issue("a file of several recipes holds something else", {
        code: "recipe/syntax",
        where: document.where,
        expected: "documents with merge_method, as for mergekit-multi",
        advice: "keep one recipe per file",
      });
    }
    const entry = entryOf(document, "name");
    const name = entry?.node.kind === "scalar" && entry.node.value !== null ? entry.node.text : null;
    if (name !== null && named.has(name)) {
      throw issue(`two recipes are called ${quote(name)}`, {
        code: "recipe/syntax",
        where: placed(entry!.where, "name"),
      });
    }
    const bare = withoutEntry(document, "name");
    if (name === null) unnamed.push(bare);
    else named.set(name, bare);
  }
  const [final, second] = unnamed;
  if (final === undefined || second !== undefined) {
    throw issue(final === undefined ? "every recipe of the file has a name" : "two recipes of the file have no name", {
      code: "recipe/syntax",
      where: (second ?? documents.at(-1)!).where,
      expected: "one recipe without a name, whose result is written",
    });
  }
  return replaceNames(final, named, []);
}

/** Keys whose scalars, or those inside, are references to models. */
const REFERENCES: ReadonlySet<string> = new Set(["model", "base_model"]);

function replaceNames(node: Dictionary, named: ReadonlyMap<string, Dictionary>, above: readonly string[]): Dictionary {
  const visit = (part: Node): Node => {
    if (part.kind === "scalar") return part;
    if (part.kind === "list") return { ...part, items: part.items.map(visit) };
    const entries = part.entries.map((entry) => {
      const name = entry.node.kind === "scalar" && REFERENCES.has(entry.key) ? entry.node.text : null;
      if (name === null || !named.has(name)) return { ...entry, node: visit(entry.node) };
      if (above.includes(name)) {
        throw issue(`the recipe ${quote(name)} needs its own result`, {
          code: "recipe/syntax",
          where: placed(entry.node.where, entry.key),
          found: [...above, name].join(" needs "),
        });
      }
      const where = entry.node.where;
      const merge = replaceNames(named.get(name)!, named, [...above, name]);
      return { ...entry, node: dictionary([{ key: "merge", where, node: merge }], where) };
    });
    return { ...part, entries };
  };
  return visit(node) as Dictionary;
}

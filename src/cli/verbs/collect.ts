/** `mergewright collect`: one file per thing that is collected, in collect/. */
import { MergewrightError } from "../../errors.js";
import { nearest, oneOf } from "../../recipe/issues.js";
import type { Given, Outcome, Run } from "../verb.js";

const KINDS: Readonly<Record<string, () => Promise<Run>>> = {
  block: async () => (await import("./collect/statistics.js")).collectBlock,
  fisher: async () => (await import("./collect/statistics.js")).collectFisher,
  gram: async () => (await import("./collect/statistics.js")).collectGram,
  importance: async () => (await import("./collect/statistics.js")).collectImportance,
  kfac: async () => (await import("./collect/statistics.js")).collectKfac,
  router: async () => (await import("./collect/router.js")).router,
};

/** The first word says what is collected; the rest is for that. With --add all words are files. */
export async function collect(given: Given): Promise<Outcome> {
  if (given.flags.add === true) return (await import("./collect/add.js")).addFiles(given);
  const [kind = "", ...positionals] = given.positionals;
  const load = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (load === undefined) {
    const close = nearest(kind, Object.keys(KINDS));
    throw new MergewrightError(kind === "" ? "what to collect is missing" : `${kind} cannot be collected`, {
      kind: "request",
      code: "usage",
      where: { key: "mergewright collect" },
      expected: oneOf(Object.keys(KINDS)),
      advice: close === undefined ? "mergewright collect --help shows examples" : `write ${close}`,
    });
  }
  return (await load())({ ...given, positionals });
}

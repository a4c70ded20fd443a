/** What has an importance of its own, by what is asked for and how it is found. */
import { MergewrightError } from "../errors.js";
import type { Partitioning } from "../methods/method.js";

const PARTITIONINGS: readonly Partitioning[] = ["row", "tensor", "layer", "model"];

/** The word of a flag. @throws usage */
export function readPartitioning(word: string): Partitioning {
  return PARTITIONINGS.find((one) => one === word) ?? refuse(word, "row, tensor, layer or model");
}

/**
 * Inner products add up to those of whatever is coarser, so rows are kept unless something else is asked for. Magnitudes
 * and interventions do not; a row is too small a thing to be run by itself.
 * @throws usage
 */
export function partitioningOf(dialect: string, asked: Partitioning | undefined): Partitioning {
  if (dialect === "gradient") return asked ?? "row";
  const intervenes = dialect === "restore" || dialect === "remove";
  if (asked === "row" && intervenes) return refuse(asked, "tensor, layer or model: each takes passes of its own");
  return asked ?? "layer";
}

function refuse(found: string, expected: string): never {
  throw new MergewrightError("this cannot have an importance of its own", {
    ...{ kind: "request", code: "usage", where: { key: "--per" }, expected, found },
    advice: "mergewright collect --help shows examples",
  });
}

export function unnamedBase(model: string): MergewrightError {
  return new MergewrightError("importance is that of a model's change, and of what it is a change is not said", {
    kind: "request",
    code: "usage",
    where: { key: "--base" },
    expected: `--base BASE, the checkpoint that ${model} was fine-tuned from`,
  });
}

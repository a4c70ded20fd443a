/** What is summed, by names in circulation. The first of a kind is the default. */
import type { Labels } from "../collected/statistics.js";
import { MergewrightError } from "../errors.js";
import type { StatisticsKind } from "../methods/method.js";
import { oneOf } from "../recipe/issues.js";

export interface CollectDialect {
  readonly name: string;
  readonly labels: Labels;
  /** Gradients of a batch are added before they are squared. */
  readonly perBatch: boolean;
  readonly meaning: string;
}

export const COLLECT_DIALECTS: Readonly<Record<StatisticsKind, readonly CollectDialect[]>> = {
  fisher: [
    {
      name: "exact",
      labels: "expectation",
      perBatch: false,
      meaning: "sum over classes of p (d log p / d theta)^2, example by example; of language models token by token",
    },
    {
      name: "empirical",
      labels: "gold",
      perBatch: false,
      meaning: "(d log p(label) / d theta)^2, example by example",
    },
    {
      name: "sampled",
      labels: "sampled",
      perBatch: false,
      meaning: "the same with a label drawn from the model's own probabilities",
    },
    {
      name: "mergelm",
      labels: "root",
      perBatch: true,
      meaning:
        "(d sum over a batch and its classes of sqrt(p) log p)^2, per example; no Fisher, but the baseline of many papers",
    },
    {
      name: "regmean-hard",
      labels: "argmax",
      perBatch: true,
      meaning: "(d mean over a batch of log p(most likely class))^2, per batch; shrinks as batches grow",
    },
  ],
  gram: [{ name: "plain", labels: "none", perBatch: false, meaning: "sum over rows of x x^T; padding is left out" }],
  kfac: [
    {
      name: "empirical",
      labels: "gold",
      perBatch: false,
      meaning: "sums over rows of x x^T and of g g^T, g = d log p(label) / d output",
    },
    { name: "sampled", labels: "sampled", perBatch: false, meaning: "the same with labels drawn from the model" },
  ],
  block: [
    {
      name: "empirical",
      labels: "gold",
      perBatch: false,
      meaning: "sum over examples of g g^T, g = d log p(label) / d vector",
    },
    { name: "sampled", labels: "sampled", perBatch: false, meaning: "the same with labels drawn from the model" },
  ],
  importance: [
    {
      name: "gradient",
      labels: "gold",
      perBatch: false,
      meaning: "<gradient of the loss at the base, change>, row by row: the paper's approximation, with its sign",
    },
    {
      name: "per-example",
      labels: "gold",
      perBatch: false,
      meaning: "the magnitude of that product for each example by itself; a proposal of ours",
    },
    {
      name: "restore",
      labels: "gold",
      perBatch: false,
      meaning: "loss of the base with a partition's change - loss of the base: the intervention itself",
    },
    {
      name: "remove",
      labels: "gold",
      perBatch: false,
      meaning: "loss of the model - loss of the model without a partition's change: the intervention itself",
    },
  ],
};

export function dialectOf(kind: StatisticsKind, name: string | null): CollectDialect {
  const known = COLLECT_DIALECTS[kind];
  const found = name === null ? known[0] : known.find((dialect) => dialect.name === name);
  if (found !== undefined) return found;
  throw new MergewrightError(`${kind} has no such dialect`, {
    kind: "request",
    code: "usage",
    where: { key: "--dialect" },
    expected: oneOf(known.map((dialect) => dialect.name)),
    found: String(name),
  });
}

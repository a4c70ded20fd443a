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
      meaning: "sum over classes of p (d log p / d theta)^2, example by example; for classifiers",
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

/** What a sample of the weights says about a merge of them. */
import type { Dtype } from "../numbers/dtypes.js";
import { countOf } from "../report/units.js";
import { fewOf, percent } from "./findings.js";
import type { Finding } from "./findings.js";
import type { Figure, Sampled, TensorFigures } from "./sample.js";

/** A change this many times the median of the models' is an outlier; of two models, of the smaller. */
const OUTLYING = 3;
/** A tensor's relative change this many times its model's median. */
const OUTLYING_TENSOR = 10;
/** Changes beyond this share of the base's norm are no fine-tune of it. */
const FAR = 0.5;
const SAME = 0.999;
const CLOSE = 0.95;
const OPPOSED = -0.1;
const UNRELATED = 0.5;
const ORTHOGONAL = 0.05;
/** Weights whose root mean square differs by more between models. */
const SCALE = 10;
const HUGE = 1e3;

/** Largest finite number, and the distance from 1 to the next number. */
const FORMATS: Partial<Readonly<Record<Dtype, { readonly largest: number; readonly step: number }>>> = {
  BF16: { largest: 3.39e38, step: 2 ** -7 },
  F16: { largest: 65_504, step: 2 ** -10 },
  F8_E4M3: { largest: 448, step: 2 ** -3 },
  F8_E5M2: { largest: 57_344, step: 2 ** -2 },
};

export interface SampleContext {
  /** Names of the models, in the order of the sample. */
  readonly models: readonly string[];
  readonly base: string | null;
  /** The commonest format of merged tensors of the result. */
  readonly output: Dtype | null;
}

export function changeFindings(sampled: Sampled, context: SampleContext): Finding[] {
  return [
    ...(context.base === null ? relatednessFindings(sampled, context) : normFindings(sampled, context)),
    ...cosineFindings(sampled, context),
    ...signFindings(sampled, context),
    ...weightFindings(sampled, context),
    ...roundingFindings(sampled, context),
  ];
}

function figure({ value, error }: Figure): string {
  return error === 0 ? value.toPrecision(3) : `${value.toPrecision(3)} ± ${error.toPrecision(1)}`;
}

function normFindings({ norms, tensors, entries }: Sampled, { models, base }: SampleContext): Finding[] {
  const findings: Finding[] = [];
  const middle = median(norms.map(({ value }) => value));
  const far = models.map((_, model) => relative(tensors, model));
  for (const [model, name] of models.entries()) {
    const norm = norms[model]!;
    if (norm.value === 0) {
      findings.push({
        ...{
          level: "warning",
          topic: "changes",
          what: `${name} equals ${base!} in all ${countOf(entries, "parameter")} looked at`,
        },
        advice: "check that it is the fine-tune and not the base; it adds nothing to the merge",
      });
      continue;
    }
    if (far[model]! > FAR) {
      findings.push({
        ...{
          level: "warning",
          topic: "changes",
          what: `the change of ${name} is ${percent(far[model]!)} of the base's own size`,
        },
        advice: `check that ${name} was fine-tuned from ${base!} and not from another checkpoint`,
      });
    }
    const reference = models.length === 2 ? Math.min(...norms.map(({ value }) => value)) : middle;
    const times = reference > 0 ? norm.value / reference : 1;
    if (times > OUTLYING || times < 1 / OUTLYING) {
      findings.push({
        ...{
          level: "warning",
          topic: "changes",
          what: `the change of ${name} (norm ${figure(norm)}) is ${times.toPrecision(2)} times the usual one of these models`,
        },
        advice: "give it a weight that evens this out, or expect it to dominate or to vanish",
      });
    }
    findings.push(...tensorOutliers(tensors, model, name));
  }
  return findings;
}

/** Changed much more than the rest of the model: resized embeddings, a head trained from scratch. */
function tensorOutliers(tensors: Sampled["tensors"], model: number, name: string): Finding[] {
  const ratios = tensors.map(({ name: tensor, checkpoints }) => {
    const [base, own] = [checkpoints[0]!, checkpoints[model + 1]!];
    return { tensor, ratio: base.rms > 0 ? own.change! / base.rms : 0 };
  });
  const usual = median(ratios.map(({ ratio }) => ratio).filter((ratio) => ratio > 0));
  const outlying = ratios.filter(({ ratio }) => ratio > OUTLYING_TENSOR * usual).sort((a, b) => b.ratio - a.ratio);
  if (usual === 0 || outlying.length === 0) return [];
  const shown = outlying.map(({ tensor, ratio }) => `${tensor} (${(ratio / usual).toPrecision(2)} times)`);
  return [
    {
      ...{
        level: "note",
        topic: "changes",
        what: `${countOf(outlying.length, "tensor")} of ${name} changed far more than the rest of it: ${fewOf(shown)}`,
      },
      advice: "exclude them if they were trained anew; one threshold for a whole model keeps mostly them",
    },
  ];
}

/** Without a base only the weights themselves can tell whether models have a common one. */
function relatednessFindings({ cosines }: Sampled, { models }: SampleContext): Finding[] {
  const apart = pairsOf(cosines, ({ value, error }) => value + error < UNRELATED, models);
  if (apart.length === 0) return [];
  return [
    {
      ...{ level: "warning", topic: "weights", what: `weights that do not resemble each other: ${fewOf(apart)}` },
      advice: "merge models that were fine-tuned from one base; others average to noise",
    },
  ];
}

function cosineFindings({ cosines }: Sampled, { models, base }: SampleContext): Finding[] {
  if (base === null) return [];
  const found = (
    level: Finding["level"],
    isIt: (cosine: Figure) => boolean,
    what: string,
    advice: string,
  ): Finding[] => {
    const pairs = pairsOf(cosines, isIt, models);
    return pairs.length === 0 ? [] : [{ level, topic: "changes", what: `${what} (cosine): ${fewOf(pairs)}`, advice }];
  };
  const isSame = ({ value, error }: Figure) => value - error > SAME;
  const isClose = ({ value, error }: Figure) => value - error > CLOSE;
  const isAcross = ({ value, error }: Figure) => Math.abs(value) - error < ORTHOGONAL;
  const pairs = cosines.flatMap((row, i) => row.slice(i + 1));
  return [
    ...found("warning", isSame, "changes that are nearly the same", "leave one of them out: together they count twice"),
    ...found(
      ...([
        "note",
        (cosine: Figure) => isClose(cosine) && !isSame(cosine),
        "changes in almost the same direction",
      ] as const),
      "plain averaging does well here; election and trimming have little to resolve",
    ),
    ...found(
      ...(["warning", ({ value, error }: Figure) => value + error < OPPOSED, "changes against each other"] as const),
      "expect each to undo the other: weigh them, or merge them in different layers",
    ),
    ...(pairs.length > 0 && pairs.every(isAcross) ? [ORTHOGONAL_CHANGES] : []),
  ];
}

const ORTHOGONAL_CHANGES: Finding = {
  level: "note",
  topic: "changes",
  what: "the changes are nearly orthogonal (all cosines near 0)",
  advice: "a sum (task_arithmetic) keeps each at its strength, an average leaves one part in n; try both",
};

function signFindings({ conflicts, entries, of }: Sampled, { models, base }: SampleContext): Finding[] {
  if (base === null || models.length < 2) return [];
  const chance = 1 - 2 ** (1 - models.length);
  const where = entries === of ? "all entries" : `a sample of ${countOf(entries, "parameter")}`;
  const share = `${(100 * conflicts.value).toFixed(1)} %${conflicts.error === 0 ? "" : ` ± ${(100 * conflicts.error).toFixed(1)} %`}`;
  const what = `signs disagree in ${share} of the columns that two or more models changed (${(100 * chance).toFixed(0)} % by chance), in ${where}`;
  const isAgainst = conflicts.value - conflicts.error > chance * 1.05;
  return [
    {
      level: isAgainst ? "warning" : "note",
      topic: "signs",
      what,
      advice: isAgainst
        ? "the models pull against each other more than chance would have it: elect signs (ties), or weigh them"
        : "mergewright compare says what trimming leaves of it",
    },
  ];
}

function weightFindings({ tensors }: Sampled, { models, base }: SampleContext): Finding[] {
  const names = base === null ? models : [base, ...models];
  const broken: string[] = [];
  const empty: string[] = [];
  const large: string[] = [];
  const scaled: string[] = [];
  for (const { name, checkpoints } of tensors) {
    const usual = median(checkpoints.map(({ rms }) => rms));
    for (const [index, { rms, largest, zeros, nonFinite, entries }] of checkpoints.entries()) {
      const place = `${name} of ${names[index]!}`;
      if (nonFinite > 0) broken.push(place);
      else if (zeros === entries && entries > 1 && usual > 0) empty.push(place);
      else if (largest > HUGE) large.push(`${place} (${largest.toPrecision(2)})`);
      else if (rms > 0 && usual > 0 && (rms > SCALE * usual || rms < usual / SCALE))
        scaled.push(`${place} (${(rms / usual).toPrecision(2)} times)`);
    }
  }
  const found = (list: readonly string[], level: Finding["level"], what: string, advice: string): Finding[] =>
    list.length === 0 ? [] : [{ level, topic: "weights", what: `${what}: ${fewOf(list)}`, advice }];
  return [
    ...found(
      broken,
      "problem",
      "NaN or infinite weights",
      "repair or leave out the model; the result would hold them too",
    ),
    ...found(
      empty,
      "warning",
      "tensors of nothing but zeros where other models have weights",
      "check that the model is complete; exclude the tensor otherwise",
    ),
    ...found(
      large,
      "warning",
      `weights above ${HUGE}`,
      "check that the model is undamaged; 16-bit results may overflow",
    ),
    ...found(
      scaled,
      "warning",
      "weights of another size than in the other models",
      "check that they are of one family and that none is scaled or normalised differently",
    ),
  ];
}

/** Whether the output's format can hold what the merge changes. */
function roundingFindings({ tensors }: Sampled, { models, base, output }: SampleContext): Finding[] {
  const format = output === null ? undefined : FORMATS[output];
  if (format === undefined) return [];
  const findings: Finding[] = [];
  const beyond = tensors.filter(({ checkpoints }) => checkpoints.some(({ largest }) => largest > format.largest));
  if (beyond.length > 0) {
    findings.push({
      ...{
        level: "problem",
        topic: "formats",
        what: `${countOf(beyond.length, "tensor")} hold weights beyond ${output!}: ${fewOf(beyond.map(({ name }) => name))}`,
      },
      advice: "set output.dtype to bfloat16 or float32: these become infinite otherwise",
    });
  }
  const small =
    base === null
      ? []
      : models.filter((_, model) => relative(tensors, model) > 0 && relative(tensors, model) < format.step / 2);
  if (small.length > 0) {
    const sizes = small.map((name) => `${name} ${percent(relative(tensors, models.indexOf(name)))}`);
    findings.push({
      ...{
        level: "note",
        topic: "formats",
        what: `typical changes are smaller than half a step of ${output!} (${percent(format.step / 2)} of a weight): ${fewOf(sizes)}`,
      },
      advice: "set output.dtype: float32 if the merge should keep what rounding to the format loses",
    });
  }
  return findings;
}

/** The median over tensors of a model's change in parts of the base's size. */
function relative(tensors: Sampled["tensors"], model: number): number {
  const ratios = tensors.flatMap(({ checkpoints }) => {
    const [base, own] = [checkpoints[0]!, checkpoints[model + 1] as TensorFigures];
    return base.rms > 0 && own.change !== null ? [own.change / base.rms] : [];
  });
  return median(ratios);
}

function pairsOf(cosines: Sampled["cosines"], isIt: (cosine: Figure) => boolean, models: readonly string[]): string[] {
  return cosines.flatMap((row, i) =>
    row.flatMap((cosine, j) => (i < j && isIt(cosine) ? [`${models[i]!} and ${models[j]!} ${figure(cosine)}`] : [])),
  );
}

/** 0 of nothing. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return 0;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

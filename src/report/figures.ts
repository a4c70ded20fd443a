/** What a method of whole matrices told of the tensors that it solved: as it is recorded, and in one line per figure. */
import type { RunResult } from "../execute/run.js";
import type { Method } from "../methods/method.js";
import { countOf, numberText } from "./units.js";

/** By tensor, by figure: numbers of four significant digits, in the order in which they came; `null` for what is not finite. */
export type Figures = Readonly<Record<string, Readonly<Record<string, readonly (number | null)[]>>>>;

/** One figure over all tensors, by the last number that each has. */
export interface FigureSummary {
  readonly name: string;
  readonly meaning: string;
  readonly tensors: number;
  readonly median: number;
  readonly worst: number;
  /** The first tensor that has the worst. */
  readonly worstTensor: string;
}

const DIGITS = 4;

/** @param keyOf what a tensor is called in the record. @returns `null` where no tensor has any. */
export function recordedFigures({ tensors }: RunResult, keyOf: (index: number) => string): Figures | null {
  const found = tensors.flatMap(({ figures }, index) => (figures === null ? [] : [[keyOf(index), figures] as const]));
  // A journal that was read back has null where a number was not finite.
  const short = (values: readonly (number | null)[]) =>
    values.map((value) => (Number.isFinite(value) ? Number(value!.toPrecision(DIGITS)) : null));
  const all = found.flatMap(([key, figures]) => {
    const named = Object.entries(figures).map(([name, values]) => [name, short(values)] as const);
    return named.length === 0 ? [] : [[key, Object.fromEntries(named)] as const];
  });
  return all.length === 0 ? null : Object.fromEntries(all);
}

/** Of the figures of which the method says that larger is worse. */
export function summaryOfFigures(method: Method, all: Figures | null): FigureSummary[] {
  return Object.entries(method.grain === "matrix" ? (method.figures ?? {}) : {}).flatMap(([name, meaning]) => {
    const last = Object.entries(all ?? {}).flatMap(([tensor, figures]) => {
      const value = figures[name]?.at(-1);
      return value === undefined ? [] : [{ tensor, value: value ?? Infinity }];
    });
    if (last.length === 0) return [];
    const sorted = last.map(({ value }) => value).sort((a, b) => a - b);
    const worst = sorted.at(-1)!;
    const { tensor } = last.find(({ value }) => value === worst)!;
    return [
      { name, meaning, tensors: last.length, median: sorted[(last.length - 1) >> 1]!, worst, worstTensor: tensor },
    ];
  });
}

export function figureText({ meaning, tensors, median, worst, worstTensor }: FigureSummary): string {
  return `${numberText(worst)} at most (${worstTensor}), ${numberText(median)} in the middle of ${countOf(tensors, "tensor")}: ${meaning}`;
}

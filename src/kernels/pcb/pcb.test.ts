import { describe, it } from "node:test";
import * as fc from "fast-check";
import { checkScoreTwin } from "../../../test/laws/support/score_twin.js";
import {
  anyCase,
  checkTwin,
  drawStreams,
  FORMATS,
  PAIRS,
  settingsOf,
  strength,
} from "../../../test/laws/support/twin.js";
import type { Known } from "../../methods/method.js";
import { pcb } from "../../methods/pcb.js";

const draws = fc.record({
  variant: fc.constantFrom("es", "readme", "vision"),
  low: fc.constantFrom(0, 1e-6, 0.01, 1),
  high: fc.constantFrom(0, 0.02, 1, 3, Number.POSITIVE_INFINITY),
  cut: fc.constantFrom(-1, 0, 1e-3, 0.5),
  most: fc.constantFrom(-0.5, 1e-3, 1, 1e6),
  lambdas: fc.array(strength, { minLength: 9, maxLength: 9 }),
});

type Drawn = ReturnType<typeof fc.sample<typeof draws extends fc.Arbitrary<infer T> ? T : never>>[number];

function knownOf({ low, high, cut, most }: Drawn, models: number): Known {
  const row = { scores: 100, positive: 50, least: -2, most, ranked: [0, 0], sum: 0 };
  const rows = (ranked: readonly number[]) =>
    Array.from({ length: models }, (_, i) => ({ ...row, ranked: ranked.map((x) => Math.fround(x * (1 + i / 8))) }));
  return {
    scores: { magnitude: { per: "model", rows: rows([low, high]) }, score: { per: "model", rows: rows([cut]) } },
  };
}

function settings({ variant, lambdas }: Drawn, models: number) {
  return settingsOf(
    pcb,
    { variant },
    lambdas.slice(0, models).map((lambda) => ({ lambda })),
  );
}

const paperDraws = fc.record({
  least: fc.constantFrom(-1, -1e-4, 0, 1e-6),
  most: fc.constantFrom(0, 1e-3, 0.5, 4),
  sum: fc.constantFrom(0, 101, 150, 270),
  cut: fc.constantFrom(0, 0.5, 1.2, 30),
  lambdas: fc.array(strength, { minLength: 9, maxLength: 9 }),
});

function paperOf(drawn: typeof paperDraws extends fc.Arbitrary<infer T> ? T : never, models: number) {
  const { least, most, sum, cut, lambdas } = drawn;
  const row = { scores: 100, positive: 50, least, most, ranked: [cut], sum };
  const rows = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ ...row, most: Math.fround(most * (1 + i)) }));
  const pairs = rows((models * (models + 1)) / 2);
  const known: Known = {
    scores: {
      product: { per: "pair", rows: pairs },
      likeness: { per: "pair", rows: pairs },
      score: { per: "model", rows: rows(models) },
    },
  };
  const own = lambdas.slice(0, models).map((lambda) => ({ lambda }));
  return { known, settings: settingsOf(pcb, { variant: "paper" }, own) };
}

describe("the kernels of the printed formula equal their definitions", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const property = fc.property(anyCase, paperDraws, ({ kind, models, count, seed, ...rest }, drawn) => {
        const streams = drawStreams(kind, from, models + 1, count, seed);
        const base = streams.pop()!;
        const { known, settings } = paperOf(drawn, models);
        const args = pcb.bind(settings, known);
        checkTwin({ method: pcb, args, kernel: "pcb_paper", from, to, base, models: streams, ...rest });
      });
      fc.assert(property, { seed: 7, numRuns: 60 });
    });
  }

  for (const from of FORMATS) {
    for (const score of ["product", "likeness", "balance"]) {
      it(`${score} of ${from}`, () => {
        const property = fc.property(anyCase, paperDraws, ({ kind, models, count, seed }, drawn) => {
          const streams = drawStreams(kind, from, models + 1, count, seed);
          const base = streams.pop()!;
          const { known, settings } = paperOf(drawn, models);
          const args = pcb.scores![score]!.bind(settings, known);
          checkScoreTwin({ method: pcb, score, args, kernel: `pcb_${score}`, from, base, models: streams });
        });
        fc.assert(property, { seed: 8, numRuns: 60 });
      });
    }
  }
});

describe("the pcb kernels equal their definitions", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const property = fc.property(anyCase, draws, ({ kind, models, count, seed, ...rest }, drawn) => {
        const streams = drawStreams(kind, from, models + 1, count, seed);
        const base = streams.pop()!;
        const args = pcb.bind(settings(drawn, models), knownOf(drawn, models));
        checkTwin({ method: pcb, args, kernel: "pcb", from, to, base, models: streams, ...rest });
      });
      fc.assert(property, { seed: 5, numRuns: 60 });
    });
  }

  for (const from of FORMATS) {
    for (const [score, kernel] of [
      ["magnitude", "magnitude"],
      ["score", "pcb_scores"],
    ] as const) {
      it(`${score} of ${from}`, () => {
        const property = fc.property(anyCase, draws, ({ kind, models, count, seed }, drawn) => {
          const streams = drawStreams(kind, from, models + 1, count, seed);
          const base = streams.pop()!;
          const args = pcb.scores![score]!.bind(settings(drawn, models), knownOf(drawn, models));
          checkScoreTwin({ method: pcb, score, args, kernel, from, base, models: streams });
        });
        fc.assert(property, { seed: 6, numRuns: 60 });
      });
    }
  }
});

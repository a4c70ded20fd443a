import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import { mergewright, outcomeOf, scratch, TIES, VISION } from "./support.js";

const at = scratch(after);
writeFileSync(at("file"), "");
writeFileSync(at("two.yaml"), "method: ties\nbase: b\nmodels: [a]\nparameters:\n  densty: 0.2\n  lambda: big\n");

/** What is wrong, what is typed, and what the answer holds; the exit code is 2 unless it is said. */
const mistakes: readonly (readonly [what: string, args: readonly string[], ...answers: RegExp[]])[] = [
  ["an unknown verb", ["merg"], /^unknown verb merg$/m, /do: +write merge$/m],
  ["an unknown flag", ["merge", ...TIES, "--thread", "2"], /^unknown flag --thread$/m, /do: +write --threads$/m],
  ["a flag without its value", ["merge", ...TIES, "-o"], /-o, --out <folder> needs a value/],
  ["no output folder", ["merge", ...TIES], /-o, --out <folder> is missing/],
  ["neither recipe nor models", ["merge", "-o", at("x")], /neither a recipe nor models/, /expected: RECIPE\.yaml, or/],
  ["a method without models", ["plan", "--method", "average", "--base", "b"], /neither a recipe nor models/],
  ["an unknown method", ["plan", ...TIES, "--method", "tie"], /unknown method "tie"/, /do: +write ties/],
  ["a density of 2", ["plan", ...TIES, "-p", "density=2"], /density is out of range/, /density=2/, /from 0 to 1/],
  ["a parameter without a value", ["plan", ...TIES, "-p", "density"], /needs a name and a value/, /NAME=VALUE/],
  ["a missing model", ["plan", ...TIES, "zoo/nothing"], /no such checkpoint/, /where: +zoo\/nothing/],
  ["a missing recipe", ["plan", at("none.yaml")], /there is no such recipe/, /none\.yaml/],
  ["two mistakes in a recipe", ["plan", at("two.yaml")], /two\.yaml:5:3[^]*write density/, /two\.yaml:6:11/],
  ["the same model twice", ["plan", ...TIES, "zoo/vision/mnist"], /"zoo\/vision\/mnist" is listed twice/],
  [
    "heads of another shape",
    ["plan", "--method", "ties", ...VISION.slice(0, 4)],
    /tensor classifier\.bias/,
    /exclude it/,
  ],
  ["no thread", ["plan", ...TIES, "--threads", "0"], /--threads has a wrong value/, /from 1 to 256/],
  ["half a thread", ["plan", ...TIES, "--threads", "1.5"], /found: +"1\.5"/],
  ["an output that is a file", ["merge", ...TIES, "-o", at("file")], /the output is a file/],
  ["an output inside an input", ["merge", ...TIES, "-o", "zoo/vision/mnist/out"], /output lies inside an input/],
  ["an output without a name", ["merge", ...TIES, "-o", ""], /the output has no name/],
  [
    "a folder of something else to replace",
    ["merge", ...TIES, "-o", at(), "--force"],
    /--force replaces results of merges/,
  ],
  ["two models to inspect", ["inspect", "a", "b"], /too many arguments/],
  ["nothing to inspect", ["inspect"], /what to work on is missing: a folder/],
  ["models without a base", ["compare", "zoo/vision/mnist"], /--base <model> is missing/],
  ["a density of 2 to compare at", ["compare", "--base", "b", "a", "--density", "2"], /a number from 0 to 1/],
  ["an unknown manual", ["methods", "tie"], /^unknown method tie$/m, /write ties/],
  ["a folder without a result", ["verify", "zoo/vision/mnist"], /expected: mergewright\.json/],
];

describe("a mistake on the command line", () => {
  for (const [what, args, ...answers] of mistakes) {
    it(`is answered: ${what}`, async () => {
      const { message, exitCode } = await answerTo(args);
      assert.equal(exitCode, 2);
      for (const answer of answers) assert.match(message, answer);
    });
  }

  it("is told apart from a place that cannot be written", async () => {
    // The name alone is allowed, that of the folder in which the result grows is not.
    const { exitCode, kind } = await answerTo(["merge", ...TIES, "-o", at("n".repeat(245))]);
    assert.deepEqual([exitCode, kind], [3, "environment"]);
  });

  it("ends the program with 2 and goes to standard error", async () => {
    const { code, out, err } = await mergewright("plan", ...TIES, "-p", "density=2");
    assert.deepEqual([code, out], [2, ""]);
    assert.match(err, /^error: parameters\.density is out of range\n {2}where: +--parameter density=2\n/);
  });

  it("is one JSON object with --json, also where the parser finds it", async () => {
    const { code, out, err } = await mergewright("plan", ...TIES, "-p", "density=2", "--json");
    assert.deepEqual([code, out], [2, ""]);
    const { text, ...error } = JSON.parse(err).error;
    assert.deepEqual(error, {
      code: "recipe/out-of-range",
      kind: "request",
      message: "parameters.density is out of range",
      where: { key: "--parameter density=2" },
      expected: "a number from 0 to 1",
      found: "2",
      advice: "write 0.02 for 2 %",
    });
    assert.match(text, /^parameters\.density is out of range\n {2}where: /);
    const parsed = await mergewright("merge", "--json", "--frobnicate");
    assert.deepEqual([parsed.code, JSON.parse(parsed.err).error.code], [2, "usage"]);
  });

  it("of giving nothing at all is answered with the help", async () => {
    const { code, out, err } = await mergewright();
    assert.deepEqual([code, out], [2, ""]);
    assert.match(err, /^Usage: mergewright VERB/);
  });
});

/** The error that the arguments end in. */
async function answerTo(args: readonly string[]): Promise<MergewrightError> {
  try {
    await outcomeOf(...args);
  } catch (error) {
    assert.ok(error instanceof MergewrightError, String(error));
    return error;
  }
  assert.fail("nothing was wrong");
}

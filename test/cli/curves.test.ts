/** mergewright curves on the zoo: the reference's numbers, charts whose numbers they are, mistakes. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import type { LineChart } from "../../src/plots/chart.js";
import { drawChart } from "../../src/plots/draw.js";
import { mergewright, outcomeOf, root, scratch } from "./support.js";

const at = scratch(after);
process.env["MERGEWRIGHT_CACHE"] = at("cache");

const { tasks: TASKS, curves } = JSON.parse(readFileSync(path.join(root, "zoo", "reference.json"), "utf8")).vision;
const names: readonly string[] = TASKS;

function recipeOf(file: string, models: readonly string[], method = "ties"): string {
  const paths = models.map((name) => `zoo/vision/${name}`).join(", ");
  writeFileSync(at(file), `method: ${method}\nbase: zoo/vision/base\nmodels: [${paths}]\nexclude: ['classifier.*']\n`);
  return at(file);
}

function tasksOf(file: string, tasks: readonly string[]): string {
  const line = (name: string) =>
    `  - {name: ${name}, type: image-classification, data: zoo/vision/${name}/data.safetensors, head: zoo/vision/${name}}\n`;
  writeFileSync(at(file), `tasks:\n${tasks.map(line).join("")}`);
  return at(file);
}

const hebrew = tasksOf("hebrew.yaml", ["hebrew"]);
const one = recipeOf("one.yaml", ["hebrew"]);
const own = names.indexOf("hebrew");

describe("mergewright curves", () => {
  it("conflict: the reference's counts, without tasks; picture and numbers as files", async () => {
    const { json } = await outcomeOf("curves", recipeOf("all.yaml", names), "--kind", "conflict", "-o", at("out"));
    const [{ numbers, chart }] = json.curves;
    for (const [models, expected] of Object.entries<Record<string, number>>(curves.sign_conflict_top20)) {
      const found = numbers.signs[Number(models) - 2];
      assert.equal(found.models, Number(models));
      assert.equal(found.trimmed.conflicts, expected["conflicting"]);
      assert.ok(Math.abs(found.trimmed.share - expected["fraction_of_all"]!) < 1e-12);
      assert.ok(Math.abs(found.trimmed.shareOfShared - expected["fraction_of_entries_kept_by_two_or_more"]!) < 1e-6);
    }
    for (const [i, row] of (curves.pairwise_cosine as number[][]).entries()) {
      for (const [j, cosine] of row.entries()) assert.ok(Math.abs(numbers.cosine[i][j] - cosine) < 1e-4);
    }
    const written = JSON.parse(readFileSync(at("out", "conflict.json"), "utf8"));
    assert.deepEqual([written.kind, written.numbers, written.chart], ["conflict", numbers, chart]);
    assert.equal(readFileSync(at("out", "conflict.svg"), "utf8"), drawChart(chart as LineChart));
    const shares = (chart as LineChart).series.map(({ points }) => points.map(({ y }) => y));
    for (const share of shares.slice(0, 2))
      assert.ok(
        share.every((y, n) => n === 0 || y > share[n - 1]!),
        "more models",
      );
  });

  it("storage: experts at several ranks beside a merge, by their bytes; the scores are eval's", async () => {
    const list = tasksOf("storage.yaml", ["hebrew"]);
    const recipes = [recipeOf("experts.yaml", ["hebrew"], "smile"), recipeOf("merge.yaml", ["hebrew"], "average")];
    const flags = ["--tasks", list, "--kind", "storage", "--values", "16,64", "-o", at("out")];
    const { json } = await outcomeOf("curves", ...recipes, ...flags);
    const [{ numbers, chart }] = json.curves;
    const [experts, merged] = numbers.recipes;
    assert.deepEqual([experts.name, merged.name], ["experts", "merge"]);
    // F16; singular values are F32: base, 36 matrices at rank r with gates of 16, 30 biases of 128 and 6 of 512.
    const sides = 6 * (4 * (128 + 128) + 2 * (128 + 512));
    const gates = 16 * 6 * (5 * 128 + 512);
    const bytes = (rank: number) => 2 * (1_198_592 + rank * sides + gates + 6 * (5 * 128 + 512)) + 4 * 36 * rank;
    for (const [at, rank] of [16, 64].entries()) {
      const { stored, value } = experts.points[at];
      assert.equal(value, rank);
      assert.ok(stored > bytes(rank) && stored < bytes(rank) + 60_000, `${stored} beside ${bytes(rank)} and headers`);
    }
    assert.equal(merged.points[0].stored, 2 * 1_198_592);
    // One model: every token goes through its expert, so that rank 64 comes near to what the model itself has.
    const [small, large] = experts.points.map(({ mean }: { mean: number }) => mean);
    assert.ok(large >= small && large > 0.5, `${small} and ${large}`);
    assert.equal((chart as LineChart).series[0]!.points[1]!.y, large);
    assert.ok(existsSync(at("out", "storage.svg")));
  });

  it("redundancy: the reference's right answers within two images", async () => {
    const flags = ["--tasks", hebrew, "--kind", "redundancy", "--values", "0.1,1"];
    const { json } = await outcomeOf("curves", one, ...flags, "-o", at("out"));
    const [{ numbers, split }] = json.curves;
    assert.equal(split, "test");
    for (const { density, correct } of numbers.models[0].points) {
      const expected = curves.redundancy[String(100 * density)].correct[own];
      assert.ok(Math.abs(correct - expected) <= 2, `${density}: ${correct} beside ${expected}`);
    }
  });

  it("flips: of the largest changes each costs, of the others none ruins; none flipped is the model", async () => {
    const flags = ["--tasks", hebrew, "--kind", "flips", "--values", "0,1"];
    const { json } = await outcomeOf("curves", one, ...flags, "-o", at("out"));
    const means = Object.fromEntries(
      json.curves[0].numbers.flips.map(({ part, probability, mean }: Record<string, number>) => [
        `${part} ${probability}`,
        mean,
      ]),
    );
    assert.ok(Math.abs(600 * means["top 0"] - curves.redundancy["100"].correct[own]) <= 2);
    assert.equal(means["bottom 0"], means["top 0"]);
    assert.ok(means["top 1"] < means["bottom 1"], "signs of large changes matter more");
    assert.ok(means["top 1"] < means["top 0"] - 0.1);
  });

  it("mistakes", async () => {
    const said = async (...args: readonly string[]) => {
      const { code, err } = await mergewright("curves", ...args, "-o", at("none"));
      assert.equal(code, 2, err);
      return err;
    };
    assert.match(await said(one, "--kind", "redundancies"), /no such analysis[^]*redundancy/);
    assert.match(await said(one, "--kind", "flips"), /--tasks <file> is missing/);
    assert.match(await said(one, "--tasks", hebrew, "--kind", "oracle"), /--oracle <model>/);
    const average = recipeOf("average.yaml", ["mnist", "hebrew"], "average");
    assert.match(await said(average, "--tasks", hebrew, "--kind", "density"), /no recipe has a density/);
    assert.match(await said(average, "--tasks", hebrew, "--kind", "tasks"), /model mnist[^]*there are hebrew/);
    assert.equal(existsSync(at("none")), false);
  });
});

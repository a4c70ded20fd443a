/** Coefficients learnt on the zoo: as PyTorch's, the same however the run goes, and the same bytes when applied. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { type CoefficientOptions, type KeptState, learnCoefficients } from "../../src/collect/coefficients.js";
import { magnitudeOfRank } from "../../src/statistics/rank.js";
import { MergewrightError } from "../../src/errors.js";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import { collectPlatform } from "../../src/platform/node/collect.js";
import { Folder, merge, recipeOf, type RecipeObject } from "../laws/support/family.js";
import { largestDifference } from "../runtime/zoo.js";
import { root } from "../cli/support.js";
import type { Team } from "../../src/runtime/team.js";
import { examplesOf } from "../../src/collect/task_inputs.js";

process.chdir(root);
const folder = new Folder();
after(() => folder.remove());

const reference = JSON.parse(readFileSync("zoo/reference.json", "utf8")).vision;
const NAMES: readonly string[] = reference.tasks;

const plain = (method: string, names: readonly string[]): RecipeObject => ({
  method,
  base: "zoo/vision/base",
  models: names.map((name) => `zoo/vision/${name}`),
  exclude: ["classifier.*"],
});
const tasksOf = (names: readonly string[]) =>
  parseTasks(
    `tasks:\n${names
      .map(
        (name) =>
          `- {name: ${name}, type: image-classification, data: zoo/vision/${name}/data.safetensors, head: zoo/vision/${name}}\n`,
      )
      .join("")}`,
  );
const learn = (
  method: string,
  names: readonly string[],
  options: Partial<CoefficientOptions>,
  platform = collectPlatform,
) =>
  learnCoefficients(recipeOf(plain(method, names)), tasksOf(names), platform, {
    threads: 2,
    split: "test",
    ...options,
  });

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

/** A state in memory; runs of the tests are ended by what watches their progress. */
function state(): KeptState & { bytes: Uint8Array | null } {
  return {
    bytes: null,
    read() {
      return this.bytes;
    },
    write(bytes) {
      this.bytes = bytes;
    },
  };
}

class Killed extends Error {}

const codeOf = (code: string) => (error: unknown) => error instanceof MergewrightError && error.code === code;

describe("learning coefficients", () => {
  it("begins as PyTorch does: losses, and coefficients after a step", async () => {
    for (const [row, method, per] of [
      ["adamerging++ layer-wise", "adamerging/plus-plus", "tensor"],
      ["adamerging task-wise", "adamerging", "model"],
    ] as const) {
      const { history, coefficients } = await learn(method, NAMES, { steps: 1, per });
      const expected = reference.rows[row];
      assert.ok(Math.abs(total(history.losses[0]!) - expected.loss_step_0) < 2e-5, row);
      // The first step of Adam is the rate against the gradient's sign.
      const first: readonly number[] = expected.gradient_step_0.first_row_first_4_tensors ?? [
        expected.gradient_step_0.per_task[0],
      ];
      const tensors: readonly string[] = reference.rows["adamerging layer-wise"].coefficient_tensor_order;
      for (const [index, name] of tensors.slice(0, first.length).entries()) {
        const moved = coefficients.get(name)![0]! - 0.3;
        assert.ok(Math.abs(moved + 0.001 * Math.sign(first[index]!)) < 1e-5, `${row}, ${name}: ${moved}`);
      }
    }
  });

  it("gives the same bytes with one thread and two, and where it was ended and went on", async () => {
    const names = ["mnist", "hebrew"];
    const options = { steps: 4, batch: 5 };
    const whole = await learn("adamerging/plus-plus", names, { ...options, threads: 1 });
    const kept = state();
    const killed = learn("adamerging/plus-plus", names, {
      ...options,
      state: kept,
      keepEvery: 0,
      progress: ({ done }) => {
        if (done === 2) throw new Killed();
      },
    });
    await assert.rejects(killed, Killed);
    assert.ok(kept.bytes !== null);
    const left = kept.bytes;
    const rest = await learn("adamerging/plus-plus", names, { ...options, state: kept });
    // What the second step led to was not looked at yet when the run was killed.
    assert.equal(rest.resumedAt, 1);
    assert.deepEqual(rest.table, whole.table);
    assert.deepEqual(rest.history, whole.history);
    kept.bytes = left;
    await assert.rejects(
      learn("adamerging/plus-plus", names, { ...options, batch: 6, state: kept }),
      codeOf("output/stale-partial"),
    );
    await assert.rejects(
      learn("adamerging/plus-plus", names, { ...options, steps: 0, state: kept }),
      codeOf("output/stale-partial"),
    );
  });

  it("stops where a loss is NaN, keeping the last state whose losses were finite", async () => {
    const names = ["mnist", "hebrew"];
    const options = { steps: 6, batch: 3, threads: 1 };
    const kept = state();
    // From the third step on the second task's network finds NaN in its memory.
    const failing = {
      ...collectPlatform,
      openTeam(threads: number): Team {
        const team = collectPlatform.openTeam(threads);
        let passes = 0;
        const run: Team["run"] = (...args) => {
          if (++passes >= 6) new Float32Array(team.memory.buffer).fill(Number.NaN, team.free, team.free + 4096);
          return team.run(...args);
        };
        const { memory, kernels, free } = team;
        return { threads: team.threads, memory, kernels, free, run, close: () => team.close() };
      },
    };
    const run = learn("adamerging", names, { ...options, state: kept }, failing);
    const error: unknown = await run.catch((reason: unknown) => reason);
    assert.ok(codeOf("collect/not-finite")(error));
    assert.match(String(error), /the loss of hebrew is not finite at step 2[^]*NaN[^]*--steps 1 writes it/);
    const one = await learn("adamerging", names, { ...options, steps: 1, state: kept });
    assert.equal(one.resumedAt, 1);
    assert.deepEqual(one.table, (await learn("adamerging", names, { ...options, steps: 1 })).table);
  });

  it("keeps nothing where its first step was one too far", async () => {
    const kept = state();
    const run = learn("adamerging", ["mnist"], {
      steps: 2,
      batch: 1,
      threads: 1,
      rate: 1e38,
      clamp: null,
      state: kept,
    });
    const error: unknown = await run.catch((reason: unknown) => reason);
    assert.match(String(error), /not finite at step 1[^]*smaller --rate/);
    assert.equal(kept.bytes, null);
  });

  it("writes a table with which a merge gives the bytes of the search's own", async () => {
    const names = ["mnist", "hebrew", "fashion", "latin", "greek"];
    for (const [method, per, again] of [
      ["adamerging", "tensor", "task_arithmetic"],
      ["adamerging/plus-plus", "layer", "adamerging/plus-plus"],
    ] as const) {
      const { table, merged, coefficients } = await learn(method, names, { steps: 2, batch: 4, per });
      const file = `${folder.path}/${per}.safetensors`;
      writeFileSync(file, table);
      for (const [use, models] of [
        [method, names],
        [again, names],
        [method, [...names].reverse()],
      ] as const) {
        const written = await merge(
          { ...plain(use, models), coefficients: file, output: { dtype: "float32" } },
          { out: folder.fresh() },
        );
        for (const [name, expected] of merged) {
          // In another order the sums are rounded otherwise; each model still has its own coefficient.
          if (models === names) assert.deepEqual(written.values(name), expected, `${use}: ${name}`);
          else assert.ok(largestDifference(written.values(name), expected) < 1e-6, `${models.join()}: ${name}`);
        }
      }
      const of = (name: string) => coefficients.get(name)!;
      const [a, b] = ["layernorm_before.weight", "output.dense.weight"].map((end) => of(`vit.encoder.layer.2.${end}`));
      assert.equal(a!.join() === b!.join(), per === "layer", "tensors of a layer share coefficients where layers do");
    }
  });

  it("needs no labels, and takes examples in the data's order round and round", () => {
    assert.deepEqual(examplesOf(2, { name: "t", count: 7 }, { batch: 3, seed: null }), [6, 0, 1]);
    const round = [0, 1, 2, 3].flatMap((step) => examplesOf(step, { name: "t", count: 8 }, { batch: 2, seed: 5 }));
    assert.deepEqual(
      [...round].sort((a, b) => a - b),
      [0, 1, 2, 3, 4, 5, 6, 7],
    );
    assert.notDeepEqual(round, [0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe("ranks in memory", () => {
  it("are those of sorted magnitudes, with equal entries and zeros", () => {
    const values = Float32Array.from(
      { length: 999 },
      (_, p) => Math.fround(Math.sin(p) * (p % 7)) * (p % 2 === 0 ? 1 : -1),
    );
    const sorted = [...values].map(Math.abs).sort((a, b) => b - a);
    for (const rank of [1, 2, 200, 850, 999]) {
      const { threshold, kept } = magnitudeOfRank([values.subarray(0, 400), values.subarray(400)], rank);
      assert.equal(threshold, sorted[rank - 1]);
      assert.equal(kept, sorted.filter((value) => value >= threshold).length);
    }
  });
});

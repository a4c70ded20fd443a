/** A collection in a process of its own, to be killed: node collect_kill.js KIND OUT. Says a line when its state is kept. */

import path from "node:path";
import { learnCoefficients } from "../../src/collect/coefficients.js";
import { collectStatistics } from "../../src/collect/collect.js";
import { learnSigns } from "../../src/collect/signs.js";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import type { StatisticsKind } from "../../src/methods/method.js";
import { collectPlatform } from "../../src/platform/node/collect.js";
import { stateBeside, writeWhole } from "../../src/platform/node/kept_state.js";
import {
  readEarlier,
  collectPlatform as statisticsPlatform,
  unfinished,
  writeStatistics,
} from "../../src/platform/node/statistics.js";
import { recipeOf } from "../laws/support/family.js";

const [kind, out] = process.argv.slice(2) as [StatisticsKind | "coefficients" | "signs", string];
const vision = path.resolve("zoo/vision");
const names = ["mnist", "hebrew"];
const tasks = parseTasks(
  JSON.stringify({
    tasks: names.map((name) => ({
      ...{ name, type: "image-classification", data: path.join(vision, name, "data.safetensors") },
      head: path.join(vision, name),
    })),
  }),
  "tasks",
);
const recipe = recipeOf({
  ...{ method: "adamerging", base: path.join(vision, "base"), exclude: ["classifier.*"] },
  models: names.map((name) => path.join(vision, name)),
});
const told = () => process.stdout.write("kept\n");
const learning = { threads: 1, steps: 4, batch: 2, keepEvery: 0 };

if (kind === "coefficients" || kind === "signs") {
  const state = stateBeside(out);
  const options = {
    ...learning,
    state: {
      read: () => state.read(),
      write(bytes: Uint8Array) {
        state.write(bytes);
        told();
      },
    },
  };
  if (kind === "coefficients") {
    const { table, resumedAt } = await learnCoefficients(recipe, tasks, collectPlatform, options);
    writeWhole(out, table);
    process.stdout.write(`from ${resumedAt}\n`);
  } else {
    const { files, resumedAt } = await learnSigns(recipe, tasks, collectPlatform, options);
    writeWhole(out, files.get("model.safetensors")!);
    process.stdout.write(`from ${resumedAt}\n`);
  }
} else {
  const request = {
    ...{ kind, model: path.join(vision, "mnist"), task: tasks[0]!, split: "train", first: 0, examples: 40 },
    ...{ dialect: kind === "fisher" ? "empirical" : null, seed: 0, batch: 4 },
  } as const;
  let from = 0;
  const { info, sums } = await collectStatistics(request, statisticsPlatform, {
    threads: 1,
    async resume(whole) {
      const earlier = await readEarlier(out, whole);
      from = earlier?.examples ?? 0;
      return earlier;
    },
    async keep(soFar, held) {
      await writeStatistics(unfinished(out), soFar, held);
      told();
    },
  });
  await writeStatistics(out, info, sums);
  process.stdout.write(`from ${from}\n`);
}

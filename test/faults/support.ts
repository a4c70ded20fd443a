/** Ways to interrupt a merge. */

import fs from "node:fs";
import path from "node:path";
import { soloCrew } from "../../src/execute/crew.js";
import type { Crew } from "../../src/execute/crew.js";
import type { Bench } from "../../src/execute/bench.js";
import { workbenchBytes } from "../../src/execute/workbench.js";
import { createMemory, loadKernels, PAGE_BYTES } from "../../src/kernels/load.js";
import type { Platform } from "../../src/merge.js";
import { openBench } from "../../src/platform/node/bench.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import type { ByteSink } from "../../src/sources/sink.js";
import { wrapCrew } from "../laws/support/family.js";

export class Interrupted extends Error {}

const WRITING = new Set<string>(["assume", "combine", "combineColumns", "copy", "mask", "mixRows", "pack"]);

/** Node's platform, whose crews stop after so many blocks were written, or before the so-manieth stage. */
export function interruptedAfter({
  blocks = Infinity,
  stages = Infinity,
}: {
  blocks?: number;
  stages?: number;
}): typeof nodePlatform {
  let blocksLeft = blocks;
  let stagesLeft = stages;
  const wrap = (crew: Crew) =>
    wrapCrew(crew, async (stage, progress) => {
      if (stage.blocks.length > 0 && stagesLeft-- <= 0) throw new Interrupted();
      const most = WRITING.has(stage.job) ? blocksLeft : Infinity;
      if (WRITING.has(stage.job)) blocksLeft -= Math.min(most, stage.blocks.length);
      if (stage.blocks.length <= most) return crew.run(stage, progress);
      await crew.run({ ...stage, blocks: stage.blocks.slice(0, most) }, progress);
      throw new Interrupted();
    });
  return { ...nodePlatform, createCrew: async (...args) => wrap(await nodePlatform.createCrew(...args)) };
}

/** A crew of one whose sinks are `wrap`ped. */
export function platformWithSink(wrap: (sink: ByteSink) => ByteSink): Platform {
  return {
    ...nodePlatform,
    async createCrew(setup, _threads, statisticsBytes) {
      const bytes = workbenchBytes(setup);
      const memory = createMemory(PAGE_BYTES + statisticsBytes + bytes, false);
      const open = openBench(setup, loadKernels(memory), { address: PAGE_BYTES + statisticsBytes, bytes });
      const sinks: ByteSink[] = [];
      const bench: Bench = {
        work: open.work,
        method: open.method,
        written: (file) => open.written(file),
        sink: async (file) => (sinks[file] ??= wrap(await open.sink(file))),
      };
      return { ...soloCrew(bench, PAGE_BYTES), close: () => open.close() };
    },
  };
}

/** Where an unfinished result lies. */
export function partialOf(out: string): string {
  return path.join(path.dirname(out), `.${path.basename(out)}.mergewright-partial`);
}

/** Every file of a folder by name; the README has nothing that could differ, but is no weight. */
export function filesOf(folder: string): Map<string, string> {
  const names = (fs.readdirSync(folder, { recursive: true }) as string[]).filter((name) =>
    fs.statSync(path.join(folder, name)).isFile(),
  );
  return new Map(names.sort().map((name) => [name, fs.readFileSync(path.join(folder, name)).toString("base64")]));
}

/** Whatever interrupts a merge, running it again gives the bytes of a merge that nothing interrupted. */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { type ErrorCode, MergewrightError } from "../../src/errors.js";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { mergeModels, type Platform } from "../../src/merge.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import {
  Folder,
  merge,
  type RecipeObject,
  recipeOf,
  tensor,
  type TestTensor,
  wrapCrew,
} from "../laws/support/family.js";
import { dice, normals } from "../laws/support/random.js";
import { filesOf, Interrupted, interruptedAfter, partialOf, platformWithSink } from "./support.js";

const folder = new Folder();
after(() => folder.remove());

/** The second has more entries than a block. */
const SHAPES: readonly (readonly number[])[] = [[5], [8, BLOCK_ENTRIES / 8 + 375], [900], [3], [60, 100], [17]];

/**
 * Coarse, so that columns cancel and thresholds can be guessed. Most changes are positive, but in the first block and
 * the last ones, so that a majority assumed too early proves wrong.
 */
function checkpoint(seed: number, dtype: FloatDtype): TestTensor[] {
  const roll = dice(seed);
  const tensors = SHAPES.map((shape, index) => {
    const sign = index === 1 ? 1 : -1;
    const values = Float32Array.from(
      { length: shape.reduce((size, length) => size * length) },
      () => (seed === 0 ? 0 : (roll(10) < 6 ? sign : -sign) * roll(64)) / 64,
    );
    return tensor(`t${index}`, values, dtype, shape);
  });
  const steps = { name: "steps", dtype: "I64" as const, shape: [2], bytes: new Uint8Array(16).fill(seed) };
  return [steps, ...tensors];
}

function family(dtype: FloatDtype): { base: string; models: string[] } {
  const [base, ...models] = [0, 1, 2, 3].map((seed) => folder.write(`${dtype}-${seed}`, checkpoint(seed, dtype)));
  return { base: base!, models };
}

const coarse = family("BF16");
const fine = family("F32");

const recipes: Readonly<Record<string, RecipeObject>> = {
  average: { method: "average", ...fine },
  "task arithmetic with DARE": { method: "task_arithmetic", dare: { drop: 0.5 }, ...coarse },
  "ties with a guess": { method: "ties", ...coarse },
  "ties with a survey": { method: "ties", parameters: { density: 0.37 }, ...fine },
  "ties within tensors": { method: "ties", parameters: { trim: "tensor" }, ...coarse },
  "ties with an exact quota": { method: "ties", parameters: { quota: "exactly" }, ...coarse },
  "ties with an exact quota within tensors": {
    method: "ties",
    parameters: { quota: "exactly", trim: "tensor" },
    ...coarse,
  },
  "breadcrumbs over models, with a majority": {
    method: "breadcrumbs_ties",
    parameters: { density: 0.4, gamma: 0.1, scope: "model" },
    ...coarse,
  },
  "breadcrumbs to the old norms": { method: "breadcrumbs", parameters: { density: 0.4, rescale: "norm" }, ...coarse },
  "della to the old norms": { method: "della", parameters: { density: 0.4, rescale: "norm" }, seed: 2, ...fine },
  "ties with a quota over pruned changes": {
    method: "ties",
    parameters: { trim: "tensor", quota: "exactly" },
    prune: { by: "magnitude", density: 0.5 },
    ...coarse,
  },
  "sce, which counts and then sums": { method: "sce", parameters: { select_topk: 0.3 }, ...coarse },
  "model stock": { method: "model_stock", ...coarse },
  "model stock by rows": { method: "model_stock", parameters: { filter_wise: true }, ...fine },
  "nuslerp by columns": {
    method: "nuslerp",
    parameters: { nuslerp_flatten: false, nuslerp_row_wise: true },
    base: coarse.base,
    models: coarse.models.slice(1),
  },
  "arcee_fusion, which measures rows": { method: "arcee_fusion", base: fine.base, models: fine.models.slice(0, 1) },
  "pcb, which asks for quantiles twice": { method: "pcb", ...fine },
  "pcb by the paper, with its sums": { method: "pcb/paper", ...coarse },
  "ties with norms": { method: "ties", parameters: { select: "deviations", elect: "norm-mass" }, ...fine },
  "ties over a merge with an exact quota": {
    method: "ties",
    base: coarse.base,
    models: [
      {
        merge: {
          method: "ties",
          parameters: { quota: "exactly" },
          base: coarse.base,
          models: coarse.models.slice(0, 2),
        },
      },
      coarse.models[2]!,
    ],
    output: { dtype: "bfloat16" },
  },
};

const whole = new Map<RecipeObject, Promise<Map<string, string>>>();

/** The files of a merge that nothing interrupted. */
function undisturbed(recipe: RecipeObject): Promise<Map<string, string>> {
  let files = whole.get(recipe);
  if (files === undefined) {
    const out = folder.fresh();
    files = merge(recipe, { out }).then(() => filesOf(out));
    whole.set(recipe, files);
  }
  return files;
}

const fails = (code: ErrorCode, exitCode: number) => (error: unknown) => {
  assert.ok(error instanceof MergewrightError, String(error));
  assert.deepEqual([error.code, error.exitCode], [code, exitCode], error.message);
  return true;
};

async function interrupt(recipe: RecipeObject, out: string, platform: Platform, threads = 1): Promise<boolean> {
  try {
    await merge(recipe, { out, threads }, platform);
    return false;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    assert.ok(!fs.existsSync(out));
    return true;
  }
}

async function finish(recipe: RecipeObject, out: string, threads: number, what: string): Promise<void> {
  const { result } = await merge(recipe, { out, threads, tuning: { tileEntries: 8192, chunkEntries: 32_768 } });
  assert.ok(result.result.resumed, what);
  const [files, expected] = [filesOf(out), await undisturbed(recipe)];
  assert.deepEqual([...files.keys()], [...expected.keys()], what);
  for (const [name, bytes] of files) assert.ok(bytes === expected.get(name), `${name} differs; ${what}`);
  assert.ok(!fs.existsSync(partialOf(out)));
}

describe("interrupted and run again", () => {
  for (const [name, recipe] of Object.entries(recipes)) {
    // Odd and even numbers in turn, so that every one is met.
    const first = Object.keys(recipes).indexOf(name) % 2;
    it(`${name}: after any number of blocks`, async () => {
      for (let blocks = first; ; blocks += 2) {
        const out = folder.fresh();
        const threads = blocks % 4 === 1 || blocks % 8 === 2 ? 2 : 1;
        if (!(await interrupt(recipe, out, interruptedAfter({ blocks }), threads))) break;
        // Every other is interrupted twice.
        if (blocks % 4 > 1) await interrupt(recipe, out, interruptedAfter({ blocks: 2 }), threads);
        if (!fs.existsSync(out)) await finish(recipe, out, blocks % 4 === 3 ? 2 : 1, `${blocks} blocks`);
      }
    });

    it(`${name}: before any stage`, async () => {
      for (let stages = 0; ; stages += 1 + (stages >> 1)) {
        const out = folder.fresh();
        if (!(await interrupt(recipe, out, interruptedAfter({ stages }), 1))) break;
        await finish(recipe, out, 1, `${stages} stages`);
      }
    });
  }
});

describe("killed", () => {
  const entries = 6_000_000;
  const write = (seed: number) => {
    const values = normals(entries, seed, seed === 0 ? 0.05 : 0.01);
    const parts = [0, 1, 2, 3, 4].map((index) => {
      const part = values.subarray((index * entries) / 5, ((index + 1) * entries) / 5);
      return tensor(`layers.${index}.weight`, part, "BF16", [1000, part.length / 1000]);
    });
    return folder.write(`killed-${seed}`, parts);
  };
  const family = [0, 1, 2, 3].map(write);

  for (const method of ["ties", "dppa"]) {
    it(`${method}: at several moments, and continued`, () => killAndContinue(method));
  }

  async function killAndContinue(method: string): Promise<void> {
    const [base, ...all] = family;
    const models = method === "ties" ? all : all.slice(0, 2);
    const recipe = { method, base, models };
    const reference = folder.fresh();
    const script = fileURLToPath(new URL("./kill.js", import.meta.url));
    const start = (out: string, threads: number) =>
      spawn(process.execPath, [script, JSON.stringify(recipe), out, String(threads)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
    const first = start(reference, 2);
    await once(first.stdout, "data");
    const began = performance.now();
    await once(first, "exit");
    const duration = performance.now() - began;

    const out = folder.fresh();
    let kills = 0;
    // The first is early, so that at least one comes in time however the load changes.
    for (const [round, share] of [0.1, 0.45, 0.25, 0.6].entries()) {
      if (fs.existsSync(out)) break;
      const child = start(out, 1 + (round % 2));
      const ended = once(child, "exit");
      await once(child.stdout, "data");
      await new Promise((resolve) => setTimeout(resolve, share * duration));
      child.kill("SIGKILL");
      const [, signal] = (await ended) as [number | null, string | null];
      if (signal === "SIGKILL") kills++;
    }
    assert.ok(kills > 0);
    if (!fs.existsSync(out)) await mergeModels(recipeOf(recipe), nodePlatform, { out, threads: 2 });
    const [files, expected] = [filesOf(out), filesOf(reference)];
    assert.deepEqual([...files.keys()], [...expected.keys()]);
    for (const [name, bytes] of files) assert.ok(bytes === expected.get(name), `${name} differs after ${kills} kills`);
  }
});

describe("what an interruption can leave", () => {
  const recipe = recipes["ties with a guess"]!;

  /** The partial folder of a merge that stopped after some blocks. */
  async function stopped(blocks = 5): Promise<{ out: string; partial: string; journal: string }> {
    const out = folder.fresh();
    assert.ok(await interrupt(recipe, out, interruptedAfter({ blocks })));
    const partial = partialOf(out);
    return { out, partial, journal: path.join(partial, "journal.jsonl") };
  }

  it("a torn last line of the journal, at every place of it", async () => {
    const { journal } = await stopped();
    const text = fs.readFileSync(journal, "utf8");
    const last = text.lastIndexOf("\n", text.length - 2) + 1;
    for (const cut of [last + 1, last + 20, text.length - 1]) {
      const { out, journal: torn } = await stopped();
      fs.writeFileSync(torn, text.slice(0, cut));
      await finish(recipe, out, 1, `cut at ${cut}`);
    }
  });

  it("a torn first line: everything is done again", async () => {
    const { out, journal } = await stopped();
    fs.writeFileSync(journal, fs.readFileSync(journal, "utf8").slice(0, 40));
    const merged = await merge(recipe, { out });
    assert.ok(!merged.result.result.resumed);
    assert.deepEqual(filesOf(out), await undisturbed(recipe));
  });

  it("lines of the journal that make no sense are passed over", async () => {
    const nonsense = [
      "",
      "{",
      "null",
      "7",
      '"block"',
      "{}",
      '{"unknown":1}',
      "\0\0\0\0",
      '{"block":[1,0],"writ{"block":[1,1]}',
    ];
    const { out, journal } = await stopped();
    const [first, ...lines] = fs.readFileSync(journal, "utf8").split("\n");
    fs.writeFileSync(journal, [first, ...nonsense, ...lines].join("\n"));
    await finish(recipe, out, 1, "nonsense");
  });

  it("written blocks whose bytes were lost or changed are written again", async () => {
    for (const damage of ["zeros", "one bit", "cut off", "gone"]) {
      const { out, partial } = await stopped(6);
      const file = path.join(partial, "model.safetensors");
      const bytes = fs.readFileSync(file);
      if (damage === "zeros") fs.writeFileSync(file, bytes.fill(0, 1000));
      if (damage === "one bit") fs.writeFileSync(file, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1]! ^ 1));
      if (damage === "cut off") fs.truncateSync(file, 2000);
      if (damage === "gone") fs.rmSync(file);
      await finish(recipe, out, 1, damage);
    }
  });

  it("another recipe is refused, until --force", async () => {
    const { out } = await stopped();
    const other = { ...recipe, parameters: { density: 0.3 } };
    await assert.rejects(merge(other, { out }), fails("output/stale-partial", 2));
    await assert.rejects(merge({ ...recipe, seed: 3 }, { out }), fails("output/stale-partial", 2));
    await merge(other, { out, force: true });
    assert.deepEqual(filesOf(out), await undisturbed(other));
    await assert.rejects(merge(recipe, { out }), fails("output/exists", 2));
    await merge(recipe, { out, force: true });
    assert.deepEqual(filesOf(out), await undisturbed(recipe));
  });

  it("after a refusal, the recipe that began can still end", async () => {
    const { out } = await stopped();
    await assert.rejects(merge({ ...recipe, parameters: { density: 0.3 } }, { out }), fails("output/stale-partial", 2));
    await finish(recipe, out, 1, "after a refusal");
  });
});

describe("inputs that do not stay", () => {
  const own = () => {
    const models = [1, 2].map((seed) => folder.write(`moving-${seed}`, checkpoint(seed, "BF16")));
    return { method: "ties", base: coarse.base, models };
  };
  const fileOf = (model: string) => path.join(model, "model.safetensors");

  it("changed between two runs: refused until it is restored, or --force", async () => {
    const recipe = own();
    const file = fileOf(recipe.models[1]!);
    const aside = folder.at("aside.safetensors");
    const out = folder.fresh();
    const expected = await undisturbed(recipe);
    await interrupt(recipe, out, interruptedAfter({ blocks: 4 }));
    // A rename keeps the time of modification to the nanosecond.
    fs.renameSync(file, aside);
    folder.write("moving-2", checkpoint(9, "BF16"));
    await assert.rejects(merge(recipe, { out }), fails("input/changed", 2));
    const forced = folder.fresh();
    await merge(recipe, { out: forced });
    fs.renameSync(aside, file);
    assert.ok((await merge(recipe, { out })).result.result.resumed);
    assert.deepEqual(filesOf(out).get("model.safetensors"), expected.get("model.safetensors"));

    const again = folder.fresh();
    await interrupt(recipe, again, interruptedAfter({ blocks: 4 }));
    folder.write("moving-2", checkpoint(9, "BF16"));
    await merge(recipe, { out: again, force: true });
    assert.deepEqual(filesOf(again).get("model.safetensors"), filesOf(forced).get("model.safetensors"));
  });

  for (const threads of [1, 2]) {
    it(`changed or gone between the plan and the first read: ${threads} thread${threads > 1 ? "s" : ""}`, async () => {
      const recipe = own();
      const expected = await undisturbed({ ...recipe });
      const aside = folder.at("aside.safetensors");
      for (const [code, exitCode, harm] of [
        ["input/changed", 2, (file: string) => fs.appendFileSync(file, "x")],
        ["input/vanished", 3, (file: string) => fs.rmSync(file)],
      ] as const) {
        const file = fileOf(recipe.models[0]!);
        const platform: Platform = {
          ...nodePlatform,
          createCrew: (...args) => {
            fs.renameSync(file, aside);
            fs.copyFileSync(aside, file);
            harm(file);
            return nodePlatform.createCrew(...args);
          },
        };
        const out = folder.fresh();
        await assert.rejects(merge(recipe, { out, threads }, platform), fails(code, exitCode));
        assert.ok(!fs.existsSync(out));
        fs.renameSync(aside, file);
        assert.ok((await merge(recipe, { out, threads })).result.result.resumed);
        assert.deepEqual(filesOf(out).get("model.safetensors"), expected.get("model.safetensors"));
      }
    });
  }

  it("gone before a second run", async () => {
    const recipe = own();
    const out = folder.fresh();
    await interrupt(recipe, out, interruptedAfter({ blocks: 3 }));
    fs.renameSync(recipe.models[0]!, folder.at("elsewhere"));
    await assert.rejects(merge(recipe, { out }), fails("checkpoint/missing-file", 2));
    fs.renameSync(folder.at("elsewhere"), recipe.models[0]!);
    const { result } = await merge(recipe, { out });
    assert.ok(result.result.resumed);
    assert.deepEqual(filesOf(out), await undisturbed({ ...recipe }));
  });
});

describe("a full disk", () => {
  const full = () => new MergewrightError("The disk is full.", { kind: "environment", code: "io/disk-full" });

  for (const name of ["ties with a guess", "ties within tensors", "average"]) {
    it(`at any write of a block: ${name}`, async () => {
      const recipe = recipes[name]!;
      for (const writes of [0, 4]) {
        const out = folder.fresh();
        let left = writes;
        const platform = platformWithSink((sink) => ({
          ...{ label: sink.label, close: () => sink.close() },
          write: (offset, bytes) => {
            if (left-- <= 0) throw full();
            return sink.write(offset, bytes);
          },
        }));
        await assert.rejects(merge(recipe, { out }, platform), fails("io/disk-full", 3));
        await finish(recipe, out, 1, `${writes} writes`);
      }
    });
  }

  for (const threads of [1, 2]) {
    it(`at any line of the journal: ${threads} thread${threads > 1 ? "s" : ""}`, async () => {
      const recipe = recipes["ties with a survey"]!;
      for (const lines of [threads, threads + 2]) await failingJournal(recipe, lines, threads);
    });
  }

  async function failingJournal(recipe: RecipeObject, lines: number, threads: number): Promise<void> {
    const out = folder.fresh();
    let left = lines;
    const platform: Platform = {
      ...nodePlatform,
      openWorkspace: (...args) => {
        const workspace = nodePlatform.openWorkspace(...args);
        const record = (more: readonly string[]) => {
          if (left-- <= 0) throw full();
          workspace.record(more);
        };
        return { ...workspace, record };
      },
    };
    await assert.rejects(merge(recipe, { out, threads }, platform), fails("io/disk-full", 3));
    await finish(recipe, out, 2, `${lines} lines`);
  }

  it("after a failure nothing is recorded any more, though other tensors were under way", async () => {
    const late: (readonly string[])[] = [];
    const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
    const platform: Platform = {
      ...nodePlatform,
      async createCrew(...args) {
        const crew = await nodePlatform.createCrew(...args);
        return wrapCrew(crew, async (stage, progress) => {
          if (stage.job === "assume") throw full();
          const parts = await crew.run(stage, progress);
          // Another tensor's statistics take longer than the failure.
          if (stage.blocks[0]?.tensor === 2) await sleep(50);
          return parts;
        });
      },
      openWorkspace: (...args) => {
        const workspace = nodePlatform.openWorkspace(...args);
        let open = true;
        const release = () => {
          open = false;
          workspace.release();
        };
        const record = (lines: readonly string[]) => {
          if (open) workspace.record(lines);
          else late.push(lines);
        };
        return { ...workspace, release, record };
      },
    };
    const recipe = { method: "ties", parameters: { trim: "tensor" }, ...fine };
    await assert.rejects(merge(recipe, { out: folder.fresh() }, platform), fails("io/disk-full", 3));
    await sleep(400);
    assert.deepEqual(late, []);
  });

  it("a real one", async (context) => {
    const disk = folder.at("disk");
    fs.mkdirSync(disk);
    const mount = (...options: string[]) =>
      execFileSync("mount", ["-t", "tmpfs", "-o", ...options, "tmpfs", disk], { stdio: "ignore" });
    try {
      mount("size=512k");
    } catch {
      context.skip("needs the right to mount");
      return;
    }
    try {
      const recipe = recipes["ties with a guess"]!;
      for (const threads of [1, 2]) {
        const out = path.join(disk, `out-${threads}`);
        await assert.rejects(merge(recipe, { out, threads }), fails("io/disk-full", 3));
        mount("remount,size=8m");
        await finish(recipe, out, threads, "with more room");
        fs.rmSync(out, { recursive: true });
        mount("remount,size=512k");
      }
    } finally {
      execFileSync("umount", [disk]);
    }
  });
});

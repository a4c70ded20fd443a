import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { Folder, merge, tensor } from "../../test/laws/support/family.js";
import { writeImportances } from "../../test/laws/support/importances.js";
import { normals } from "../../test/laws/support/random.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { apl } from "./apl.js";
import { refusal } from "../../test/refusal.js";

const folder = new Folder();
after(() => folder.remove());

/** Two layers and a vector outside of them; changes 1, 2, 3 … of the first model, a tenth of the second. */
const NAMES = ["layers.0.a.weight", "layers.0.b.weight", "layers.1.a.weight", "norm.weight"];
const ramp = (scale: number) =>
  NAMES.map((name, index) =>
    tensor(
      name,
      Float32Array.from({ length: 4 }, (_, p) => scale * (4 * index + p + 1)),
      "F32",
      [2, 2],
    ),
  );
const base = folder.write("base", ramp(0));
const first = folder.write("first", ramp(1));
const second = folder.write("second", ramp(-0.125));

type Sums = Readonly<Record<string, readonly number[]>>;
const all = (value: number): Sums => Object.fromEntries(NAMES.map((name) => [name, [value, value]]));
let files = 0;
const file = (model: string, sums: Sums, how = {}) =>
  writeImportances(folder.at(`${files++}.safetensors`), { model, base }, sums, how);

async function run(own: Sums, other: Sums, parameters: object = {}, more: object = {}, how = {}) {
  return merge(
    {
      ...{ method: "apl", base, parameters: { lambda: 1, ...parameters }, output: { dtype: "float32" }, ...more },
      models: [
        { model: first, statistics: await file(first, own, how) },
        { model: second, statistics: await file(second, other, how) },
      ],
    },
    { out: folder.fresh() },
  );
}

describe("apl: weights", () => {
  it("of equal importances make task arithmetic with the same lambda", async () => {
    const plain = { method: "task_arithmetic", base, models: [first, second], output: { dtype: "float32" } };
    const expected = await merge({ ...plain, parameters: { lambda: 0.3 } }, { out: folder.fresh() });
    for (const [own, other] of [
      [2, 2],
      [-2, 2],
      [0, 0],
    ] as const) {
      const { prints } = await run(all(own), all(other), { lambda: 0.3 });
      assert.deepEqual(prints, expected.prints, `${own} and ${other}`);
    }
    assert.deepEqual((await run(all(9), all(1), { lambda: 0.3, weights: "even" })).prints, expected.prints);
  });

  it("are shares of the importance of a partition: of signed rows first summed", async () => {
    // Layer 0: |4 - 1| = 3 beside 1. Layer 1: 2 beside 2. Outside: 1 beside 0.
    const own = { ...all(1), [NAMES[0]!]: [4, 0], [NAMES[1]!]: [-2, 1], [NAMES[3]!]: [1, 0] };
    const other = { ...all(1), [NAMES[0]!]: [0, 0], [NAMES[1]!]: [0.5, 0.5], [NAMES[3]!]: [3, -3] };
    const merged = await run(own, other);
    const at = (name: number) => [...merged.values(NAMES[name]!)];
    const sum = (name: number, a: number, b: number) => [1, 2, 3, 4].map((p) => (4 * name + p) * (2 * a - 0.25 * b));
    assert.deepEqual([at(0), at(1)], [sum(0, 0.75, 0.25), sum(1, 0.75, 0.25)]);
    assert.deepEqual([at(2), at(3)], [sum(2, 0.5, 0.5), sum(3, 1, 0)]);
  });

  it("by what helps alone leave out what harms", async () => {
    const [name] = NAMES;
    const harmful = { ...all(-1), [NAMES[0]!]: [3, 0] };
    const found = await run(harmful, all(-1), { importance: "helpful", partition: "tensor" });
    assert.deepEqual([...found.values(name!)], [-0.25, -0.5, -0.75, -1]);
  });

  it("count a model's own strength", async () => {
    const models = [
      { model: first, statistics: await file(first, all(1)), parameters: { weight: 3 } },
      { model: second, statistics: await file(second, all(3)) },
    ];
    const merged = await merge(
      { method: "apl", base, models, parameters: { lambda: 1 }, output: { dtype: "float32" } },
      { out: folder.fresh() },
    );
    assert.deepEqual([...merged.values(NAMES[0]!)], [0.875, 1.75, 2.625, 3.5]);
  });

  it("are even where no statistics know a tensor, which stays whole", async () => {
    const known = Object.fromEntries(Object.entries(all(1)).filter(([name]) => name !== NAMES[2]));
    const merged = await run(known, { ...known, [NAMES[3]!]: [0, 0] }, { density: 0.5 });
    assert.deepEqual(
      [...merged.values(NAMES[2]!)],
      [9, 10, 11, 12].map((p) => p * 0.875),
    );
    const { reason } = merged.result.plan.tensors.find(({ name }) => name === NAMES[2])!;
    assert.match(reason, /no statistics of it; kept whole and weighed evenly/);
  });
});

describe("apl: densities", () => {
  const of = (
    changes: readonly number[],
    parameters: Readonly<Record<string, number | string>>,
    entries = changes.map(() => 100),
  ) =>
    apl.densities!(
      settingsOf(apl, parameters, []).global,
      changes.map((change, index) => ({ change, entries: entries[index]! })),
    );

  it("are proportional to importance, at most 1, and keep as many entries as asked for", () => {
    assert.deepEqual(of([1, -2, 1], { density: 0.375 }), [0.28125, 0.5625, 0.28125]);
    // 8 would take more than all: it is full, and the others share the rest.
    assert.deepEqual(of([1, 8, 1], { density: 0.5 }), [0.25, 1, 0.25]);
    assert.deepEqual(of([4, 1], { density: 0.5 }, [300, 100]), [(4 * 200) / 1300, 200 / 1300]);
    const many = [0.1, 7, 0.3, 2, 5, 0.01];
    const sizes = [10, 400, 30, 5, 80, 1000];
    for (const density of [0.05, 0.2, 0.5, 0.77, 0.99]) {
      const kept = of(many, { density }, sizes).reduce((sum, share, index) => sum + share * sizes[index]!, 0);
      assert.ok(Math.abs(kept - density * 1525) < 1e-9, `${kept} of ${density * 1525}`);
    }
  });

  it("leave what is left over to what has no importance", () => {
    assert.deepEqual(of([1, 0, 0], { density: 0.5 }), [1, 0.25, 0.25]);
    assert.deepEqual(of([0, 0], { density: 0.5 }), [0.5, 0.5]);
    assert.deepEqual(of([1, 0], { density: 0 }), [0, 0]);
    assert.deepEqual(of([1, 0], { density: 1 }), [1, 1]);
  });

  it("by rank, or everywhere the same", () => {
    assert.deepEqual(of([9, 1, 100, 9], { density: 0.25, densities: "rank" }), [0.25, 0.1, 0.4, 0.25]);
    assert.deepEqual(of([9, 1, 100], { density: 0.25, densities: "even" }), [0.25, 0.25, 0.25]);
  });

  it("are those of an independent computation on the zoo", () => {
    const { vision } = JSON.parse(readFileSync(new URL("../../../zoo/reference.json", import.meta.url), "utf8"));
    const sizes = [8704, ...Array.from({ length: 6 }, () => 198_272), 256];
    for (const rho of ["0.5", "0.8"]) {
      for (const [task, { _loss, ...importance }] of Object.entries<Record<string, number>>(vision.apl_importance)) {
        const expected = Object.values<number>(vision[`apl_density_rho_${rho}`][task]);
        const found = of(Object.values(importance), { density: 1 - Number(rho) }, sizes);
        for (const [index, value] of expected.entries()) {
          assert.ok(Math.abs(found[index]! - value) < 1e-9, `${task}: ${found[index]} beside ${value}`);
        }
      }
    }
  });
});

describe("apl: what is dropped", () => {
  it("the smallest magnitudes of a layer, over its tensors", async () => {
    // The first model keeps half of its 16 entries: six of layer 0's eight, two of layer 1's four, none outside.
    const own = { ...all(0), [NAMES[0]!]: [6, 0], [NAMES[2]!]: [0, 4] };
    const merged = await run(own, all(0), { density: 0.5, weights: "even" });
    const kept = NAMES.map((name) => [...merged.values(name)].map((x) => x > 0.5));
    assert.deepEqual(kept, [
      [false, false, true, true],
      [true, true, true, true],
      [false, false, true, true],
      [false, false, false, false],
    ]);
  });

  it("or entries at random, the rest divided by the share kept", async () => {
    const merged = await run(all(1), all(1), { density: 0.5, drop: "random", densities: "even" });
    for (const [index, name] of NAMES.entries()) {
      for (const [p, x] of merged.values(name).entries()) {
        const change = 4 * index + p + 1;
        assert.ok(
          [0, 2, -0.25, 1.75].some((factor) => x === factor * change),
          `${name}[${p}] = ${x}`,
        );
      }
    }
  });

  it("is the same for any number of threads, tiles and restarts of the plan", async () => {
    const own = { ...all(1), [NAMES[0]!]: [5, 1] };
    for (const drop of ["magnitude", "random"]) {
      const statistics = [await file(first, own), await file(second, all(1))];
      const models = [first, second].map((model, index) => ({ model, statistics: statistics[index]! }));
      const recipe = { method: "apl", base, models, parameters: { density: 0.4, drop } };
      const one = await merge(recipe, { out: folder.fresh() });
      const two = await merge(recipe, {
        out: folder.fresh(),
        threads: 3,
        tuning: { tileEntries: 8, chunkEntries: 16 },
      });
      assert.deepEqual(two.prints, one.prints);
    }
  });
});

describe("apl as an input of another merge", () => {
  it("is what it would be if it were written first", async () => {
    for (const partition of ["layer", "row"]) {
      const own = { ...all(1), [NAMES[0]!]: [6, 1] };
      const models = [
        { model: first, statistics: await file(first, own) },
        { model: second, statistics: await file(second, all(2)) },
      ];
      const inner = { method: "apl", base, models, parameters: { partition, density: 0.4, lambda: 1 } };
      const written = await merge({ ...inner, output: { dtype: "float32" } }, { out: folder.fresh() });
      const outer = { method: "average", output: { dtype: "float32" } };
      const nested = await merge(
        { ...outer, models: [{ merge: inner, name: "inner" }, first] },
        { out: folder.fresh() },
      );
      const plain = await merge({ ...outer, models: [written.out, first] }, { out: folder.fresh() });
      assert.deepEqual(nested.prints, plain.prints, partition);
    }
  });
});

describe("apl: statistics", () => {
  it("that are missing are collected with the base", async () => {
    const { code, message } = await refusal(
      merge({ method: "apl", base, models: [first, second] }, { out: folder.fresh() }),
    );
    assert.equal(code, "statistics/missing");
    assert.match(
      message,
      /collect importance --model \S+first --base \S+base --tasks tasks\.yaml --task first -o first\.importance\.safetensors/,
    );
  });

  it("of another base or another partition are refused", async () => {
    const stranger = await writeImportances(folder.at("stranger.safetensors"), { model: first, base: second }, all(1));
    const models = (statistics: string) => [{ model: first, statistics }];
    const other = await refusal(merge({ method: "apl", base, models: models(stranger) }, { out: folder.fresh() }));
    assert.equal(other.code, "statistics/model");
    assert.match(other.message, /another base[^]*base \(\w{16}\)[^]*second \(\w{16}\)/);
    const layers = { "layers.0": [1], "layers.1": [1], norm: [1] };
    const tried = await file(first, layers, { per: "layer", dialect: "restore" });
    const finer = await refusal(
      merge(
        { method: "apl", base, models: models(tried), parameters: { partition: "tensor" } },
        { out: folder.fresh() },
      ),
    );
    assert.match(
      `${finer.code} ${finer.expected} ${finer.found}`,
      /one of every tensor one of every layer, by restore/,
    );
    await merge({ method: "apl", base, models: models(tried) }, { out: folder.fresh() });
    const magnitudes = await file(first, layers, { per: "layer", dialect: "per-example" });
    const parameters = { importance: "helpful" };
    const signless = await refusal(
      merge({ method: "apl", base, models: models(magnitudes), parameters }, { out: folder.fresh() }),
    );
    assert.match(String(signless.expected), /with their sign/);
  });

  it("with a wrong number of rows, or numbers that are none, are refused", async () => {
    for (const sums of [
      { ...all(1), [NAMES[0]!]: [1, 2, 3] },
      { ...all(1), [NAMES[0]!]: [1, NaN] },
    ]) {
      const statistics = await file(first, sums);
      const { code } = await refusal(
        merge({ method: "apl", base, models: [{ model: first, statistics }] }, { out: folder.fresh() }),
      );
      assert.equal(code, "statistics/file");
    }
  });

  it("are the same sums for every coarser partition", async () => {
    const own = { ...all(1), [NAMES[0]!]: [4, -3] };
    const whole = {
      model: [
        Object.values(own)
          .flat()
          .reduce((sum, value) => sum + value, 0),
      ],
    };
    const rows = await run(own, own, { partition: "model", density: 0.5 });
    const [a, b] = [first, second];
    const models = [
      { model: a, statistics: await file(a, whole, { per: "model" }) },
      { model: b, statistics: await file(b, whole, { per: "model", dialect: "remove" }) },
    ];
    const recipe = { method: "apl", base, models, parameters: { lambda: 1, partition: "model", density: 0.5 } };
    const model = await merge({ ...recipe, output: { dtype: "float32" } }, { out: folder.fresh() });
    assert.deepEqual(model.prints, rows.prints);
  });
});

describe("apl: mistakes", () => {
  it("weights that are all zero, and pruning besides its own", async () => {
    const zero = await refusal(run(all(1), all(1), { weight: 0 }));
    assert.match(zero.message, /all weights are zero/);
    const twice = await refusal(run(all(1), all(1), { density: 0.5 }, { prune: { by: "random", density: 0.5 } }));
    assert.match(twice.message, /apl prunes by itself/);
  });
});

describe("apl: rows", () => {
  const rowsOf = (values: readonly number[], weight: (row: number) => number) =>
    values.map((x, p) => x * weight(Math.floor(p / 2)));

  it("have weights of their own", async () => {
    const own = { ...all(1), [NAMES[0]!]: [3, 1] };
    const other = { ...all(1), [NAMES[0]!]: [1, 3] };
    const merged = await run(own, other, { partition: "row" });
    // 1.5 and 0.5 of n = 2 in the first row, the other way round in the second.
    const weights = [1.5 - 0.125 * 0.5, 0.5 - 0.125 * 1.5];
    assert.deepEqual(
      [...merged.values(NAMES[0]!)],
      rowsOf([1, 2, 3, 4], (row) => weights[row]!),
    );
    assert.deepEqual(
      [...merged.values(NAMES[1]!)],
      rowsOf([5, 6, 7, 8], () => 0.875),
    );
    const layer = { ...all(1), [NAMES[0]!]: [2, 2] };
    const plain = await run(layer, layer, { partition: "layer", lambda: 0.3 });
    assert.deepEqual((await run(layer, layer, { partition: "row", lambda: 0.3 })).prints, plain.prints);
  });

  it("keep the largest of their entries, or entries at random", async () => {
    const own = { ...all(0), [NAMES[0]!]: [0, 8], [NAMES[1]!]: [4, 4] };
    // 16 entries, 6 of them kept: row 1 of the first has 1, and the rows of the second a half each.
    const parameters = { partition: "row", density: 0.25, weights: "even", lambda: 1 };
    const merged = await run(own, all(0), parameters);
    const isKept = (name: string) => [...merged.values(name)].map((x) => x > 0.5);
    assert.deepEqual(isKept(NAMES[0]!), [false, false, true, true]);
    assert.deepEqual(isKept(NAMES[1]!), [false, true, false, true]);
    const drawn = await run(own, own, { ...parameters, drop: "random" });
    for (const [p, x] of drawn.values(NAMES[1]!).entries()) {
      assert.ok(
        [0, 2, -0.25, 1.75].some((factor) => x === factor * (5 + p)),
        `[${p}] = ${x}`,
      );
    }
    for (const [p, x] of drawn.values(NAMES[0]!).entries()) assert.equal(x, p < 2 ? 0 : 0.875 * (1 + p));
  });

  it("of weights that lie turned round, as GPT-2's do, are inputs, which no bias belongs to", async () => {
    const names = ["h.0.proj.weight", "h.0.proj.bias"];
    const shapes = [[2, 2], [2]];
    const write = (name: string, x: number) =>
      folder.write(
        name,
        names.map((key, index) => tensor(key, new Float32Array(index === 0 ? 4 : 2).fill(x), "F32", shapes[index])),
      );
    const [origin, model] = [write("turned-base", 0), write("turned", 1)];
    const changesWith = async (transposed: boolean) => {
      const layers = { "h.0.proj": { weight: names[0]!, shape: [2, 2], transposed, rows: 0 } };
      const statistics = await writeImportances(
        folder.at(`turned-${transposed}.safetensors`),
        { model, base: origin },
        { [names[0]!]: [1, 2], [names[1]!]: [10, 20] },
        { layers },
      );
      const recipe = { method: "apl", base: origin, models: [{ model, statistics }], parameters: { partition: "row" } };
      const { result } = await merge(recipe, { out: folder.fresh() });
      return result.plan.tensors.map(({ settings }) => settings!.importance![0]!.changes);
    };
    const together = [11, 22];
    assert.deepEqual(await changesWith(false), [together, together]);
    assert.deepEqual(
      (await changesWith(true)).flat().sort((a, b) => a - b),
      [1, 2, 10, 20],
    );
  });

  it("have their biases with them, and nothing depends on threads, tiles and blocks", async () => {
    const names = ["layers.0.wide.weight", "layers.0.wide.bias", "layers.0.long.weight"];
    const shapes = [[3001, 101], [3001], [7, 40_000]];
    const sizes = shapes.map((shape) => shape.reduce((a, b) => a * b, 1));
    const write = (name: string, seed: number) =>
      folder.write(
        name,
        names.map((key, index) => tensor(key, normals(sizes[index]!, seed + index, 0.1), "F32", shapes[index])),
      );
    const origin = folder.write(
      "wide-base",
      names.map((key, index) => tensor(key, new Float32Array(sizes[index]!), "F32", shapes[index])),
    );
    const changed = [write("wide-one", 10), write("wide-two", 20)];
    const sums = [3, 5].map((seed) =>
      Object.fromEntries(names.map((key, index) => [key, [...normals(shapes[index]![0]!, seed + index, 1)]])),
    );
    const models = [];
    for (const [index, model] of changed.entries()) {
      const statistics = folder.at(`wide-${index}.safetensors`);
      models.push({ model, statistics: await writeImportances(statistics, { model, base: origin }, sums[index]!) });
    }
    for (const drop of ["magnitude", "random"]) {
      const parameters = { partition: "row", density: 0.3, lambda: 1, drop };
      const recipe = { method: "apl", base: origin, models, parameters, output: { dtype: "float32" } };
      const once = await merge(recipe, { out: folder.fresh() });
      const again = await merge(recipe, {
        out: folder.fresh(),
        threads: 3,
        tuning: { tileEntries: 1000, chunkEntries: 3000 },
      });
      assert.deepEqual(again.prints, once.prints, drop);
      const planned = once.result.plan.tensors;
      const densities = planned.map(({ settings }) => settings!.importance![0]!.densities);
      assert.deepEqual(densities[1], densities[0]);
      const kept = densities.map(
        (of, index) => of.reduce((sum, share) => sum + share, 0) * (sizes[index]! / of.length),
      );
      const total = sizes.reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(kept.reduce((a, b) => a + b, 0) - 0.3 * total) < 1e-6 * total);
      if (drop === "random") continue;
      // One row by the definitions alone.
      const row = 2000;
      const part = (model: number) => normals(sizes[0]!, 10 * (model + 1), 0.1).subarray(row * 101, (row + 1) * 101);
      const scores = [0, 1].map((model) => Math.abs(sums[model]![names[0]!]![row]! + sums[model]![names[1]!]![row]!));
      const expected = new Float32Array(101);
      for (const model of [0, 1]) {
        const density = planned[0]!.settings!.importance![model]!.densities[row]!;
        const order = [...part(model)].map(Math.abs).sort((a, b) => b - a);
        const least = density > 0 ? order[Math.max(1, Math.trunc(density * 101)) - 1]! : Infinity;
        const weight = Math.fround((2 * scores[model]!) / (scores[0]! + scores[1]!));
        for (const [p, x] of part(model).entries()) expected[p]! += Math.abs(x) >= least ? Math.fround(x * weight) : 0;
      }
      assert.deepEqual(once.values(names[0]!).slice(row * 101, (row + 1) * 101), expected);
    }
  });
});

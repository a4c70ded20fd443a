/** The dialect peft beside what PEFT 0.21.2 made of the same adapters (peers/adapter_dialect.py), its errors included. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { readFactors } from "../../src/adapters/adapter.js";
import type { Adapter, Factors, LoraModule } from "../../src/adapters/adapter.js";
import { readHeader } from "../../src/formats/safetensors/header.js";
import { clampFactors } from "../../src/lora/peft/clamp.js";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { memoryFolder } from "../../src/models/folder.js";
import type { Checkpoint } from "../../src/models/model.js";
import { memorySource } from "../../src/sources/memory.js";
import { openFiles, rejects, safetensors } from "../adapters/support.js";
import type { Tensors } from "../adapters/support.js";
import { distance, merge, pathsOf, sumOf, updateOf } from "./support.js";

interface Run {
  readonly kind: string;
  readonly options: {
    readonly svd_rank?: number;
    readonly svd_clamp?: number;
    readonly density?: number;
    readonly majority_sign_method?: string;
  };
  readonly config: object;
}

interface Case {
  readonly title: string;
  readonly weights: readonly number[];
  readonly adapters: readonly object[];
  readonly runs: readonly Run[];
}

const at = (name: string) => fileURLToPath(new URL(`../../../test/lora/fixtures/${name}`, import.meta.url));
const cases = JSON.parse(readFileSync(at("dialect.json"), "utf8")) as readonly Case[];
const bytes = new Uint8Array(readFileSync(at("dialect.safetensors")));
const stored = new Map<string, Tensors[string]>();
let base: Checkpoint;

before(async () => {
  for (const { name, shape, offset, length } of (await readHeader(memorySource(bytes))).tensors) {
    stored.set(name, { shape, values: new Float32Array(bytes.slice(offset, offset + length).buffer) });
  }
  base = await openCheckpoint("base", memoryFolder({ "model.safetensors": safetensors(below("base")) }));
});

/** Tensors behind a prefix, under the rest of their names. */
function below(prefix: string): Tensors {
  const own = [...stored].filter(([name]) => name.startsWith(`${prefix}/`));
  return Object.fromEntries(own.map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]));
}

const open = (prefix: string, config: object): Promise<Adapter> =>
  openFiles(
    {
      "adapter_config.json": new TextEncoder().encode(JSON.stringify(config)),
      "adapter_model.safetensors": safetensors(below(prefix)),
    },
    prefix,
  );
const adaptersOf = (number: number) =>
  Promise.all(cases[number]!.adapters.map((config, index) => open(`${number}/${index}`, config)));

function asked({ kind, options }: Run, { weights }: Pick<Case, "weights">) {
  const { svd_rank: rank, svd_clamp: clamp, density, majority_sign_method: majority } = options;
  const parameters = Object.entries({ density, majority, svd_clamp: clamp }).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${value}`],
  );
  return { method: `${kind}/peft`, weights, parameters, ...(rank !== undefined && { rank }) };
}

for (const [number, given] of cases.entries()) {
  describe(`${given.title}:`, () => {
    for (const [index, run] of given.runs.entries()) {
      if (run.options.svd_clamp !== undefined) continue;
      const options = Object.entries(run.options).map(([key, value]) => ` ${key} ${value}`);
      it(`${run.kind}${options.join()} is PEFT's: factors to the bit, what a decomposition gives within 2e-6`, async () => {
        const theirs = await open(`${number}/merged ${index}`, run.config);
        const { adapter: ours, report } = await merge(await adaptersOf(number), asked(run, given), base);
        assert.deepEqual([...ours.lora.keys()], [...theirs.lora.keys()]);
        for (const [path, module] of theirs.lora) {
          const own = ours.lora.get(path)!;
          assert.deepEqual([own.rank, own.scaling], [module.rank, module.scaling], path);
          if (!run.kind.endsWith("svd") || given.adapters.length === 1) {
            assert.deepEqual(await plainFactors(ours, own), await plainFactors(theirs, module), path);
          }
          assert.ok(distance(await updateOf(ours, path), await updateOf(theirs, path)) < 2e-6, path);
          for (const part of ["magnitude", "bias"] as const) {
            const [one, other] = [await vector(ours, own[part]), await vector(theirs, module[part])];
            assert.ok(distance([one], [other]) < 1e-6 && one.length === other.length, `${path} ${part}`);
          }
        }
        assert.deepEqual([...ours.whole.keys()], [...theirs.whole.keys()]);
        for (const [name, tensor] of theirs.whole) {
          assert.deepEqual(await vector(ours, ours.whole.get(name)!), await vector(theirs, tensor), name);
        }
        assert.ok(report.distance !== null && report.warnings.length > 0);
      });
    }
  });
}

/** Without the signs of zeros: PEFT's padding is whatever was there times 0. */
async function plainFactors(adapter: Adapter, module: LoraModule): Promise<Float32Array[]> {
  const [{ a, b }] = (await readFactors(adapter, module)) as [Factors];
  return [a, b].map((side) => side.map((value) => value + 0));
}

async function vector(adapter: Adapter, tensor: { offset: number; length: number } | null): Promise<Float32Array> {
  if (tensor === null) return new Float32Array(0);
  const own = new Uint8Array(tensor.length);
  await adapter.source.read(tensor.offset, own);
  return new Float32Array(own.buffer);
}

describe("svd_clamp", () => {
  /** Factors with each pair of vectors turned so that they point where those of `like` do. */
  function turned({ a, b, rank, in: width, out }: Factors, like: Factors): Factors {
    const [left, right] = [b.slice(), a.slice()];
    for (let j = 0; j < rank; j++) {
      let along = 0;
      for (let i = 0; i < width; i++) along += a[j * width + i]! * like.a[j * width + i]!;
      if (along >= 0) continue;
      for (let i = 0; i < width; i++) right[j * width + i]! *= -1;
      for (let row = 0; row < out; row++) left[row * rank + j]! *= -1;
    }
    return { a: right, b: left, out, rank, in: width };
  }
  const clamped = ({ a, b, rank, in: width, out }: Factors, quantile: number, outer: "a" | "b") =>
    clampFactors(
      { a: { rows: rank, columns: width, data: a }, b: { rows: out, columns: rank, data: b } },
      quantile,
      outer,
    );

  for (const [number, given] of cases.entries()) {
    for (const [index, run] of given.runs.entries()) {
      const { svd_clamp: quantile, ...others } = run.options;
      if (quantile === undefined) continue;
      it(`${given.title}, ${run.kind} ${quantile}: cuts PEFT's own factors as PEFT does, and ours but for signs`, async () => {
        const outer = given.title === "embedding" ? "a" : "b";
        const twin = given.runs.findIndex(
          ({ kind, options: own }) =>
            kind === run.kind &&
            own.svd_clamp === undefined &&
            own.density === others.density &&
            (own.svd_rank ?? 3) === (others.svd_rank ?? 3),
        );
        const [whole, cut] = [
          await open(`${number}/merged ${twin}`, given.runs[twin]!.config),
          await open(`${number}/merged ${index}`, run.config),
        ];
        const { adapter: ours } = await merge(await adaptersOf(number), asked(run, given), base);
        const { adapter: uncut } = await merge(await adaptersOf(number), asked(given.runs[twin]!, given), base);
        for (const [path, module] of whole.lora) {
          const [factors] = (await readFactors(whole, module)) as [Factors];
          const [wanted] = (await readFactors(cut, cut.lora.get(path)!)) as [Factors];
          const found = clamped(factors, quantile, outer);
          assert.ok(distance([found.a.data, found.b.data], [wanted.a, wanted.b]) < 1e-6, path);
          const [own] = (await readFactors(uncut, uncut.lora.get(path)!)) as [Factors];
          const alike = clamped(turned(factors, own), quantile, outer);
          const [made] = (await readFactors(ours, ours.lora.get(path)!)) as [Factors];
          assert.ok(distance([made.a, made.b], [alike.a.data, alike.b.data]) < 1e-5, path);
        }
      });
    }
  }
});

describe("PEFT's random combinations, whose masks are ours", () => {
  const weights = [0.5, -0.7, 0.4];
  const density = 0.6;
  const three = () => adaptersOf(0);

  /** What PEFT makes of one entry under every mask; dare_ties: sign of the sum of what is kept, mean of what agrees. */
  function possible(kind: string, entries: readonly number[], own: readonly number[]): number[] {
    return Array.from({ length: 2 ** entries.length }, (_, mask) => {
      const kept = entries.map((value, i) => ((mask >> i) & 1 ? value / density : 0));
      if (kind.startsWith("dare_linear")) return kept.reduce((sum, value, i) => sum + own[i]! * value, 0);
      const sign = kept.reduce((sum, value) => sum + value, 0) >= 0 ? 1 : -1;
      const agreeing = kept.flatMap((value, i) => (Math.sign(value) === sign ? [own[i]! * value] : []));
      return agreeing.reduce((sum, value) => sum + value, 0) / Math.max(agreeing.length, 1);
    });
  }
  const isOne = (value: number, all: readonly number[]) => all.some((one) => Math.abs(one - value) < 1e-5);

  for (const kind of ["dare_linear", "dare_ties"]) {
    it(`${kind}: every entry of A and of B is PEFT's under some mask, and masks differ by seed`, async () => {
      const adapters = await three();
      const make = (seed: number) =>
        merge(adapters, { method: `${kind}/peft`, weights, parameters: [`density=${density}`], seed });
      const [one, other] = [(await make(1)).adapter, (await make(2)).adapter];
      let [zeros, count] = [0, 0];
      for (const path of pathsOf(adapters)) {
        const [merged] = (await readFactors(one, one.lora.get(path)!)) as [Factors];
        const parts = await Promise.all(
          adapters.map(async (adapter) => (await readFactors(adapter, adapter.lora.get(path)!))[0]!),
        );
        for (const side of ["a", "b"] as const) {
          // Scaling 2; the sign of a weight goes to A alone.
          const own = weights.map((w) => Math.sqrt(Math.abs(2 * w)) * (side === "a" && w < 0 ? -1 : 1));
          for (const [i, value] of merged[side].entries()) {
            assert.ok(
              isOne(
                value,
                possible(
                  kind,
                  parts.map((part) => part[side][i]!),
                  own,
                ),
              ),
              `${path} ${side} ${i}`,
            );
            if (value === 0) zeros++;
            count++;
          }
        }
        assert.ok(distance(await updateOf(one, path), await updateOf(other, path)) > 0.01);
      }
      // All three of an entry are dropped with probability 0.064.
      assert.ok(zeros > 0 && zeros < 0.25 * count, `${zeros} of ${count}`);
    });

    it(`${kind}_svd: every entry of the update is PEFT's under some mask`, async () => {
      const adapters = await three();
      const parameters = [`density=${density}`];
      const { adapter } = await merge(adapters, { method: `${kind}_svd/peft`, weights, parameters, rank: 6 });
      for (const path of pathsOf(adapters)) {
        const [merged] = (await updateOf(adapter, path)) as [Float64Array];
        const parts = await Promise.all(adapters.map(async (one) => (await updateOf(one, path))[0]!));
        for (const [i, value] of merged.entries()) {
          const all = possible(
            kind,
            parts.map((part) => part[i]!),
            weights,
          );
          assert.ok(isOne(value, all), `${path} ${i}`);
        }
      }
    });
  }

  it("dare_linear_svd is the sum in the mean over seeds", async () => {
    const adapters = await three();
    const path = pathsOf(adapters)[0]!;
    const [wanted] = (await sumOf(adapters, weights, path)) as [Float64Array];
    const mean = new Float64Array(wanted.length);
    const seeds = 400;
    for (let seed = 0; seed < seeds; seed++) {
      const parameters = [`density=${density}`];
      const { adapter } = await merge(adapters, { method: "dare_linear_svd/peft", weights, parameters, rank: 6, seed });
      for (const [i, value] of (await updateOf(adapter, path))[0]!.entries()) mean[i]! += value / seeds;
    }
    // Of one draw it is sqrt((1 - 0.6) / 0.6) of the updates' norms away; the mean of 400 a twentieth of that.
    assert.ok(distance([mean], [wanted]) < 0.12, String(distance([mean], [wanted])));
  });
});

describe("what PEFT cannot combine, or what depends on a base", () => {
  it("is refused with the reason", async () => {
    const dora = await adaptersOf(cases.findIndex(({ title }) => title === "DoRA first"));
    assert.match((await rejects("adapter/base", () => merge(dora, { method: "cat/peft" }))).message, /--base/);
    const saving = await adaptersOf(cases.findIndex(({ title }) => title === "modules_to_save"));
    const both = [saving[0]!, saving[0]!];
    assert.match(
      (await rejects("adapter/kind", () => merge(both, { method: "cat/peft" }, base))).message,
      /several adapters with modules_to_save/,
    );
    const unequal = await adaptersOf(cases.findIndex(({ title }) => title === "unequal ranks"));
    assert.match((await rejects("adapter/kind", () => merge(unequal, { method: "ties/peft" }))).message, /ranks 2, 3/);
  });
});

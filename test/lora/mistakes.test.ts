/** Adapters and requests that cannot be merged: named, with what to do. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Adapter } from "../../src/adapters/adapter.js";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { memoryFolder } from "../../src/models/folder.js";
import type { Checkpoint } from "../../src/models/model.js";
import { numbersOf, openFiles, peftFolder, rejects, safetensors, tensor } from "../adapters/support.js";
import type { Tensors } from "../adapters/support.js";
import { distance, merge, updateOf } from "./support.js";

const CONFIG = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q"] };
const pair = (seed: string, out = 5, width = 7) => ({
  "m.q.lora_A.weight": tensor(`${seed} A`, 2, width),
  "m.q.lora_B.weight": tensor(`${seed} B`, out, 2),
});
const lora = (seed: string, config: object = {}, tensors: Tensors = pair(seed)): Promise<Adapter> =>
  openFiles(peftFolder({ ...CONFIG, ...config }, tensors), seed);
const model = (tensors: Tensors): Promise<Checkpoint> =>
  openCheckpoint("base", memoryFolder({ "model.safetensors": safetensors(tensors) }));

describe("adapters that do not go together", () => {
  it("are of different networks: module, shapes and both adapters are named", async () => {
    const error = await rejects("adapter/base", async () =>
      merge([await lora("a"), await lora("b", {}, pair("b", 6))]),
    );
    assert.match(error.message, /b, tensor .*m\.q.*\n.*5 x 7, linear, as in a\n.*6 x 7, linear/);
  });

  it("say that they have different bases, unless it is said that they are one", async () => {
    const named = [
      await lora("a", { base_model_name_or_path: "org/one" }),
      await lora("b", { base_model_name_or_path: "two" }),
    ];
    const error = await rejects("adapter/base", () => merge(named));
    assert.match(error.message, /org\/one, as in a\n[^]*two\n[^]*--any-base/);
    await merge(named, { anyBase: true });
    const moved = [
      await lora("a", { base_model_name_or_path: "org/one" }),
      await lora("b", { base_model_name_or_path: "/x/one/" }),
    ];
    await merge(moved);
  });

  it("are of different kinds", async () => {
    const ia3 = { peft_type: "IA3", target_modules: ["q"], feedforward_modules: [] };
    const other = await openFiles(peftFolder(ia3, { "m.q.ia3_l": tensor("l", 5, 1) }), "b");
    await rejects("adapter/kind", async () => merge([await lora("a"), other]));
  });

  it("change what the file and the base do not tell", async () => {
    const error = await rejects("adapter/kind", async () =>
      merge([await lora("a"), await lora("b", { init_lora_weights: "pissa" })]),
    );
    assert.match(error.message, /initialisation \(pissa\)/);
  });

  it("hold NaN: adapter, tensor and module are named", async () => {
    const tensors = {
      ...pair("b"),
      "m.q.lora_B.weight": { shape: [5, 2], values: new Float32Array(10).fill(Number.NaN) },
    };
    const error = await rejects("values/non-finite", async () =>
      merge([await lora("a"), await lora("b", {}, tensors)]),
    );
    assert.match(error.message, /b, tensor base_model\.model\.m\.q\.lora_B\.weight, m\.q/);
  });
});

describe("an alpha of 0", () => {
  it("adds nothing, and is told", async () => {
    const zero = await lora("b", { lora_alpha: 0 });
    assert.match(zero.notes.join(), /alpha is 0 in m\.q/);
    const a = await lora("a");
    for (const method of ["cat", "ties", "average"]) {
      const { adapter } = await merge([a, zero], { method, ...(method === "ties" && { parameters: ["density=1"] }) });
      const half = method === "average" ? 0.5 : 1;
      const [update] = (await updateOf(a, "m.q")) as [Float64Array];
      assert.ok(distance(await updateOf(adapter, "m.q"), [update.map((value) => value * half)]) < 1e-6, method);
    }
  });
});

describe("requests that mean nothing", () => {
  const two = async () => [await lora("a"), await lora("b")];

  it("are refused with the key", async () => {
    await rejects("recipe/unsupported", async () => merge(await two(), { method: "cat", rank: 2 }));
    await rejects("recipe/missing-key", async () => merge(await two(), { method: "svd" }));
    await rejects("usage", async () => merge(await two(), { weights: [1] }));
    await rejects("recipe/unknown-method", async () => merge(await two(), { method: "tise" }));
    await rejects("recipe/unknown-parameter", async () =>
      merge(await two(), { method: "ties", parameters: ["dnsity=1"] }),
    );
  });

  it("leave a module out that is excluded, and say so", async () => {
    const tensors = { ...pair("a"), "m.k.lora_A.weight": tensor("k", 2, 7), "m.k.lora_B.weight": tensor("l", 5, 2) };
    const { adapter, report } = await merge([await lora("a", {}, tensors), await lora("b")], { exclude: ["*.k.*"] });
    assert.deepEqual([...adapter.lora.keys()], ["m.q"]);
    assert.match(report.warnings.join(), /m\.k is excluded/);
  });
});

describe("tensors that replace the base's", () => {
  const saved = (seed: string, values: ArrayLike<number>) =>
    lora(seed, { modules_to_save: ["head"] }, { ...pair(seed), "head.weight": { shape: [3], values } });

  it("are kept where adapters agree, and refused where they do not and there is no base", async () => {
    const equal = [await saved("a", [1, 2, 3]), await saved("b", [1, 2, 3])];
    const { adapter, report } = await merge(equal);
    assert.deepEqual([...adapter.whole.keys()], ["head.weight"]);
    assert.match(report.warnings.join(), /kept as they are/);
    const error = await rejects("adapter/base", async () =>
      merge([await saved("a", [1, 2, 3]), await saved("b", [1, 2, 4])]),
    );
    assert.match(error.message, /b, tensor .*head\.weight[^]*--base/);
  });

  it("are merged as changes from the base where it is given", async () => {
    const base = await model({ "head.weight": { shape: [3], values: [1, 1, 1] } });
    const adapters = [await saved("a", [1, 2, 3]), await saved("b", [2, 1, 5])];
    const { draft } = await merge(adapters, { weights: [1, 0.5] }, base);
    const head = draft.tensors.find(({ key }) => key.endsWith("head.weight"))!;
    assert.deepEqual([...new Float32Array(head.bytes.slice().buffer)], [1.5, 2, 5]);
  });
});

describe("DoRA", () => {
  const dora = (seed: string) =>
    lora(
      seed,
      { use_dora: true },
      {
        ...pair(seed),
        "m.q.lora_magnitude_vector": { shape: [5], values: numbersOf(`${seed} m`, 5).map((value) => value + 3) },
      },
    );
  const weight = numbersOf("W", 35);

  it("stays what it is alone with weight 1, magnitudes and all", async () => {
    const one = await dora("a");
    const { draft } = await merge([one]);
    assert.deepEqual(
      draft.tensors.map(({ key }) => key),
      one.header.tensors.map(({ name }) => name),
    );
    assert.equal(draft.config["use_dora"], true);
  });

  it("needs the base to be merged, and then has the effective changes of all", async () => {
    const two = [await dora("a"), await dora("b")];
    await rejects("adapter/base", () => merge(two));
    const base = await model({ "m.q.weight": { shape: [5, 7], values: weight } });
    const { adapter, report } = await merge(two, { weights: [0.5, 0.8], method: "svd", rank: 5 }, base);
    const wanted = new Float64Array(35);
    for (const [index, one] of two.entries()) {
      const [update] = (await updateOf(one, "m.q")) as [Float64Array];
      const magnitude = numbersOf(`${"ab"[index]!} m`, 5);
      for (let row = 0; row < 5; row++) {
        const moved = Array.from({ length: 7 }, (_, i) => weight[row * 7 + i]! + update[row * 7 + i]!);
        const factor = (magnitude[row]! + 3) / Math.hypot(...moved);
        for (const [i, value] of moved.entries()) {
          wanted[row * 7 + i]! += [0.5, 0.8][index]! * (factor * value - weight[row * 7 + i]!);
        }
      }
    }
    assert.ok(distance(await updateOf(adapter, "m.q"), [wanted]) < 1e-6);
    assert.ok(report.error < 1e-6);
    const cut = await merge(two, { weights: [0.5, 0.8], method: "svd", rank: 2 }, base);
    const away = distance(await updateOf(cut.adapter, "m.q"), [wanted]);
    assert.ok(away > 0.01 && Math.abs(cut.report.error - away) < 1e-5);
  });
});

describe("(IA)3", () => {
  const config = { peft_type: "IA3", target_modules: ["k", "down"], feedforward_modules: ["down"] };
  const ia3 = (seed: string, values: readonly number[]) =>
    openFiles(
      peftFolder(config, {
        "m.k.ia3_l": { shape: [3, 1], values },
        "m.down.ia3_l": { shape: [1, 3], values: values.map((value) => value + 1) },
      }),
      seed,
    );
  const vectors = async (asked: Parameters<typeof merge>[1]) => {
    const { draft } = await merge([await ia3("a", [1.5, 0.5, 1]), await ia3("b", [1.25, 1.25, 3])], asked);
    const k = draft.tensors.find(({ key }) => key.endsWith("m.k.ia3_l"))!;
    return [...new Float32Array(k.bytes.slice().buffer)];
  };

  it("is merged as changes from one: sums, means of what agrees, largest", async () => {
    assert.deepEqual(await vectors({ method: "task_arithmetic", parameters: ["lambda=1"] }), [1.75, 0.75, 3]);
    assert.deepEqual(await vectors({ method: "ties", parameters: ["density=1"] }), [1.375, 0.5, 3]);
    assert.deepEqual(await vectors({ method: "magmax", parameters: ["lambda=1"] }), [1.5, 0.5, 3]);
  });

  it("is summed by PEFT as it is, which is told", async () => {
    assert.deepEqual(await vectors({ method: "linear/peft", weights: [0.5, 2] }), [3.25, 2.75, 6.5]);
    const error = await rejects("recipe/unsupported", () => vectors({ method: "ties/peft" }));
    assert.match(error.message, /linear\/peft/);
  });

  it("has no factors to stack", async () => {
    const error = await rejects("recipe/unsupported", () => vectors({ method: "cat" }));
    assert.match(error.message, /task_arithmetic with lambda 1/);
  });
});

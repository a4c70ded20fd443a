/** Experts in one parameter and one by one: an adapter of either form folds into a base of either form. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fold } from "../../src/browser.js";
import { merge as mergeAdapters } from "../lora/support.js";
import { numbersOf, openFiles, peftFolder, rejects, safetensors, tensor } from "./support.js";
import type { Tensors } from "./support.js";

const [E, H, I, R] = [3, 4, 5, 2];
const NAMES = { gate: ["gate_proj", "w1"], up: ["up_proj", "w3"], down: ["down_proj", "w2"] } as const;
const at = "model.layers.0.mlp.experts";

const weight = (name: string, expert: number) =>
  name === "down" ? tensor(`down ${expert}`, H, I) : tensor(`${name} ${expert}`, I, H);
const experts = Array.from({ length: E }, (_, expert) => expert);

/** @param form which names; at a place as checkpoints of this form have it. */
function singleBase(form: 0 | 1): Tensors {
  const place = form === 0 ? at : "model.layers.0.block_sparse_moe.experts";
  return Object.fromEntries(
    experts.flatMap((expert) =>
      Object.entries(NAMES).map(([name, names]) => [`${place}.${expert}.${names[form]}.weight`, weight(name, expert)]),
    ),
  );
}

function fusedBase(): Tensors {
  const joined = (names: readonly string[]) =>
    experts.flatMap((expert) => names.flatMap((name) => [...weight(name, expert).values]));
  return {
    [`${at}.gate_up_proj`]: { shape: [E, 2 * I, H], values: joined(["gate", "up"]) },
    [`${at}.down_proj`]: { shape: [E, H, I], values: joined(["down"]) },
  };
}

/** As PEFT saves it: gate_up_proj is the inner wrapper. */
const fusedAdapter = () =>
  peftFolder(
    {
      peft_type: "LORA",
      r: R,
      lora_alpha: 3,
      target_modules: [],
      target_parameters: ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    },
    {
      [`${at}.base_layer.lora_A.weight`]: tensor("A1", E * R, H),
      [`${at}.base_layer.lora_B.weight`]: tensor("B1", 2 * I, R * E),
      [`${at}.lora_A.weight`]: tensor("A2", E * R, I),
      [`${at}.lora_B.weight`]: tensor("B2", H, R * E),
    },
  );

/** Of some experts alone. */
function singleAdapter(form: 0 | 1, place: string): Record<string, Uint8Array> {
  const tensors: Record<string, Tensors[string]> = {};
  for (const expert of [0, 2]) {
    for (const [name, names] of Object.entries(NAMES)) {
      const [out, width] = name === "down" ? [H, I] : [I, H];
      tensors[`${place}.${expert}.${names[form]}.lora_A.weight`] = tensor(`${name} ${expert} A`, R, width);
      tensors[`${place}.${expert}.${names[form]}.lora_B.weight`] = tensor(`${name} ${expert} B`, out, R);
    }
  }
  return peftFolder({ peft_type: "LORA", r: R, lora_alpha: 3, target_modules: NAMES.gate }, tensors);
}

async function folded(base: Tensors, adapters: readonly Record<string, Uint8Array>[], config: object = {}) {
  const labels = adapters.map((_, index) => `a${index}`);
  const files = {
    "model.safetensors": safetensors(base),
    "config.json": new TextEncoder().encode(JSON.stringify(config)),
  };
  const models = { base: files, ...Object.fromEntries(adapters.map((adapter, index) => [`a${index}`, adapter])) };
  const weights = adapters.map((_, index) => 1 - index / 2);
  const { files: made } = await fold({ model: "base", adapters: labels, weights }, models);
  const bytes = new Uint8Array(await made.get("model.safetensors")!.arrayBuffer());
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as Record<
    string,
    { data_offsets?: [number, number] }
  >;
  return (name: string) => {
    const [from, to] = header[name]!.data_offsets!;
    return new Float32Array(bytes.slice(8 + length + from, 8 + length + to).buffer);
  };
}

type Read = Awaited<ReturnType<typeof folded>>;

/** The same weights, to the bit, whichever way they are stored. */
function alike(fused: Read, single: Read, place: string, form: 0 | 1): void {
  for (const expert of experts) {
    const own = (name: "gate" | "up" | "down") => single(`${place}.${expert}.${NAMES[name][form]}.weight`);
    const gateUp = fused(`${at}.gate_up_proj`).subarray(expert * 2 * I * H, (expert + 1) * 2 * I * H);
    assert.deepEqual([...gateUp], [...own("gate"), ...own("up")], `gate and up of ${expert}`);
    assert.deepEqual([...fused(`${at}.down_proj`).subarray(expert * H * I, (expert + 1) * H * I)], [...own("down")]);
  }
}

describe("experts of an adapter and of a base", () => {
  for (const form of [0, 1] as const) {
    const place = form === 0 ? at : "model.layers.0.block_sparse_moe.experts";
    it(`${NAMES.gate[form]}: in one parameter, folded into experts stored one by one`, async () => {
      alike(await folded(fusedBase(), [fusedAdapter()]), await folded(singleBase(form), [fusedAdapter()]), place, form);
    });

    it(`${NAMES.gate[form]}: one by one, folded into a parameter of all, alone and with another adapter`, async () => {
      const single = singleAdapter(form, place);
      alike(await folded(fusedBase(), [single]), await folded(singleBase(form), [single]), place, form);
      const both = [single, fusedAdapter()];
      const [fused, singles] = [await folded(fusedBase(), both), await folded(singleBase(form), both)];
      // Products are summed rank by rank; which comes first may differ.
      for (const expert of experts) {
        const found = fused(`${at}.down_proj`).subarray(expert * H * I, (expert + 1) * H * I);
        const wanted = singles(`${place}.${expert}.${NAMES.down[form]}.weight`);
        assert.ok(wanted.every((value, i) => Math.abs(value - found[i]!) < 1e-6));
      }
    });
  }

  it("by the definition: W + s B A of each expert's rows", async () => {
    const read = await folded(singleBase(0), [fusedAdapter()]);
    const [a, b, w] = [numbersOf("A1", E * R * H), numbersOf("B1", 2 * I * R * E), numbersOf("up 1", I * H)];
    for (const [i, value] of read(`${at}.1.up_proj.weight`).entries()) {
      const [row, column] = [Math.floor(i / H), i % H];
      let sum = 0;
      for (let k = 0; k < R; k++) sum += 1.5 * b[((I + row) * R + k) * E + 1]! * a[(R + k) * H + column]!;
      assert.ok(Math.abs(value - w[i]! - sum) < 1e-6);
    }
  });

  it("are refused where the mapping is not defined, with what to do", async () => {
    const single = singleAdapter(0, at);
    const odd = { ...fusedBase(), [`${at}.gate_up_proj`]: tensor("t", E, H, 2 * I) };
    const turned = await rejects("plan/shape", () => folded(odd, [single]));
    assert.match(turned.message, /gate_up_proj[^]*one by one/);
    const oss = await rejects("adapter/kind", () => folded(fusedBase(), [single], { model_type: "gpt_oss" }));
    assert.match(oss.message, /experts\.0\.down_proj[^]*gpt_oss[^]*one by one/);
    await rejects("plan/missing-tensor", () => folded(singleBase(0), [fusedAdapter()], { model_type: "gpt_oss" }));
  });

  it("of both forms are not merged into one adapter", async () => {
    const [fused, single] = [await openFiles(fusedAdapter(), "fused"), await openFiles(singleAdapter(0, at), "single")];
    const error = await rejects("adapter/base", () => mergeAdapters([fused, single]));
    assert.match(error.message, /single, tensor [^]*experts as fused has them[^]*fold/);
  });
});

/** What adapter files mean, whoever wrote them, and what is refused. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { readEntries, readFactors } from "../../src/adapters/adapter.js";
import type { Factors } from "../../src/adapters/adapter.js";
import { convertAdapter } from "../../src/adapters/convert.js";
import { loraConfig } from "../../src/adapters/draft.js";
import { inspectAdapter } from "../../src/adapters/inspect.js";
import { BaseNames } from "../../src/adapters/target.js";
import { MergewrightError } from "../../src/errors.js";
import { openFiles, peftFolder, rejects, safetensors, tensor } from "./support.js";

const LORA = { peft_type: "LORA", r: 2, lora_alpha: 8, target_modules: ["q", "k"] };
const pair = (path: string, rank = 2, out = 3, width = 5) => ({
  [`${path}.lora_A.weight`]: tensor(`${path} A`, rank, width),
  [`${path}.lora_B.weight`]: tensor(`${path} B`, out, rank),
});

describe("a folder of PEFT's", () => {
  it("gives ranks and scalings by the patterns of its config, the first that matches", async () => {
    const config = {
      ...LORA,
      rank_pattern: { "layers.0.q": 4, "^model.layers.1.k": 1, q: 2 },
      alpha_pattern: { k: 3 },
    };
    const tensors = { ...pair("model.layers.0.q", 4), ...pair("model.layers.1.q"), ...pair("model.layers.1.k", 1) };
    const { lora } = await openFiles(peftFolder(config, tensors));
    const found = [...lora.values()].map(({ path, rank, alpha, scaling }) => [path, rank, alpha, scaling]);
    assert.deepEqual(found, [
      ["model.layers.0.q", 4, 8, 2],
      ["model.layers.1.k", 1, 3, 3],
      ["model.layers.1.q", 2, 8, 4],
    ]);
  });

  it("scales by the root of each module's own rank with rsLoRA", async () => {
    const config = { ...LORA, use_rslora: true, rank_pattern: { k: 4 } };
    const { lora } = await openFiles(peftFolder(config, { ...pair("q"), ...pair("k", 4) }));
    assert.equal(lora.get("q")!.scaling, 8 / Math.sqrt(2));
    assert.equal(lora.get("k")!.scaling, 4);
  });

  it("has PEFT's defaults where the config says little", async () => {
    const { lora } = await openFiles(peftFolder({ peft_type: "LORA", target_modules: ["q"] }, pair("q", 8)));
    assert.deepEqual([lora.get("q")!.rank, lora.get("q")!.alpha], [8, 8]);
  });

  it("keeps every field of the config when it is converted, unknown ones too", async () => {
    const config = { ...LORA, from_the_future: { a: [1, null] }, lora_dropout: 0.1 };
    const adapter = await openFiles(peftFolder(config, pair("q")));
    const files = await convertAdapter(adapter, { to: "peft" });
    assert.deepEqual(JSON.parse(new TextDecoder().decode(files.get("adapter_config.json"))), config);
  });

  it("is read with an adapter's name in its keys, and without PEFT's prefix", async () => {
    const tensors = {
      "q.lora_A.mine.weight": tensor("a", 2, 5),
      "q.lora_B.mine.weight": tensor("b", 3, 2),
      "q.lora_magnitude_vector.mine.weight": tensor("m", 3),
      "emb.lora_embedding_A.mine": tensor("ea", 2, 7),
      "emb.lora_embedding_B.mine": tensor("eb", 4, 2),
      "head.modules_to_save.mine.weight": tensor("h", 2, 4),
    };
    for (const prefix of ["base_model.model.", ""]) {
      const adapter = await openFiles(peftFolder(LORA, tensors, prefix));
      assert.deepEqual([...adapter.lora.keys()], ["emb", "q"]);
      assert.equal(adapter.lora.get("emb")!.layout, "embedding");
      assert.deepEqual([...adapter.whole.keys()], ["head.weight"]);
    }
  });

  it("tells the change of each layout as one product per expert", async () => {
    const config = { ...LORA, target_parameters: ["mlp.experts.up"] };
    const adapter = await openFiles(
      peftFolder(config, {
        "l.mlp.experts.lora_A.weight": tensor("A", 6, 5),
        "l.mlp.experts.lora_B.weight": tensor("B", 4, 6),
        "emb.lora_embedding_A": tensor("EA", 2, 7),
        "emb.lora_embedding_B": tensor("EB", 3, 2),
        "conv.lora_A.weight": tensor("CA", 2, 3, 2, 2),
        "conv.lora_B.weight": tensor("CB", 4, 2, 1, 1),
      }),
    );
    const sizes = async (path: string) =>
      (await readFactors(adapter, adapter.lora.get(path)!)).map((pair) => [pair.out, pair.rank, pair.in]);
    assert.deepEqual(await sizes("l.mlp.experts"), [
      [4, 2, 5],
      [4, 2, 5],
      [4, 2, 5],
    ]);
    assert.deepEqual(await sizes("emb"), [[7, 2, 3]]);
    assert.deepEqual(await sizes("conv"), [[4, 2, 12]]);
    // B is stored out x rank x experts.
    const module = adapter.lora.get("l.mlp.experts")!;
    const stored = await readEntries(adapter, module.b);
    const [, second] = await readFactors(adapter, module);
    assert.equal(second!.b[3 * 2 + 1], stored[3 * 6 + 1 * 3 + 1]);
    // The embedding's change is (B A) transposed: tokens x dim.
    const [embedding] = await readFactors(adapter, adapter.lora.get("emb")!);
    const a = await readEntries(adapter, adapter.lora.get("emb")!.a);
    assert.equal(embedding!.b[5 * 2 + 1], a[1 * 7 + 5]);
  });

  it("measures the norm of a change without forming it", async () => {
    const adapter = await openFiles(peftFolder(LORA, pair("q")));
    const [{ a, b }] = (await readFactors(adapter, adapter.lora.get("q")!)) as [Factors];
    let squares = 0;
    for (let row = 0; row < 3; row++) {
      for (let column = 0; column < 5; column++) {
        squares += (4 * (b[row * 2]! * a[column]! + b[row * 2 + 1]! * a[5 + column]!)) ** 2;
      }
    }
    const { modules, norm } = await inspectAdapter(adapter);
    assert.ok(Math.abs(modules[0]!.norm! - Math.sqrt(squares)) < 1e-12 * norm);
  });

  const defects = [
    { what: "A alone", config: LORA, tensors: { "q.lora_A.weight": tensor("a", 2, 5) }, says: /has no B/ },
    {
      what: "a rank that the config does not say",
      config: { ...LORA, r: 4 },
      tensors: pair("model.q"),
      says: /rank 4[^]*\[2, 5\]/,
    },
    {
      what: "a factor without a rank",
      config: LORA,
      tensors: { "q.lora_A.weight": tensor("a", 0, 5), "q.lora_B.weight": tensor("b", 3, 0) },
      says: /impossible shape/,
    },
    {
      what: "a tensor of an unknown kind",
      config: LORA,
      tensors: { ...pair("q"), "q.lora_C.weight": tensor("c", 2, 2) },
      says: /unknown kind/,
    },
    {
      what: "a tensor of another kind of adapter",
      config: LORA,
      tensors: { ...pair("q"), "k.ia3_l": tensor("l", 3, 1) },
      says: /another kind/,
    },
    { what: "DoRA without magnitudes", config: { ...LORA, use_dora: true }, tensors: pair("q"), says: /magnitude/ },
    {
      what: "trained tokens that the config does not list",
      config: { ...LORA, trainable_token_indices: [1, 5] },
      tensors: { ...pair("q"), "emb.token_adapter.trainable_tokens_delta": tensor("t", 3, 4) },
      says: /2 rows/,
    },
    {
      what: "the same tensor under two names",
      config: LORA,
      tensors: { ...pair("q"), "q.lora_A.second.weight": tensor("a2", 2, 5) },
      says: /twice/,
    },
    { what: "nothing", config: LORA, tensors: {}, says: /holds no tensors/ },
  ];
  for (const { what, config, tensors, says } of defects) {
    it(`is refused with ${what}, naming adapter, module and tensor`, async () => {
      const error = await rejects("adapter/tensor", () => openFiles(peftFolder(config, tensors), "here/mine"));
      assert.match(error.message, says);
      assert.match(error.message, /here\/mine/);
      if (Object.keys(tensors).length > 0) assert.match(error.message, /tensor base_model\.model\./);
    });
  }

  it("is refused with a rank of 0 or an alpha that is no number", async () => {
    for (const field of [{ r: 0 }, { lora_alpha: "x" }, { rank_pattern: { q: -1 } }, { peft_type: 7 }]) {
      await rejects("adapter/config", () => openFiles(peftFolder({ ...LORA, ...field }, pair("q"))));
    }
  });

  it("is refused by name where its kind changes no weight, or is not read", async () => {
    for (const [type, says] of [
      ["PROMPT_TUNING", /changes no weight/],
      ["PREFIX_TUNING", /keys and values/],
      ["LOHA", /Hadamard/],
      ["SOMETHING_NEW", /SOMETHING_NEW/],
    ] as const) {
      const error = await rejects("adapter/kind", () => openFiles(peftFolder({ peft_type: type }, pair("q"))));
      assert.match(error.message, says);
    }
  });

  it("is read with a note where alpha is 0", async () => {
    const { notes } = await openFiles(peftFolder({ ...LORA, lora_alpha: 0 }, pair("q")));
    assert.match(notes[0]!, /alpha is 0 in q/);
  });

  it("names the tensor in which a value is no number", async () => {
    const a = tensor("a", 2, 5);
    a.values[3] = Number.NaN;
    const tensors = { ...pair("q"), "q.lora_A.weight": a };
    const adapter = await openFiles(peftFolder(LORA, tensors));
    const error = await rejects("values/non-finite", () => readFactors(adapter, adapter.lora.get("q")!));
    assert.match(error.message, /q\.lora_A\.weight, q\n[^]*NaN at entry 3/);
  });

  it("refuses patterns that could take forever, or are none", async () => {
    for (const pattern of ["(a+)+b", "(q", "(?=q)q", "a*b*c*d*e*"]) {
      const config = { ...LORA, rank_pattern: { [pattern]: 2 } };
      await rejects("adapter/config", () => openFiles(peftFolder(config, pair("q"))));
    }
  });

  it("says why an adapter is not a change of the base alone", async () => {
    for (const [field, says] of [
      [{ init_lora_weights: "pissa_niter_4" }, /pissa/],
      [{ alora_invocation_tokens: [1, 2] }, /aLoRA/],
      [{ layer_replication: [[0, 1]] }, /layer_replication/],
    ] as const) {
      const { obstacles } = await openFiles(peftFolder({ ...LORA, ...field }, pair("q")));
      assert.match(obstacles.join("\n"), says);
    }
  });

  it("is missing where a folder holds only a pickle", async () => {
    const files = { "adapter_config.json": new Uint8Array(2), "adapter_model.bin": new Uint8Array(2) };
    assert.match((await rejects("adapter/config", () => openFiles(files))).message, /pickle/);
  });
});

describe("a file of kohya's layout", () => {
  const down = { "lora_unet_a_b_to_q.lora_down.weight": tensor("A", 2, 5) };
  const up = { "lora_unet_a_b_to_q.lora_up.weight": tensor("B", 3, 2) };
  const kohya = (tensors: Parameters<typeof safetensors>[0]) => ({ "style.safetensors": safetensors(tensors) });

  it("has a scaling of alpha over rank, or of 1 without an alpha", async () => {
    const alpha = { "lora_unet_a_b_to_q.alpha": { shape: [], values: [6] } };
    for (const [tensors, scaling] of [
      [{ ...down, ...up, ...alpha }, 3],
      [{ ...down, ...up }, 1],
    ] as const) {
      const { lora, naming, format } = await openFiles(kohya(tensors));
      assert.deepEqual([naming, format, [...lora.values()][0]!.scaling], ["flattened", "kohya", scaling]);
    }
  });

  it("comes back from PEFT's layout with the paths of a base, and with the same numbers", async () => {
    const adapter = await openFiles(kohya({ ...down, ...up }));
    await rejects("adapter/base", () => convertAdapter(adapter, { to: "peft" }));
    const names = new BaseNames(["model.a_b.to_q.weight", "model.other.weight"]);
    const files = await convertAdapter(adapter, { to: "peft", names });
    const back = await openFiles(Object.fromEntries(files));
    assert.deepEqual([...back.lora.keys()], ["model.a_b.to_q"]);
    const [one] = await readFactors(adapter, [...adapter.lora.values()][0]!);
    assert.deepEqual((await readFactors(back, back.lora.get("model.a_b.to_q")!))[0], one);
  });

  it("is refused where another kind of tensor is in it", async () => {
    for (const [key, says] of [
      ["lora_unet_x.hada_w1_a", /LoHa/],
      ["lora_unet_x.lora_mid.weight", /Tucker/],
      ["lora_unet_x.diff", /full difference/],
      ["something.else", /no part of a LoRA/],
    ] as const) {
      const error = await rejects("adapter/kind", () => openFiles(kohya({ ...down, ...up, [key]: tensor("x", 2, 2) })));
      assert.match(error.message, says);
    }
    await rejects("adapter/tensor", () => openFiles(kohya(down)));
  });

  it("is not written for what it cannot hold, which the error names", async () => {
    const tensors = {
      ...pair("q"),
      "emb.lora_embedding_A": tensor("EA", 2, 7),
      "emb.lora_embedding_B": tensor("EB", 3, 2),
    };
    const adapter = await openFiles(peftFolder(LORA, tensors));
    const error = await rejects("adapter/kind", () => convertAdapter(adapter, { to: "kohya" }));
    assert.match(error.message, /LoRA of an embedding \(emb\)/);
  });

  it("brings any LoRA of PEFT's back byte for byte", async () => {
    const module = fc.record({
      path: fc.stringMatching(/^[a-z]{1,3}(\.[a-z0-9_]{1,4}){0,3}$/),
      rank: fc.integer({ min: 1, max: 4 }),
      alpha: fc.double({ min: 0.5, max: 64, noNaN: true }),
      isConv: fc.boolean(),
      dora: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(module, { minLength: 1, maxLength: 4, selector: ({ path }) => path.replaceAll(".", "_") }),
        fc.boolean(),
        async (modules, rslora) => {
          const tensors = Object.fromEntries(
            modules.flatMap(({ path, rank, isConv, dora }) => [
              [`${path}.lora_A.weight`, isConv ? tensor(`${path}A`, rank, 2, 3, 3) : tensor(`${path}A`, rank, 5)],
              [`${path}.lora_B.weight`, isConv ? tensor(`${path}B`, 4, rank, 1, 1) : tensor(`${path}B`, 4, rank)],
              ...(dora ? [[`${path}.lora_magnitude_vector`, isConv ? tensor(path, 1, 4, 1, 1) : tensor(path, 4)]] : []),
            ]),
          );
          const config = loraConfig(modules, { use_rslora: rslora });
          const adapter = await openFiles(peftFolder(config, tensors));
          for (const { path, rank, alpha } of modules) {
            const found = adapter.lora.get(path)!;
            assert.deepEqual([found.rank, found.alpha], [rank, alpha]);
          }
          const kohya = await openFiles(Object.fromEntries(await convertAdapter(adapter, { to: "kohya" })));
          const back = await convertAdapter(kohya, { to: "peft" });
          const plain = await convertAdapter(adapter, { to: "peft" });
          for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
            assert.deepEqual(back.get(name), plain.get(name));
          }
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("files of adapters that someone damaged", () => {
  const whole = peftFolder({ ...LORA, rank_pattern: { k: 3 } }, { ...pair("q"), ...pair("k", 3) });
  const config = new TextDecoder().decode(whole["adapter_config.json"]);

  it("are read or refused with an error of ours, whatever byte differs", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.keys(whole)),
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        async (name, at, byte) => {
          const bytes = whole[name]!.slice();
          bytes[at % Math.min(bytes.length, 700)] = byte;
          await readOrRefuse({ ...whole, [name]: bytes });
        },
      ),
      { numRuns: 300 },
    );
  });

  it("are read or refused with an error of ours, whatever JSON the config is", async () => {
    const keys = Object.keys(JSON.parse(config) as object);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...keys, "use_dora", "target_parameters"),
        fc.jsonValue(),
        async (key, value) => {
          const changed = JSON.stringify({ ...(JSON.parse(config) as object), [key]: value });
          await readOrRefuse({ ...whole, "adapter_config.json": new TextEncoder().encode(changed) });
        },
      ),
      { numRuns: 300 },
    );
  });

  async function readOrRefuse(files: Readonly<Record<string, Uint8Array>>): Promise<void> {
    try {
      await inspectAdapter(await openFiles(files));
    } catch (error) {
      if (!(error instanceof MergewrightError)) throw error;
    }
  }
});

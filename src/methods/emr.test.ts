import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { makeMask } from "../kernels/masks/definition.js";
import { emr } from "./emr.js";

type Tensors = Readonly<Record<"a" | "b", readonly number[]>>;

const golden = JSON.parse(readFileSync(new URL("../../../test/golden/methods.json", import.meta.url), "utf8")).emr as {
  readonly tau_tensors: readonly Tensors[];
  readonly unified: Tensors;
  readonly masks: readonly Tensors[];
  readonly rescalers_code_sum_of_tensor_means: readonly number[];
  readonly rescalers_paper_global: readonly number[];
};
const { keeps, scale } = emr.masking!;

function unify(changes: readonly (readonly number[])[]): number[] {
  return combine(
    emr,
    changes[0]!.map(() => 0),
    changes,
    {},
  );
}

function maskOf(change: readonly number[], shared: readonly number[]) {
  const args = emr.bind(settingsOf(emr, {}, [{}]), {});
  const run = makeMask(Float32Array.from(change), Float32Array.from(shared), (c, s) => keeps(c, s, 0, args));
  return { ...run, entries: change.length, kept: run.kept };
}

describe("emr", () => {
  it("agrees with the golden vectors: unified vector, masks, both rescalers", () => {
    const names = ["a", "b"] as const;
    const sums = golden.tau_tensors.map((tau, task) =>
      names.map((name) => {
        const unified = unify(golden.tau_tensors.map((tensors) => tensors[name]));
        for (const [p, value] of golden.unified[name].entries()) assert.ok(Math.abs(unified[p]! - value) <= 1e-6);
        const mask = maskOf(tau[name], unified);
        const bits = tau[name].map((_, p) => (mask.bits[p >>> 3]! >>> (p & 7)) & 1);
        assert.deepEqual(bits, golden.masks[task]![name]);
        return mask;
      }),
    );
    for (const [rescale, expected] of [
      ["per-tensor-mean", golden.rescalers_code_sum_of_tensor_means],
      ["global", golden.rescalers_paper_global],
    ] as const) {
      const settings = settingsOf(emr, { rescale }, []);
      for (const [task, value] of expected.entries())
        assert.ok(Math.abs(scale(settings, sums[task]!) - value) <= 1e-6, rescale);
    }
  });

  it("by hand: the larger side's largest magnitude; a zero sum elects the negative side", () => {
    const change = [
      [1, -1, 2, 0, 0.5],
      [3, -4, -2, 0, -1],
      [-2, 1, 0, 0, 0.25],
    ];
    assert.deepEqual(unify(change), [3, -4, -2, 0, -1]);
  });

  it("a mask is strict: zeros never, however small the rest is", () => {
    const tiny = 2 ** -149;
    const mask = maskOf([0, -0, tiny, -tiny, tiny, NaN, 1], [1, -1, tiny, -tiny, -tiny, 1, 0]);
    assert.deepEqual([...mask.bits], [0b0001100]);
  });

  it("one model is its own unified vector, with a rescaler of one", () => {
    const change = [0.5, -0.25, 0, 2];
    assert.deepEqual(unify([change]), change);
    assert.equal(scale(settingsOf(emr, {}, []), [maskOf(change, change)]), 1);
  });

  it("without its parts, as in the paper's ablation: everything is kept, and the scale is one", () => {
    const args = emr.bind(settingsOf(emr, { mask: false, rescale: "none" }, [{}]), {});
    const change = Float32Array.of(1, -2, 0, 0.5);
    const shared = Float32Array.of(4, 1, 0, -2);
    const all = makeMask(change, shared, (c, s) => emr.masking!.keeps(c, s, 0, args));
    assert.deepEqual([...all.bits], [0b1111]);
    const sums = [{ ...all, entries: 4 }];
    assert.equal(scale(settingsOf(emr, { rescale: "none" }, []), sums), 1);
    assert.equal(scale(settingsOf(emr, { rescale: "global" }, []), sums), 3.5 / 7);
  });

  it("a NaN is carried", () => {
    assert.deepEqual(unify([[NaN], [1]]), [NaN]);
  });
});

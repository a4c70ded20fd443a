import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { methods } from "../methods/catalogue.js";
import { parseRecipe } from "../recipe/native.js";
import { layerScale, measuresAlpha, noteOnAlpha, scaleLambda } from "./lines.js";

const recipe = (lines: string, more = "method: task_arithmetic/mergekit\nmodels: [a, b, c, d]") =>
  parseRecipe(`${more}\nbase: x\nlines: ${lines}`, { methods });
const llama = [
  "model.embed_tokens.weight",
  ...[0, 1, 2, 3, 4].map((l) => `model.layers.${l}.mlp.up_proj.weight`),
  "lm_head.weight",
];
const scales = (lines: string, names = llama) => names.map(layerScale(recipe(lines), names));

describe("LiNeS", () => {
  it("rises from alpha to alpha + beta over the layers; what is outside of them takes alpha", () => {
    assert.deepEqual(scales("{alpha: 0.25, beta: 0.5}"), [0.25, 0.25, 0.375, 0.5, 0.625, 0.75, 0.25]);
  });

  it("alpha 1 with beta 0, and no lines at all, change nothing", () => {
    assert.deepEqual(
      scales("{alpha: 1, beta: 0}"),
      llama.map(() => 1),
    );
    assert.deepEqual(
      scales("null"),
      llama.map(() => 1),
    );
    const settings = { global: { lambda: 0.3 }, models: [{ lambda: 0.3, weight: 1 }] };
    assert.deepEqual(scaleLambda(settings, 1), settings);
  });

  it("multiplies lambda wherever it stands", () => {
    const settings = { global: { lambda: 0.5, k: 2 }, models: [{ lambda: 0.5, k: 2 }] };
    assert.deepEqual(scaleLambda(settings, 0.5), { global: { lambda: 0.25, k: 2 }, models: [{ lambda: 0.25, k: 2 }] });
  });

  it("counts the layers of each stack by itself", () => {
    const names = [
      "encoder.block.0.layer.0.w",
      "encoder.block.4.layer.1.w",
      "decoder.block.1.w",
      "decoder.block.2.layer.1.w",
    ];
    assert.deepEqual(scales("{alpha: 0, beta: 1}", names), [0, 1, 0.5, 1]);
    assert.deepEqual(scales("{alpha: 0.5, beta: 1}", ["transformer.h.0.w"]), [1.5]);
  });

  it("takes the first number of the names where no list has a known name", () => {
    assert.deepEqual(scales("{alpha: 0, beta: 1}", ["stem.w", "units.0.1.w", "units.2.0.w"]), [0, 0, 1]);
  });

  it("derives alpha where the merged change is a multiple of the sum", () => {
    const alpha = (more: string) => layerScale(recipe("{beta: 0.5}", more), llama)("lm_head.weight");
    const four = "models: [a, b, c, d]";
    assert.equal(alpha(`method: task_arithmetic/mergekit\n${four}`), 0.25);
    assert.equal(alpha(`method: task_arithmetic/mergekit\n${four}\nparameters: {weight: -2}`), 0.125);
    assert.equal(alpha(`method: task_arithmetic/mergekit\n${four}\nparameters: {normalize: true}`), 1);
    assert.match(noteOnAlpha(recipe("{beta: 0.5}", `method: task_arithmetic\n${four}`))[0]!, /is 0.25, as follows/);
    const measured = [
      `method: ties\n${four}`,
      "method: task_arithmetic\nmodels: [a, {model: b, weight: 2}]",
      `method: task_arithmetic\n${four}\ndare: {drop: 0.5}`,
      `method: task_arithmetic\n${four}\nparameters: {weight: {value: 1, patterns: {"*.mlp.*": 2}}}`,
      `method: task_arithmetic\n${four}\nparameters: {weight: 0}`,
    ];
    for (const more of measured) {
      assert.ok(measuresAlpha(recipe("{beta: 0.5}", more)), more);
      assert.match(noteOnAlpha(recipe("{beta: 0.5}", more))[0]!, /alpha of lines is measured before the merge/);
      assert.ok(!measuresAlpha(recipe("{alpha: 0.1, beta: 0.5}", more)));
    }
    assert.deepEqual(noteOnAlpha(recipe("{alpha: 0.1, beta: 0.5}")), []);
  });

  it("refuses to measure alpha where there is no one merged change of the models", () => {
    const refuse = (more: string, isWritten: boolean) => {
      assert.throws(
        () => layerScale(recipe("{beta: 0.5}", more), llama, isWritten),
        (error: unknown) => error instanceof MergewrightError && error.code === "recipe/unsupported",
        more,
      );
    };
    refuse("method: ties\nmodels: [a, b]", false);
    refuse("method: twin\nmodels: [a, b]", true);
  });

  it("refuses names without layers", () => {
    assert.throws(() => scales("{alpha: 1, beta: 1}", ["a", "b.weight"]), /no tensor's name tells its layer/);
  });

  it("a note tells that lambda is multiplied, not replaced", () => {
    assert.deepEqual(recipe("{alpha: 1, beta: 1}").notes, []);
    assert.match(recipe("{alpha: 1, beta: 1}", "method: task_arithmetic\nmodels: [a, b]").notes[0]!, /which is 0.3/);
  });
});

/** What is told of solved tensors, as it is recorded and as it is summed up. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { RunResult } from "../../src/execute/run.js";
import { mats } from "../../src/methods/mats.js";
import { tsvM } from "../../src/methods/tsv_m.js";
import { figureText, recordedFigures, summaryOfFigures } from "../../src/report/figures.js";
import { provenanceText } from "../../src/report/provenance.js";

const told = [
  { residuals: [0.5, 0.1234567, 0.02], condition: [812.34567], steps: [2] },
  null,
  { residuals: [0.4, 0.3, 0.07], condition: [12], steps: [2] },
  { residuals: [0.4, 0.01], condition: [Number.NaN], steps: [1] },
];
const result = { tensors: told.map((figures) => ({ figures })) } as unknown as RunResult;
const names = ["a", "b", "c", "d"];

describe("figures of solved tensors", () => {
  const recorded = recordedFigures(result, (index) => names[index]!);

  it("are recorded in four digits, by tensor, and nothing for tensors without", () => {
    assert.deepEqual(recorded, {
      a: { residuals: [0.5, 0.1235, 0.02], condition: [812.3], steps: [2] },
      c: { residuals: [0.4, 0.3, 0.07], condition: [12], steps: [2] },
      d: { residuals: [0.4, 0.01], condition: [null], steps: [1] },
    });
    assert.equal(
      recordedFigures({ ...result, tensors: result.tensors.slice(1, 2) }, () => "b"),
      null,
    );
    // What a journal kept is JSON, in which a NaN is null.
    const again = JSON.parse(JSON.stringify(result)) as RunResult;
    assert.deepEqual(
      recordedFigures(again, (index) => names[index]!),
      recorded,
    );
  });

  it("are summed up by the last of each tensor: the worst, whose it is, and the middle", () => {
    const [residuals, condition, steps] = summaryOfFigures(mats, recorded);
    assert.deepEqual(residuals, {
      ...{ name: "residuals", meaning: mats.figures!["residuals"], tensors: 3 },
      ...{ median: 0.02, worst: 0.07, worstTensor: "c" },
    });
    assert.deepEqual([condition!.worst, condition!.worstTensor], [Infinity, "d"]);
    assert.equal(steps!.worst, 2);
    assert.match(figureText(residuals), /^0\.07 at most \(c\), 0\.02 in the middle of 3 tensors: what the steps left/);
  });

  it("of a method that ranks none are recorded alone", () => {
    assert.deepEqual(summaryOfFigures(tsvM, recorded), []);
  });
});

describe("the record as text", () => {
  it("has lists of numbers in one line and nothing else changed", () => {
    const text = provenanceText({
      figures: { a: { residuals: [1, 2.5e-7, null, -3] } },
      recipe: "[\n  1,\n  2\n]",
      empty: [],
      more: [{ b: [1] }],
    } as never);
    assert.match(text, /"residuals": \[1, 2\.5e-7, null, -3\]\n/);
    assert.deepEqual(JSON.parse(text), {
      figures: { a: { residuals: [1, 2.5e-7, null, -3] } },
      recipe: "[\n  1,\n  2\n]",
      empty: [],
      more: [{ b: [1] }],
    });
  });
});

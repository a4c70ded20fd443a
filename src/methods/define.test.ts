import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { defineMethod } from "./define.js";
import type { OwnMethod } from "./define.js";

const combine = () => {};

function refuses(own: unknown, ...faults: RegExp[]): void {
  assert.throws(
    () => defineMethod(own as OwnMethod, "mine.js"),
    (error: unknown) => {
      assert.ok(error instanceof MergewrightError);
      assert.equal(error.code, "method/invalid");
      assert.match(error.message, /mine\.js/);
      for (const fault of faults) assert.match(error.found ?? "", fault);
      return true;
    },
  );
}

describe("defineMethod", () => {
  it("completes a name and a combine", () => {
    const method = defineMethod({ name: "mine", combine });
    assert.deepEqual(
      [method.inputs, method.base, method.models, method.grain, method.title, Object.keys(method.dialects)],
      ["changes", "required", { min: 1 }, "tile", "mine", ["own"]],
    );
    assert.equal(method.needs({ global: {}, models: [] }, {}), null);
    assert.equal(method.kernel({ scalars: {}, columns: {} }), null);
    assert.equal(defineMethod({ name: "plain", inputs: "weights", combine }).base, "unused");
  });

  it("takes what it made", () => {
    const once = defineMethod({ name: "mine", combine });
    assert.equal(defineMethod(once).name, "mine");
  });

  it("binds every parameter as a number", () => {
    const method = defineMethod({
      ...{ name: "mine", combine },
      parameters: {
        lambda: { type: "number", default: 1, meaning: "scale" },
        weight: { type: "number", default: 1, per: "model", meaning: "strength" },
        mode: { type: "choice", default: "b", choices: { a: "one", b: "two" }, meaning: "how" },
        sure: { type: "flag", default: false, meaning: "whether" },
        guide: { type: "checkpoint", default: null, per: "recipe", meaning: "which" },
      },
    });
    assert.equal(method.parameters["lambda"]!.per, "tensor");
    const global = { lambda: 0.1, weight: 1, mode: "b", sure: true, guide: "x" };
    const args = method.bind({ global, models: [{ ...global, weight: 0.3 }, global] }, {});
    assert.deepEqual(args, {
      scalars: { lambda: Math.fround(0.1), mode: 1, sure: 1 },
      columns: { weight: [Math.fround(0.3), 1] },
    });
  });

  it("refuses what is declared wrongly, and names all of it", () => {
    refuses(7, /an object with name and combine/);
    refuses({ name: "mine" }, /combine\(tile, args\).* is missing/);
    refuses(
      { name: "My Method", combine: 3, kernal: 1 },
      /name must be/,
      /combine must be a function/,
      /unknown key kernal/,
    );
    refuses({ name: "ties", combine }, /ties is a method of the catalogue/);
    refuses({ name: "mine", combine, base: "maybe", inputs: "deltas" }, /base must be/, /inputs must be/);
    refuses({ name: "mine", combine, base: "unused" }, /base must be "required"/);
    refuses({ name: "mine", combine, models: { min: 3, max: 2 } }, /models must be/);
    refuses({ name: "mine", combine, title: 3, counters: { a: 1 } }, /title must be text/, /counters\.a/);
  });

  it("refuses parameters and dialects that contradict themselves", () => {
    const parameters = (parameter: unknown) => ({ name: "mine", combine, parameters: { density: parameter } });
    const meaning = "share";
    refuses(parameters({ type: "number", default: 2, max: 1, meaning }), /default \(2\) is outside/);
    refuses(parameters({ type: "number", default: 0.5, integer: true, meaning }), /must be a whole number/);
    refuses(parameters({ type: "number", default: "1", meaning }), /must be a finite number/);
    refuses(parameters({ type: "number", default: 0, min: 1, max: 0, meaning }), /min is above max/);
    refuses(parameters({ type: "choice", default: "c", choices: { a: "one" }, meaning }), /none of the choices/);
    refuses(parameters({ type: "choice", default: "c", meaning }), /choices must hold/);
    refuses(parameters({ type: "flag", default: 0, meaning }), /must be true or false/);
    refuses(parameters({ type: "checkpoint", default: "x", meaning }), /must be null/);
    refuses(
      parameters({ type: "tensor", default: 0, per: "layer" }),
      /type must be/,
      /per must be/,
      /meaning must say/,
    );
    refuses(
      { name: "mine", combine, parameters: { drop: { type: "flag", default: true, meaning } } },
      /drop means something else/,
    );
    const own = {
      ...parameters({ type: "number", default: 0, max: 1, meaning }),
      dialects: { a: { meaning, values: { density: 3, size: 1 } }, b: 1 },
    };
    refuses(own, /dialects\.a\.density \(3\)/, /dialects\.a sets size/, /dialects\.b must be/);
  });

  it("names the method in whatever its functions throw", () => {
    const settings = { global: {}, models: [{}] };
    const failing = defineMethod({
      ...{ name: "mine", bind: () => ({}) as never },
      needs: () => {
        throw new Error("no");
      },
      combine: (tile) => void tile.inputs[3]![0],
    });
    const failed = (part: RegExp) => (error: unknown) =>
      error instanceof MergewrightError && error.code === "method/failed" && part.test(error.message);
    assert.throws(() => failing.needs(settings, {}), failed(/needs of the method mine failed[^]*no/));
    const tile = { count: 1, base: new Float32Array(1), inputs: [], extra: {}, out: new Float32Array(1), counters: {} };
    assert.throws(() => failing.combine(tile, { scalars: {}, columns: {} }), failed(/combine of the method mine/));
    const wrong = defineMethod({ name: "mine", combine, bind: () => ({ scalars: {}, columns: { a: [1, 2] } }) });
    assert.throws(() => wrong.bind(settings, {}), failed(/\[1 numbers\]/));
  });

  it("makes entries that combine leaves out NaN, not what the last tile left there", () => {
    const out = Float32Array.of(1, 2, 3);
    const tile = { count: 3, base: out, inputs: [], extra: {}, out, counters: {} };
    defineMethod({ name: "mine", combine: (tile) => void (tile.out[1] = 5) }).combine(tile, {
      scalars: {},
      columns: {},
    });
    assert.deepEqual([...out], [NaN, 5, NaN]);
  });
});

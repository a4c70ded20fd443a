/** What every method's declaration keeps, so that a new file cannot break what is built on all of them. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { settingsOf } from "../../test/laws/support/twin.js";
import { methods } from "./catalogue.js";
import type { Parameter, ParameterValue } from "./method.js";

function accepts(parameter: Parameter, value: ParameterValue): boolean {
  switch (parameter.type) {
    case "number": {
      if (typeof value !== "number" || !Number.isFinite(Math.fround(value))) return false;
      const { min = -Infinity, max = Infinity, integer = false } = parameter;
      return value >= min && value <= max && (!integer || Number.isInteger(value));
    }
    case "choice":
      return typeof value === "string" && Object.hasOwn(parameter.choices, value);
    case "flag":
      return typeof value === "boolean";
    case "checkpoint":
      return value === null;
  }
}

/** What mergekit computes here its own rounding decides, which no dialect repeats; the plan says so in any of them. */
const DECIDED_BY_ROUNDING = new Set(["arcee_fusion"]);

for (const method of methods) {
  describe(method.name, () => {
    const { parameters, dialects, models } = method;

    it("has defaults and dialects within its own ranges", () => {
      for (const [name, parameter] of Object.entries(parameters)) {
        assert.ok(accepts(parameter, parameter.default), `${name}: ${String(parameter.default)}`);
      }
      for (const [dialect, { values }] of Object.entries(dialects)) {
        for (const [name, value] of Object.entries(values)) {
          const parameter = parameters[name];
          assert.ok(parameter !== undefined && accepts(parameter, value), `${dialect}: ${name} ${String(value)}`);
        }
      }
    });

    it("takes its defaults and every dialect", () => {
      const count = Math.max(models.min, Math.min(2, models.max ?? 2));
      for (const { values } of [{ values: {} }, ...Object.values(dialects)]) {
        const own = Array.from({ length: count }, () => ({}));
        assert.equal(method.check?.(settingsOf(method, values, own)) ?? null, null);
      }
    });

    it("scales by lambda where it may differ between tensors, if at all", () => {
      const { lambda } = parameters;
      if (lambda === undefined) return;
      assert.equal(lambda.type, "number");
      assert.notEqual(lambda.per, "recipe");
      assert.equal(method.inputs, "changes");
    });

    it("computes what mergekit does under its dialect", () => {
      const known = dialects["mergekit-strict"] ?? dialects.mergekit;
      if (known === undefined || method.quirk === undefined || DECIDED_BY_ROUNDING.has(method.name)) return;
      const count = Math.max(models.min, Math.min(2, models.max ?? 2));
      const settings = settingsOf(
        method,
        known.values,
        Array.from({ length: count }, () => ({})),
      );
      assert.equal(method.quirk(settings, { name: "model.layers.0.mlp.up_proj.weight", shape: [64, 64] }), null);
    });
  });
}

/** Bits per byte of the zoo's language models, beside those of the reference implementation. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { before, describe, it } from "node:test";
import { evaluate } from "../../src/node.js";
import { root } from "../cli/support.js";

before(() => process.chdir(root));

const { rows } = JSON.parse(readFileSync(path.join(root, "zoo", "reference.json"), "utf8")).language;

describe("bits per byte", () => {
  it("of a base and a specialist on the specialist's texts", async () => {
    const tasks = { tasks: [{ name: "french", type: "language-modelling", data: "zoo/language/french/text.json" }] };
    const result = await evaluate("zoo/language/french", { tasks, against: "zoo/language/base" });
    const { value, comparison } = result.tasks[0]!;
    assert.ok(Math.abs(value - rows.french.bits_per_byte.french) < 0.002, `${value}`);
    assert.ok(Math.abs(comparison!.against - rows.base.bits_per_byte.french) < 0.002, `${comparison!.against}`);
    assert.equal(comparison!.better, "this");
  });
});

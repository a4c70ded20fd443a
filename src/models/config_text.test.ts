import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { setValue } from "./config_text.js";

describe("setValue", () => {
  const text = '{\n  "a": {"vocab_size": 1, "x": "},{\\""},\n  "vocab_size": 32000,\n  "eps": 1e-06,\n  "n": NaN\n}';

  it("changes one value and no other character", () => {
    assert.equal(setValue(text, ["vocab_size"], "7"), text.replace("32000", "7"));
    assert.equal(setValue(text, ["a", "vocab_size"], "7"), text.replace(": 1,", ": 7,"));
    assert.equal(setValue(text, ["n"], "0"), text.replace("NaN", "0"));
  });

  it("adds a key that is not there, in the style of the file", () => {
    assert.equal(setValue(text, ["tied"], "false"), text.replace("{\n", '{\n  "tied": false,\n'));
    assert.equal(setValue("{}", ["tied"], "false"), '{"tied": false}');
    assert.equal(setValue(text, ["b", "tied"], "false"), null);
    assert.equal(setValue('{"a": 3}', ["a", "b"], "1"), null);
  });

  it("agrees with a parser on every object", () => {
    const objects = fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 5 });
    fc.assert(
      fc.property(objects, fc.string(), fc.jsonValue(), fc.constantFrom(0, 2), (object, key, value, indent) => {
        const changed = setValue(JSON.stringify(object, null, indent), [key], JSON.stringify(value));
        assert.deepEqual(JSON.parse(changed!), JSON.parse(JSON.stringify({ ...object, [key]: value })));
      }),
    );
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { processorTime } from "../../test/processor_time.js";
import * as fc from "fast-check";
import { compileGlob, GlobError } from "./glob.js";

const matches = (pattern: string, name: string) => compileGlob(pattern).matches(name);

describe("a pattern", () => {
  const rows: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ["lm_head.weight", ["lm_head.weight"], ["lm_head.weight2", "a.lm_head.weight", "lm_head_weight", ""]],
    ["*", ["", "a", "a.b/c"], []],
    ["a*", ["a", "a.b.c"], ["", "ba"]],
    ["*.mlp.*", ["x.mlp.up", ".mlp."], ["mlp.up", "x.mlp", "x.smlp.up"]],
    ["*a*b*", ["ab", "xaybz", "aab"], ["ba", "a"]],
    ["a?c", ["abc", "a.c", "a💡c"], ["ac", "abbc"]],
    ["{q,k,v}_proj", ["q_proj", "v_proj"], ["x_proj", "qk_proj", "_proj"]],
    ["a{,_2}", ["a", "a_2"], ["a_"]],
    ["a{b{c,d},e*}f", ["abcf", "abdf", "aef", "aexxf"], ["abf", "aecfx", "af"]],
    ["layers.{0..3}.*", ["layers.0.w", "layers.3.w"], ["layers.4.w", "layers.10.w", "layers.00.w"]],
    ["layers.{9..11}.w", ["layers.9.w", "layers.10.w", "layers.11.w"], ["layers.1.w", "layers.8.w"]],
    ["{11..9}", ["9", "10", "11"], ["8"]],
    ["{07..10}", ["07", "10"], ["7", "010"]],
    ["{0..1}{0..1}", ["00", "11"], ["0", "2"]],
    ["x[abc]", ["xa", "xc"], ["xd", "x", "xab"]],
    ["x[a-c0-9_-]", ["xb", "x5", "x_", "x-"], ["xd"]],
    ["x[!a-c]", ["xd", "x."], ["xa", "x"]],
    ["x[^a]", ["xb", "x^"], ["xa"]],
    ["x[]a]", ["x]", "xa"], ["x"]],
    ["[*?{]", ["*", "?", "{"], ["a"]],
    [String.raw`\*\{\[\\`, ["*{[\\"], ["a{[\\"]],
    ["a,b]", ["a,b]"], ["a"]],
    ["[\\]-a]", ["]", "_", "a"], ["-"]],
  ];
  for (const [pattern, yes, no] of rows) {
    it(pattern, () => {
      for (const name of yes) assert.ok(matches(pattern, name), `matches ${name}`);
      for (const name of no) assert.ok(!matches(pattern, name), `does not match ${name}`);
    });
  }

  for (const pattern of [
    "",
    "[",
    "[]",
    "[a",
    "[b-a]",
    "{",
    "{a",
    "{a,{b}",
    "}",
    "a}",
    "\\",
    "[a\\",
    "{a..c}",
    "{0..2000}",
    "{0..999999999999999}",
    "x".repeat(1001),
    "{".repeat(30),
    "{0..999}".repeat(3),
  ]) {
    it(`refuses ${pattern.slice(0, 30)}`, () => assert.throws(() => compileGlob(pattern), GlobError));
  }

  it("is linear where backtracking explodes", () => {
    const name = "a".repeat(2000);
    const spent = processorTime(() => {
      assert.ok(!matches(`${"*a".repeat(200)}b`, name));
      assert.ok(!matches(`${"{a,a*,*}".repeat(50)}b`, name));
    });
    assert.ok(spent < 3000, `${Math.round(spent)} ms`);
  });

  it("equals a naive matcher", () => {
    fc.assert(
      fc.property(piece, fc.array(fc.constantFrom("a", "b", "c", "1", "2", "."), { maxLength: 8 }), (node, letters) => {
        const pattern = write(node);
        if (pattern === "") return;
        const name = letters.join("");
        assert.equal(matches(pattern, name), [...rests(node, name)].includes(""), `${pattern} on ${name}`);
      }),
      { numRuns: 2000, seed: 1 },
    );
  });
});

/** A pattern as a value; the reference never sees its text. */
type Piece =
  | { kind: "letter"; letter: string }
  | { kind: "one" | "any" }
  | { kind: "set"; letters: string; negated: boolean }
  | { kind: "range"; low: number; high: number }
  | { kind: "either" | "all"; parts: Piece[] };

const { piece } = fc.letrec<{ piece: Piece }>((tie) => ({
  piece: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.record({ kind: fc.constant("letter" as const), letter: fc.constantFrom("a", "b", "c", ".", "1") }),
    fc.record({ kind: fc.constantFrom("one" as const, "any" as const) }),
    fc.record({ kind: fc.constant("set" as const), letters: fc.constantFrom("a", "ab", "1."), negated: fc.boolean() }),
    fc.record({ kind: fc.constant("range" as const), low: fc.nat(12), high: fc.nat(22) }),
    fc.record({
      kind: fc.constantFrom("either" as const, "all" as const),
      parts: fc.array(tie("piece"), { minLength: 1, maxLength: 4 }),
    }),
  ),
}));

function write(node: Piece): string {
  switch (node.kind) {
    case "letter":
      return node.letter;
    case "one":
      return "?";
    case "any":
      return "*";
    case "set":
      return `[${node.negated ? "!" : ""}${node.letters}]`;
    case "range":
      return `{${node.low}..${node.high}}`;
    case "either":
      return `{${node.parts.map(write).join(",")}}`;
    case "all":
      return node.parts.map(write).join("");
  }
}

/** What may be left of a text after a pattern: plain backtracking, all ways. */
function* rests(node: Piece, text: string): Generator<string> {
  switch (node.kind) {
    case "letter":
      if (text.startsWith(node.letter)) yield text.slice(1);
      return;
    case "one":
      if (text !== "") yield text.slice(1);
      return;
    case "any":
      for (let at = 0; at <= text.length; at++) yield text.slice(at);
      return;
    case "set":
      if (text !== "" && node.letters.includes(text[0]!) !== node.negated) yield text.slice(1);
      return;
    case "range":
      for (let number = Math.min(node.low, node.high); number <= Math.max(node.low, node.high); number++) {
        if (text.startsWith(String(number))) yield text.slice(String(number).length);
      }
      return;
    case "either":
      for (const part of node.parts) yield* rests(part, text);
      return;
    case "all": {
      let open = new Set([text]);
      for (const part of node.parts) open = new Set([...open].flatMap((rest) => [...rests(part, rest)]));
      yield* open;
    }
  }
}

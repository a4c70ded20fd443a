import assert from "node:assert/strict";
import { describe, it } from "node:test";
import pc from "picocolors";
import { reportFailure } from "../../src/cli/failure.js";
import { showMarkdown } from "../../src/cli/markdown.js";
import { plainLines } from "../../src/cli/progress.js";
import { facts, table, wrap } from "../../src/cli/table.js";
import { harmless } from "../../src/cli/terminal.js";
import type { Terminal } from "../../src/cli/terminal.js";
import { MergewrightError } from "../../src/errors.js";
import { methods } from "../../src/methods/catalogue.js";
import { methodManual } from "../../src/report/manual.js";

function terminalOf(width: number, json = false): Terminal {
  return { json, width, out: pc.createColors(false), error: pc.createColors(false), live: false };
}

const COLUMNS = [{ head: "tensor" }, { head: "entries", align: "right" as const }, { head: "reason" }];
const ROWS = [
  ["model.layers.0.self_attn.q_proj.weight", "4,096", "excluded by the recipe; copied from the base"],
  ["lm_head.weight", "1", ""],
];

describe("a table", () => {
  it("keeps every row on one line where the output is no terminal", () => {
    const text = table(COLUMNS, ROWS, terminalOf(Number.POSITIVE_INFINITY));
    assert.deepEqual(text.split("\n"), [
      "tensor                                  entries  reason",
      "model.layers.0.self_attn.q_proj.weight    4,096  excluded by the recipe; copied from the base",
      "lm_head.weight                                1",
    ]);
  });

  it("wraps at spaces in a terminal, and cuts nothing off", () => {
    const text = table(COLUMNS, ROWS, terminalOf(64));
    for (const line of text.split("\n")) assert.ok(line.length <= 64, line);
    assert.equal(lettersOf(text), lettersOf([...COLUMNS.map(({ head }) => head), ...ROWS.flat()].join("")));
    for (const word of ROWS.flat().flatMap((cell) => cell.split(" "))) assert.ok(text.includes(word), word);
  });

  it("becomes paragraphs where words would have to be broken", () => {
    assert.equal(
      table(COLUMNS, ROWS, terminalOf(40)),
      [
        "model.layers.0.self_attn.q_proj.weight",
        "    entries 4,096, reason excluded by",
        "    the recipe; copied from the base",
        "lm_head.weight",
        "    entries 1",
      ].join("\n"),
    );
  });

  it("shows a name from a file that would steer the terminal as text", () => {
    const text = table([{ head: "a" }], [["\u001b[2Jx\u202e"]], terminalOf(80));
    assert.equal(text, "a\n\\u{1b}[2Jx\\u{202e}");
  });
});

function lettersOf(text: string): string {
  return Array.from(text.replaceAll(/\s/g, "")).sort().join("");
}

describe("wrapped text", () => {
  it("breaks at spaces, and in a word only where the word is longer than the line", () => {
    assert.equal(wrap("one two three", 8), "one two\nthree");
    assert.equal(wrap("a abcdefghij", 4), "a\nabcd\nefgh\nij");
    assert.equal(wrap("short", 80), "short");
  });

  it("continues below the value of a fact", () => {
    assert.equal(
      facts(
        [
          ["name", "one two"],
          ["of", "x"],
        ],
        terminalOf(11),
      ),
      "name  one two\nof    x",
    );
    assert.equal(facts([["name", "one two three"]], terminalOf(14)), "name  one two\n      three");
  });
});

describe("progress in a log", () => {
  it("is a plain line every five seconds, with speed and time left", () => {
    const lines: string[] = [];
    let now = 0;
    const report = plainLines(
      (line) => lines.push(line),
      () => now,
    );
    for (const [seconds, doneBytes] of [
      [0, 0],
      [2, 2e8],
      [5, 5e8],
      [7, 7e8],
      [10.5, 1e9],
    ] as const) {
      now = seconds * 1000;
      report({ phase: "merge", doneBytes, totalBytes: 2e9 });
    }
    assert.deepEqual(lines, ["merging 25 %, 100 MB/s, 15.0 s left", "merging 50 %, 95 MB/s, 10.5 s left"]);
  });

  it("never goes back when more turns out to be needed", () => {
    const lines: string[] = [];
    let now = 0;
    const report = plainLines(
      (line) => lines.push(line),
      () => now,
    );
    report({ phase: "statistics", doneBytes: 0, totalBytes: 10 });
    now = 5000;
    report({ phase: "statistics", doneBytes: 6, totalBytes: 10 });
    now = 10_000;
    report({ phase: "statistics", doneBytes: 7, totalBytes: 20 });
    assert.deepEqual(
      lines.map((line) => /\d+ %/.exec(line)![0]),
      ["60 %", "60 %"],
    );
  });
});

describe("an error", () => {
  it("of an unexpected kind is shown with its stack, asks for a report and ends with 3", (context) => {
    const write = context.mock.method(process.stderr, "write", () => true);
    assert.equal(reportFailure(new TypeError("oops"), terminalOf(80)), 3);
    assert.equal(reportFailure(new TypeError("oops"), terminalOf(80, true)), 3);
    const [text, json] = write.mock.calls.map((call) => String(call.arguments[0]));
    write.mock.restore();
    assert.match(text!, /^error: unexpected: TypeError: oops\n +at .*\n[^]*please report it/);
    assert.equal(JSON.parse(json!).error.code, "internal");
  });

  it("of the system that nobody foresaw is told as such", (context) => {
    const write = context.mock.method(process.stderr, "write", () => true);
    const error = Object.assign(new Error("ENOSPC: no space left on device, write"), { errno: -28, syscall: "write" });
    assert.equal(reportFailure(error, terminalOf(80)), 3);
    const text = String(write.mock.calls[0]!.arguments[0]);
    write.mock.restore();
    assert.match(text, /^error: the system refused an operation\n {2}found: +ENOSPC: no space left on device, write\n/);
  });

  it("cannot steer the terminal", (context) => {
    const write = context.mock.method(process.stderr, "write", () => true);
    const error = new MergewrightError("bad \u001b[31mname", { kind: "check", code: "verify/failed" });
    assert.equal(reportFailure(error, terminalOf(80)), 1);
    const text = String(write.mock.calls[0]!.arguments[0]);
    write.mock.restore();
    assert.equal(text, "error: bad \\u{1b}[31mname\n");
    assert.equal(harmless("a\tb\n"), "a\tb\n");
  });
});

describe("a manual page", () => {
  const [method] = methods;
  const page = methodManual(method!);

  it("stays Markdown in a pipe", () => {
    assert.equal(showMarkdown(page, terminalOf(Number.POSITIVE_INFINITY)), page);
  });

  it("loses its marks but no parameter in a terminal", () => {
    const shown = showMarkdown(page, terminalOf(100));
    assert.doesNotMatch(shown, /^#|^\||```|\]\(/m);
    for (const name of Object.keys(method!.parameters)) assert.match(shown, new RegExp(`^${name} `, "m"));
  });
});

/** docs/choosing.md quotes the zoo's reference rows; what it quotes must be what they say. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const read = (file: string) => readFileSync(fileURLToPath(new URL(`../../${file}`, import.meta.url)), "utf8");

interface Rows {
  readonly rows: Readonly<Record<string, { readonly average: number }>>;
}

const reference = JSON.parse(read("zoo/reference.json")) as { readonly vision: Rows; readonly language: Rows };
const page = read("docs/choosing.md");

/** Lines of the tables: reference row, value, difference. */
function quoted(from: string, to: string): [name: string, value: string, difference: string][] {
  const part = page.slice(page.indexOf(from), page.indexOf(to));
  return [...part.matchAll(/^\| `([^`]+)` \| ([\d.]+) \|(?: ([−+\d.]+))? \|/gm)].map(([, name, value, difference]) => [
    name!,
    value!,
    difference ?? "",
  ]);
}

const signed = (value: number, digits: number) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

describe("docs/choosing.md", () => {
  const tables = [
    ["vision", "average", 2, quoted("Eight vision tasks", "Six language models")],
    ["language", "base", 4, quoted("Six language models", "What follows")],
  ] as const;
  for (const [zoo, origin, digits, lines] of tables) {
    it(`quotes the ${zoo} rows as they are`, () => {
      const { rows } = reference[zoo];
      assert.ok(lines.length >= 7);
      for (const [name, value, difference] of lines) {
        const { average } = rows[name]!;
        assert.ok(Math.abs(Number(value) - average) <= 0.5 * 10 ** -digits + 1e-9, `${name}: ${average}`);
        const expected = name === origin ? "" : signed(average - rows[origin]!.average, digits);
        assert.equal(difference, expected, name);
      }
    });
  }

  it("quotes the ends of the scale", () => {
    const { vision, language } = reference;
    assert.match(page, new RegExp(`single models get ${vision.rows.individual!.average.toFixed(2)}, the base`));
    assert.match(page, new RegExp(`the base ${vision.rows.base!.average.toFixed(2)}\\.`));
    assert.match(page, new RegExp(`single models get ${language.rows.individual!.average.toFixed(4)} each`));
  });

  it("says of the defaults what the rows say", () => {
    const below = (name: string) => reference.vision.rows[name]!.average < reference.vision.rows.average!.average;
    for (const name of ["ties k=20 lambda=1.0", "task_arithmetic lambda=0.3", "ties-mergekit density=0.2"]) {
      assert.ok(below(name), name);
    }
    const { rows } = reference.language;
    const better = Object.keys(rows).filter((name) => rows[name]!.average < rows.base!.average);
    assert.deepEqual(better, ["individual", "task_arithmetic lambda=0.1"]);
    const single = ["french", "german", "russian", "python", "c", "javascript"];
    const worse = single.filter((name) => rows[name]!.average > rows["ties k=20 lambda=1.0"]!.average);
    assert.equal(worse.length, 3);
  });
});

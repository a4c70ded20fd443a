import Table from "cli-table3";
import { countOf } from "../report/units.js";
import { harmless } from "./terminal.js";
import type { Terminal } from "./terminal.js";

export interface Column {
  readonly head: string;
  readonly align?: "left" | "right";
}

const GAP = "  ";
/** Values beside a name are not squeezed below this. */
const NARROWEST = 8;
const NOTHING = { top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "", left: "" };
const LINES = {
  "bottom-left": "",
  "bottom-right": "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
};

/**
 * Columns without lines around them. In a terminal long cells are wrapped until the table fits; where words would have
 * to be broken for that, every row becomes a paragraph.
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], terminal: Terminal): string {
  const cells = rows.map((row) => row.map(harmless));
  const texts = columns.map(({ head }, at) => [head, ...cells.map((row) => row[at]!)].join("\n"));
  const words = texts.map((text) => widthOf(text.replaceAll(" ", "\n")));
  const room = terminal.width - GAP.length * (columns.length - 1);
  if (sum(words) > room) return paragraphs(columns, cells, terminal);
  const widths = squeeze(texts.map(widthOf), words, room);
  const { bold } = terminal.out;
  const drawn = new Table({
    head: columns.map(({ head }, at) => wrap(head, widths[at]!).split("\n").map(bold).join("\n")),
    colAligns: columns.map(({ align = "left" }) => align),
    chars: { ...NOTHING, ...LINES, middle: GAP },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  drawn.push(...cells.map((row) => row.map((cell, at) => wrap(cell, widths[at]!))));
  return drawn
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** The first cell of a row, and the others below it with their heads. */
function paragraphs(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { width, out }: Terminal,
): string {
  const indent = "    ";
  return rows
    .map(([first = "", ...others]) => {
      const named = others.flatMap((cell, at) => (cell === "" ? [] : [`${columns[at + 1]!.head} ${cell}`]));
      const lines = wrap(named.join(", "), width - indent.length).split("\n");
      return [...wrap(first, width).split("\n").map(out.bold), ...lines.map((line) => `${indent}${line}`)].join("\n");
    })
    .join("\n");
}

/** Names and values in two columns. */
export function facts(pairs: readonly (readonly [name: string, value: string])[], { width, out }: Terminal): string {
  const indent = Math.max(...pairs.map(([name]) => name.length)) + GAP.length;
  return pairs
    .map(([name, value]) => {
      const lines = wrap(harmless(value), Math.max(NARROWEST, width - indent)).split("\n");
      return `${out.bold(name.padEnd(indent))}${lines.join(`\n${" ".repeat(indent)}`)}`;
    })
    .join("\n");
}

/** One line each, marked; longer ones are wrapped. */
export function bullets(lines: readonly string[], { width }: Terminal): string {
  const indent = "    ";
  return lines
    .map(
      (line) =>
        `  - ${wrap(harmless(line), Math.max(NARROWEST, width - indent.length)).replaceAll("\n", `\n${indent}`)}`,
    )
    .join("\n");
}

/** A list with its number as the heading; nothing where there is nothing to warn of. */
export function warningList(warnings: readonly string[], terminal: Terminal): string[] {
  if (warnings.length === 0) return [];
  return [`${terminal.out.yellow(`${countOf(warnings.length, "warning")}:`)}\n${bullets(warnings, terminal)}`];
}

/** Takes from the widest columns until the sum fits; none becomes narrower than its longest word. */
function squeeze(natural: readonly number[], longestWords: readonly number[], room: number): number[] {
  const widths = [...natural];
  for (let over = sum(widths) - room; over > 0; over--) {
    const spare = widths.map((width, at) => (width > longestWords[at]! ? width : 0));
    widths[spare.indexOf(Math.max(...spare))]!--;
  }
  return widths;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Breaks at spaces, and inside words that are longer than a line: nothing is cut off. */
export function wrap(text: string, width: number): string {
  return text
    .split("\n")
    .flatMap((line) => {
      if (widthOf(line) <= width) return [line];
      const lines: string[] = [];
      let current = "";
      for (const word of line.split(" ").flatMap((word) => pieces(word, width))) {
        if (current !== "" && widthOf(current) + 1 + widthOf(word) > width) {
          lines.push(current);
          current = word;
        } else current = current === "" ? word : `${current} ${word}`;
      }
      return [...lines, current];
    })
    .join("\n");
}

function pieces(word: string, width: number): string[] {
  const characters = Array.from(word);
  if (characters.length <= width) return [word];
  return Array.from({ length: Math.ceil(characters.length / width) }, (_, at) =>
    characters.slice(at * width, (at + 1) * width).join(""),
  );
}

function widthOf(text: string): number {
  return text.split("\n").reduce((widest, line) => Math.max(widest, Array.from(line).length), 0);
}

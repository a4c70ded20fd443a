import { table, wrap } from "./table.js";
import type { Terminal } from "./terminal.js";

/** The manual's Markdown as a terminal shows it best; where the output is no terminal it stays Markdown. */
export function showMarkdown(text: string, terminal: Terminal): string {
  if (terminal.width === Number.POSITIVE_INFINITY) return text;
  return splitBlocks(text)
    .map((block) => showBlock(block, terminal))
    .join("\n\n");
}

/** Paragraphs, tables and fenced blocks; a fence keeps its empty lines. */
function splitBlocks(text: string): string[] {
  const blocks: string[] = [];
  let fence: string | null = null;
  for (const part of text.trimEnd().split(/\n{2,}/)) {
    if (fence === null) blocks.push(part);
    else blocks.push(`${blocks.pop()!}\n\n${part}`);
    fence ??= /^`{3,}/.exec(part)?.[0] ?? null;
    if (fence !== null && new RegExp(`\n${fence}$`).test(part)) fence = null;
  }
  return blocks;
}

function showBlock(block: string, terminal: Terminal): string {
  const heading = /^#+ (.*)$/.exec(block);
  if (heading !== null) return terminal.out.bold(inline(heading[1]!));
  if (block.startsWith("```"))
    return block
      .split("\n")
      .slice(1, -1)
      .map((line) => `  ${line}`.trimEnd())
      .join("\n");
  if (block.startsWith("| ")) return showTable(block, terminal);
  return wrap(inline(block), terminal.width);
}

function showTable(block: string, terminal: Terminal): string {
  const [head = [], , ...rows] = block.split("\n").map(cellsOf);
  return table(
    head.map((text) => ({ head: text })),
    rows,
    terminal,
  );
}

function cellsOf(line: string): string[] {
  return line
    .slice(2, -2)
    .split(/(?<!\\) \| /)
    .map((cell) => inline(cell.replaceAll(/\\([|\\])/g, "$1")));
}

/** Without code marks, emphasis and link targets. */
function inline(text: string): string {
  return text
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replaceAll(/`([^`]*)`/g, "$1")
    .replaceAll(/(?<!\w)\*(\S[^*]*)\*/g, "$1");
}

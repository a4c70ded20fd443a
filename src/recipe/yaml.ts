/**
 * YAML 1.2 (core schema) to a tree with places. A recipe is data from somewhere: size, nesting, tokens and aliases are
 * limited before anything recurses, tags are refused, merge keys are ordinary keys.
 */

import { Composer, type Document, isAlias, isMap, isScalar, isSeq, LineCounter, Lexer, Parser, visit } from "yaml";
import type { Alias, Pair, Scalar as YamlScalar, YAMLMap } from "yaml";
import type { Where } from "../errors.js";
import { issue, printable, quote } from "./issues.js";
import { dictionary, type Entry, list, type Node, type Scalar } from "./tree.js";

/** A recipe of a thousand models with patterns is about 100 KiB. */
const MOST_CHARACTERS = 1 << 18;
const MOST_TOKENS = 100_000;
/** Open nodes on the parser's stack. The grammar needs about 20; the composer recurses and dies at some thousands. */
const DEEPEST = 64;
const MOST_ALIASES = 100;
/** Nodes after aliases are expanded. */
const MOST_NODES = 50_000;

const CORE_TAGS = new Set(["str", "int", "float", "bool", "null", "seq", "map"].map((n) => `tag:yaml.org,2002:${n}`));

/**
 * @param noun what the file is called in messages.
 * @returns the root; an empty document is a scalar `null`.
 */
export function readYaml(text: string, file: string | undefined, noun = "recipe"): Node {
  return new Reader(file, noun).read(withoutMark(text), false)[0]!;
}

/** The roots of all documents of a file, at least one. */
export function readYamlDocuments(text: string, file: string | undefined): readonly Node[] {
  return new Reader(file, "recipe").read(withoutMark(text), true);
}

function withoutMark(text: string): string {
  return text.startsWith("\uFEFF") ? text.slice(1) : text;
}

class Reader {
  readonly #file: string | undefined;
  readonly #noun: string;
  readonly #lines = new LineCounter();
  readonly #anchors = new Map<string, Counted | null>();
  #aliases = 0;

  constructor(file: string | undefined, noun: string) {
    this.#file = file;
    this.#noun = noun;
  }

  read(text: string, several: boolean): Node[] {
    this.#checkCharacters(text);
    return this.#compose(text, several).map(({ contents }) => {
      this.#anchors.clear();
      return contents === null ? nothing(this.#where(0)) : this.#node(contents).node;
    });
  }

  #checkCharacters(text: string): void {
    if (text.length > MOST_CHARACTERS) {
      throw issue(`the ${this.#noun} is too long`, {
        code: "recipe/syntax",
        where: this.#place(1, 1),
        expected: `at most ${MOST_CHARACTERS} characters`,
        found: `${text.length}`,
      });
    }
    // Other C0 characters are no YAML, and some of them mean something between the parser's own stages.
    const at = text.search(/[^\t\n\r\u0020-\u007e\u0085\u00a0-\ud7ff\ue000-\ufeff\ufeff-\ufffd\u{10000}-\u{10ffff}]/u);
    if (at === -1) return;
    const before = text.slice(0, at).split("\n");
    throw issue(`the ${this.#noun} holds a character that YAML does not allow`, {
      code: "recipe/syntax",
      where: this.#place(before.length, before.at(-1)!.length + 1),
      found: quote(text.slice(at, at + 1)),
      advice: "save the file as UTF-8 text",
    });
  }

  /** Lexer, parser and composer by hand, so that limits hold before the composer's recursion. */
  #compose(text: string, several: boolean): Document.Parsed[] {
    this.#lines.addNewLine(0);
    const parser = new Parser(this.#lines.addNewLine);
    const tokens = [];
    let count = 0;
    for (const lexeme of new Lexer().lex(text)) {
      for (const token of parser.next(lexeme)) {
        if (token.type === "error") throw this.#syntax(token.offset, token.message);
        tokens.push(token);
      }
      if (parser.stack.length > DEEPEST) throw this.#syntax(parser.offset, "nested too deeply");
      if (++count > MOST_TOKENS) throw this.#syntax(parser.offset, `more than ${MOST_TOKENS} tokens`);
    }
    tokens.push(...parser.end());
    const documents = [];
    const composer = new Composer({ version: "1.2", schema: "core", merge: false, uniqueKeys: false, strict: true });
    for (const document of composer.compose(tokens, true, text.length)) {
      const [error] = document.errors;
      if (error !== undefined) throw this.#syntax(error.pos[0], error.message);
      documents.push(document);
    }
    const [, second] = documents;
    if (second !== undefined && !several) {
      throw this.#syntax(second.range[0], "more than one document", `keep one ${this.#noun} per file`);
    }
    for (const document of documents) {
      const { explicit, version } = document.directives.yaml;
      if (explicit === true && version !== "1.2") throw this.#syntax(0, `YAML ${version}`, "remove the %YAML line");
      this.#refuseTags(document);
    }
    return documents;
  }

  #refuseTags(document: Document.Parsed): void {
    const advice = `remove the tag: a ${this.#noun} is plain data`;
    const [warning] = document.warnings;
    if (warning !== undefined) {
      throw this.#syntax(warning.pos[0], warning.message, warning.code === "TAG_RESOLVE_FAILED" ? advice : undefined);
    }
    visit(document, {
      Node: (_, node) => {
        if (isAlias(node) || node.tag === undefined || CORE_TAGS.has(node.tag)) return;
        throw this.#syntax(node.range?.[0] ?? 0, `the tag ${node.tag}`, advice);
      },
    });
  }

  #node(node: unknown): Counted {
    if (isAlias(node)) return this.#alias(node);
    const anchor = isScalar(node) || isMap(node) || isSeq(node) ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, null);
    const made = this.#plainNode(node);
    if (anchor !== undefined) this.#anchors.set(anchor, made);
    return made;
  }

  #plainNode(node: unknown): Counted {
    if (isScalar(node)) return { node: this.#scalar(node), nodes: 1 };
    if (isMap(node)) return this.#dictionary(node);
    if (!isSeq(node)) return { node: nothing(this.#where(0)), nodes: 1 };
    const items = node.items.map((item) => this.#node(item));
    const where = this.#where(node.range?.[0] ?? 0);
    return {
      node: list(
        items.map((item) => item.node),
        where,
      ),
      nodes: this.#total(items, where),
    };
  }

  #dictionary(map: YAMLMap): Counted {
    const where = this.#where(map.range?.[0] ?? 0);
    const seen = new Map<string, Where>();
    const values: Counted[] = [];
    const entries = map.items.map((pair: Pair): Entry => {
      const { text: key, where: place } = this.#key(pair.key, where);
      const first = seen.get(key);
      if (first !== undefined) {
        throw issue(`the key ${quote(key)} is written twice`, {
          code: "recipe/syntax",
          where: place,
          expected: "each key once",
          found: `it also stands in line ${first.line}`,
        });
      }
      seen.set(key, place);
      const value = pair.value === null ? { node: nothing(place), nodes: 1 } : this.#node(pair.value);
      values.push(value);
      return { key, where: place, node: value.node };
    });
    return { node: dictionary(entries, where), nodes: this.#total(values, where) };
  }

  #key(key: unknown, parent: Where): Scalar {
    if (isScalar(key)) return this.#scalar(key);
    const range = isAlias(key) || isMap(key) || isSeq(key) ? key.range : null;
    throw issue("a key must be plain text", {
      code: "recipe/syntax",
      where: range ? this.#where(range[0]) : parent,
      found: isAlias(key) ? "an alias" : "a list or a map",
    });
  }

  #scalar(node: YamlScalar): Scalar {
    const where = this.#where(node.range?.[0] ?? 0);
    const quoted = node.type !== "PLAIN";
    const value = node.value;
    if (typeof value === "number" || typeof value === "boolean" || value === null) {
      return { kind: "scalar", value, text: node.source ?? String(value ?? ""), quoted, where };
    }
    // The core schema makes nothing else; what it cannot resolve stays a string.
    const text = typeof value === "string" ? value : (node.source ?? "");
    return { kind: "scalar", value: text, text, quoted, where };
  }

  /** An alias stands for the same node; what it would expand to is counted, so that a bomb ends here. */
  #alias(alias: Alias): Counted {
    const offset = alias.range?.[0] ?? 0;
    if (++this.#aliases > MOST_ALIASES) throw this.#syntax(offset, `more than ${MOST_ALIASES} aliases`);
    const target = this.#anchors.get(alias.source);
    if (target === null) throw this.#syntax(offset, `the alias *${alias.source} contains itself`);
    if (target === undefined) throw this.#syntax(offset, `nothing is called &${alias.source} before this alias`);
    return target;
  }

  #total(parts: readonly Counted[], where: Where): number {
    const total = parts.reduce((sum, part) => sum + part.nodes, 1);
    if (total <= MOST_NODES) return total;
    throw issue(`the ${this.#noun} is too large once its aliases are expanded`, { code: "recipe/syntax", where });
  }

  #syntax(offset: number, found: string, advice?: string): Error {
    const where = this.#where(offset);
    return issue(`the ${this.#noun} is not valid YAML`, {
      code: "recipe/syntax",
      where,
      found: printable(found),
      ...(advice !== undefined && { advice }),
    });
  }

  #where(offset: number): Where {
    const { line, col } = this.#lines.linePos(offset);
    return line === 0 ? this.#place(1, 1) : this.#place(line, col);
  }

  #place(line: number, column: number): Where {
    return { ...(this.#file !== undefined && { file: this.#file }), line, column };
  }
}

interface Counted {
  readonly node: Node;
  /** Nodes in it, aliases expanded. */
  readonly nodes: number;
}

function nothing(where: Where): Scalar {
  return { kind: "scalar", value: null, text: "", quoted: false, where };
}

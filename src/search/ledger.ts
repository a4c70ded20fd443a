/** What a search has tried: one line of JSON per candidate, so that a search that was ended goes on where it was. */

import * as v from "valibot";

/** The lines of a ledger, kept by the platform. */
export interface LedgerFile {
  read(): string;
  append(line: string): void;
}

const schema = v.object({
  key: v.string(),
  values: v.record(v.string(), v.number()),
  mean: v.number(),
  metric: v.string(),
  better: v.picklist(["higher", "lower"]),
  tasks: v.array(
    v.object({
      name: v.string(),
      value: v.number(),
      correct: v.nullable(v.number()),
      total: v.number(),
    }),
  ),
});

/** A candidate's scores. `key` stands for recipe, inputs, tasks, data and split. */
export type LedgerEntry = v.InferOutput<typeof schema>;

export class Ledger {
  readonly #file: LedgerFile | null;
  readonly #entries = new Map<string, LedgerEntry>();
  /** Whether what is there ends in the middle of a line, as after a crash. */
  #torn = false;

  /** @param file `null` for a search that remembers nothing. */
  constructor(file: LedgerFile | null) {
    this.#file = file;
    const text = file?.read() ?? "";
    this.#torn = text !== "" && !text.endsWith("\n");
    for (const line of text.split("\n")) {
      const entry = readLine(line);
      if (entry !== null) this.#entries.set(entry.key, entry);
    }
  }

  find(key: string): LedgerEntry | undefined {
    return this.#entries.get(key);
  }

  add(entry: LedgerEntry): void {
    this.#entries.set(entry.key, entry);
    this.#file?.append(`${this.#torn ? "\n" : ""}${JSON.stringify(entry)}\n`);
    this.#torn = false;
  }
}

function readLine(line: string): LedgerEntry | null {
  try {
    return v.parse(schema, JSON.parse(line));
  } catch {
    return null;
  }
}

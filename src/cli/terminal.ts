import pc from "picocolors";

/** Where results go, and what the reader can see there. */
export interface Terminal {
  /** Results and errors as JSON. */
  readonly json: boolean;
  /** Columns of standard output; infinite where it is no terminal, so that every row stays one line. */
  readonly width: number;
  /** Colours for standard output; plain where they are not wanted. */
  readonly out: Colours;
  readonly error: Colours;
  /** Whether standard error is watched by a person. */
  readonly live: boolean;
}

export type Colours = ReturnType<typeof pc.createColors>;

/** isTTY is undefined in a pipe, which picocolors would take for "decide yourself", and colour a CI's logs. */
function isTerminal(stream: { readonly isTTY?: boolean }): boolean {
  return stream.isTTY === true;
}

/** @param argv without node and the program's path. */
export function openTerminal(argv: readonly string[]): Terminal {
  const flags = new Set(argv.slice(0, argv.includes("--") ? argv.indexOf("--") : undefined));
  const coloured = !process.env.NO_COLOR && !flags.has("--no-color") && process.env.TERM !== "dumb";
  const { stdout, stderr } = process;
  return {
    json: flags.has("--json"),
    width: stdout.isTTY ? Math.max(40, stdout.columns || 80) : Number.POSITIVE_INFINITY,
    out: pc.createColors(coloured && isTerminal(stdout)),
    error: pc.createColors(coloured && isTerminal(stderr)),
    // A terminal without a size, as some job runners give, cannot be drawn on.
    live: stderr.isTTY && stderr.columns > 0 && process.env.TERM !== "dumb",
  };
}

/** A text with nothing in it that could steer a terminal; names in files are anyone's. */
export function harmless(text: string): string {
  return text.replaceAll(
    /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

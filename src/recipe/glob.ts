/**
 * Patterns on tensor names: `*` any run (dots too), `?` one character, `{a,b}` alternatives, `{0..3}` whole numbers,
 * `[abc]` `[a-c]` `[!a]` one of a set, `\` takes the next character literally. Anchored at both ends.
 *
 * A pattern becomes a small nondeterministic automaton that is stepped over the name with all its states at once, so
 * that time is at most name length × states: no pattern, however odd, makes matching slow.
 */

const LONGEST_PATTERN = 1000;
const MOST_STATES = 5000;
const DEEPEST_BRACES = 20;

export interface Glob {
  readonly pattern: string;
  matches(name: string): boolean;
}

/** A pattern that means nothing; `message` says what is wrong with it. */
export class GlobError extends Error {
  override readonly name = "GlobError";
}

/** @throws GlobError */
export function compileGlob(pattern: string): Glob {
  if (pattern.length > LONGEST_PATTERN) throw new GlobError(`longer than ${LONGEST_PATTERN} characters`);
  if (pattern === "") throw new GlobError("an empty pattern matches nothing");
  const states = new Builder(pattern).build();
  return { pattern, matches: (name) => run(states, name) };
}

type Test = (character: string) => boolean;

/** `next` and, for a fork, `other` are state numbers; `test` guards the step and consumes a character. */
interface State {
  readonly kind: "step" | "fork" | "end";
  readonly test: Test | null;
  next: number;
  other: number;
}

class Builder {
  readonly #characters: readonly string[];
  readonly #states: State[] = [];
  #at = 0;
  #depth = 0;

  constructor(pattern: string) {
    this.#characters = Array.from(pattern);
  }

  build(): readonly State[] {
    this.#sequence();
    if (this.#at < this.#characters.length) throw new GlobError("a } without its {");
    this.#add("end", null);
    return this.#states;
  }

  /** Appends states that fall through to whatever is added next. */
  #sequence(): void {
    while (this.#at < this.#characters.length) {
      const character = this.#characters[this.#at]!;
      if (character === "}" || (character === "," && this.#depth > 0)) return;
      this.#at++;
      if (character === "*") this.#anyRun();
      else if (character === "?") this.#step(() => true);
      else if (character === "[") this.#step(this.#set());
      else if (character === "{") this.#braces();
      else if (character === "\\") this.#literal(this.#take("a \\ with nothing behind it"));
      else this.#literal(character);
    }
  }

  #anyRun(): void {
    const fork = this.#add("fork", null);
    const step = this.#add("step", () => true);
    this.#states[step]!.next = fork;
    this.#states[fork]!.next = step;
    this.#states[fork]!.other = this.#states.length;
  }

  /** `{a,b}` or `{0..3}`, the brace already read. */
  #braces(): void {
    const numbers = this.#range();
    if (numbers !== null) {
      let index = 0;
      this.#alternatives(() => {
        for (const digit of numbers[index]!) this.#literal(digit);
        return ++index < numbers.length;
      });
      return;
    }
    if (++this.#depth > DEEPEST_BRACES) throw new GlobError("braces nested too deeply");
    const start = this.#at;
    let several = false;
    this.#alternatives(() => {
      this.#sequence();
      const more = this.#take("a { without its }") === ",";
      several ||= more;
      return more;
    });
    this.#depth--;
    const inside = this.#characters.slice(start, this.#at - 1).join("");
    if (!several && /^\w*\.\.\w*$/.test(inside)) {
      throw new GlobError(`{${inside}} is no range of whole numbers; write {0..3} or [a-c]`);
    }
  }

  /** @param branch appends one alternative and says whether another follows. */
  #alternatives(branch: () => boolean): void {
    const ends: number[] = [];
    for (let more = true; more; ) {
      const fork = this.#add("fork", null);
      this.#states[fork]!.next = fork + 1;
      more = branch();
      ends.push(this.#add("fork", null));
      this.#states[fork]!.other = more ? this.#states.length : fork + 1;
    }
    for (const end of ends) {
      this.#states[end]!.next = this.#states.length;
      this.#states[end]!.other = this.#states.length;
    }
  }

  /** The numbers of `{0..3}` or, with leading zeros, `{00..31}`, the brace already read; `null` where it is none. */
  #range(): readonly string[] | null {
    const rest = this.#characters.slice(this.#at, this.#at + 40).join("");
    const match = /^(\d{1,15})\.\.(\d{1,15})\}/.exec(rest);
    if (match === null) return null;
    const [whole, first = "", last = ""] = match;
    const low = Math.min(Number(first), Number(last));
    const high = Math.max(Number(first), Number(last));
    if (high - low >= 1000) throw new GlobError(`{${first}..${last}} is a range of more than 1000 numbers`);
    this.#at += whole.length;
    const padded = /^0\d/.test(first) || /^0\d/.test(last);
    const width = padded ? Math.max(first.length, last.length) : 0;
    return Array.from({ length: high - low + 1 }, (_, index) => String(low + index).padStart(width, "0"));
  }

  /** `[abc]`, the bracket already read. A `]` in first place is a member. */
  #set(): Test {
    const negated = this.#characters[this.#at] === "!" || this.#characters[this.#at] === "^";
    if (negated) this.#at++;
    const ranges: (readonly [number, number])[] = [];
    for (let first = true; ; first = false) {
      const character = this.#member(first);
      if (character === null) break;
      let high = character;
      if (this.#characters[this.#at] === "-" && (this.#characters[this.#at + 1] ?? "]") !== "]") {
        this.#at++;
        high = this.#member(true)!;
        if (code(high) < code(character)) throw new GlobError(`[${character}-${high}] runs backwards`);
      }
      ranges.push([code(character), code(high)]);
    }
    return (tested) => ranges.some(([low, high]) => code(tested) >= low && code(tested) <= high) !== negated;
  }

  #member(literalBracket: boolean): string | null {
    const character = this.#take("a [ without its ]");
    if (character === "]" && !literalBracket) return null;
    return character === "\\" ? this.#take("a [ without its ]") : character;
  }

  #take(missing: string): string {
    const character = this.#characters[this.#at++];
    if (character === undefined) throw new GlobError(missing);
    return character;
  }

  #literal(wanted: string): void {
    this.#step((character) => character === wanted);
  }

  #step(test: Test): void {
    const state = this.#add("step", test);
    this.#states[state]!.next = state + 1;
  }

  #add(kind: State["kind"], test: Test | null): number {
    if (this.#states.length >= MOST_STATES) throw new GlobError("the pattern is too large once it is expanded");
    return this.#states.push({ kind, test, next: -1, other: -1 }) - 1;
  }
}

function code(character: string): number {
  return character.codePointAt(0)!;
}

function run(states: readonly State[], name: string): boolean {
  const seen = new Uint32Array(states.length);
  let generation = 1;
  let active = reach(states, [0], seen, generation);
  for (const character of name) {
    const after: number[] = [];
    for (const at of active) if (states[at]!.test?.(character) === true) after.push(states[at]!.next);
    active = reach(states, after, seen, ++generation);
    if (active.length === 0) return false;
  }
  return active.some((at) => states[at]!.kind === "end");
}

/** Follows forks from the given states; each state once. */
function reach(states: readonly State[], from: number[], seen: Uint32Array, generation: number): number[] {
  const settled: number[] = [];
  const open = from;
  while (open.length > 0) {
    const at = open.pop()!;
    if (seen[at] === generation) continue;
    seen[at] = generation;
    const state = states[at]!;
    if (state.kind === "fork") open.push(state.next, state.other);
    else settled.push(at);
  }
  return settled;
}

/** Names from files, made fit for a message: a file must not be able to write to someone's terminal. */

const LONGEST = 200;

/** Escapes control and formatting characters and shortens; ordinary names stay as they are. */
export function printable(text: string): string {
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}… (${text.length} characters)` : text;
  return shown.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** The first few names of a list, and how many there are. */
export function someOf(names: readonly string[], shown = 5): string {
  const first = names.slice(0, shown).map(printable).join(", ");
  return names.length > shown ? `${first} and ${names.length - shown} more` : first;
}

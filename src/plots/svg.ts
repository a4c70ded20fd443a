/** SVG as text. Same input, same bytes: numbers are rounded to hundredths of a pixel. */

export type Attributes = Readonly<Record<string, string | number | undefined>>;

/** @param children elements and texts, already as SVG. */
export function element(name: string, attributes: Attributes, children: readonly string[] = []): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${typeof value === "number" ? pixels(value) : escapeText(value!)}"`)
    .join("");
  return children.length === 0 ? `<${name}${written}/>` : `<${name}${written}>${children.join("")}</${name}>`;
}

/** Text as it may stand in elements and attributes. */
export function escapeText(text: string): string {
  return (
    text
      // XML knows none of these, however they are written.
      .replace(/[^\P{Cc}\t\n\r]|\p{Cs}|[\ufffe\uffff]/gu, "\ufffd")
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
  );
}

export function pixels(value: number): string {
  // −0 is written as 0.
  return String(Math.round(value * 100) / 100 + 0);
}

/** A path of a library, whose numbers have many digits, with hundredths. */
export function rounded(path: string): string {
  return path.replace(/-?\d+\.\d+(?:e-?\d+)?/g, (number) => pixels(Number(number)));
}

/** About how wide a text is. There is no font to measure with, so it is taken a little wide. */
export function textWidth(text: string, size: number): number {
  return [...text].reduce((sum, letter) => sum + (letter > "\u2e80" ? 1 : 0.58), 0) * size;
}

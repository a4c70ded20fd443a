/** Parts one after the other, as one array of their kind. */
export function joined<Entries extends Float32Array | Uint8Array>(
  Kind: new (length: number) => Entries,
  parts: readonly Entries[],
): Entries {
  const whole = new Kind(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

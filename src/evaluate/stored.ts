/** Outcomes as text and back; what does not read is as if it had never been kept. */

import * as v from "valibot";
import type { Outcomes } from "./outcomes.js";

const numbers = v.pipe(v.array(v.pipe(v.number(), v.finite())), v.minLength(1));

const schema = v.variant("kind", [
  v.pipe(
    v.strictObject({
      kind: v.literal("answers"),
      metric: v.picklist(["accuracy", "exact_match"]),
      labels: numbers,
      answers: numbers,
    }),
    v.check(({ labels, answers }) => labels.length === answers.length),
  ),
  v.pipe(
    v.strictObject({
      kind: v.literal("windows"),
      metric: v.literal("bits_per_byte"),
      nats: numbers,
      bytes: numbers,
      tokens: numbers,
    }),
    v.check(({ nats, bytes, tokens }) => nats.length === bytes.length && nats.length === tokens.length),
  ),
]);

/** @param text as `JSON.stringify` wrote it. */
export function readOutcomes(text: string | null): Outcomes | null {
  if (text === null) return null;
  try {
    return v.parse(schema, JSON.parse(text));
  } catch {
    return null;
  }
}

import type { Tape, Tensor } from "../tape.js";

/** The index of the first row of each of `count` runs of `length` rows. */
export function firstRows(tape: Tape, count: number, length: number): Tensor {
  return tape.input(
    "first rows",
    count,
    1,
    Int32Array.from({ length: count }, (_, n) => n * length),
  );
}

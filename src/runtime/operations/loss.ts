import type { Tape, Tensor } from "../tape.js";

/** What a tape is to end in. */
export type LossKind = "cross-entropy" | "entropy";

/**
 * The numbers from which losses follow (kernels/loss.ts), handed out as `stats`, and from there backward.
 * @param targets i32 `[rows]`, below 0 for none.
 * @param weights f32 `[rows]`; `null` where no gradient is wanted.
 */
export function loss(tape: Tape, kind: LossKind, logits: Tensor, targets: Tensor | null, weights: Tensor | null): void {
  const { rows, columns } = logits;
  const stats = tape.output("stats", rows, 4);
  tape.call("row_stats", logits, targets, stats, rows, columns);
  if (weights === null || !logits.active) return;
  const dlogits = tape.value(rows, columns);
  if (kind === "cross-entropy") {
    tape.call("cross_entropy_vjp", logits, stats, targets, weights, dlogits, rows, columns);
  } else {
    tape.call("entropy_vjp", logits, stats, weights, dlogits, rows, columns);
  }
  tape.backward(logits, { tensor: dlogits, owned: true });
}

/**
 * The gradients of log p of every class of every row in turn, each times the root of its probability, one after the other
 * into the sums of gradients; what comes behind them on the tape belongs to each turn.
 */
export function expectation(tape: Tape, logits: Tensor): void {
  const { rows, columns } = logits;
  const stats = tape.value(rows, 4);
  tape.call("row_stats", logits, null, stats, rows, columns);
  const turn = tape.value(1, 4);
  tape.call("fill", turn, 4, 0);
  tape.repeat(rows * columns);
  const dlogits = tape.value(rows, columns);
  tape.call("expected_vjp", logits, stats, turn, dlogits, rows, columns);
  tape.backward(logits, { tensor: dlogits, owned: true });
}

/** A row's loss in nats, from its four numbers. */
export function lossOf(kind: LossKind, stats: ArrayLike<number>, row: number): number {
  const sum = Math.log(stats[4 * row + 1]!);
  return kind === "cross-entropy" ? sum - stats[4 * row + 2]! : sum - stats[4 * row + 3]! / stats[4 * row + 1]!;
}

import { padded } from "../tape.js";
import type { Gradient, Tape, Tensor } from "../tape.js";

export interface AttentionShape {
  readonly batch: number;
  readonly heads: number;
  /** Fewer than `heads` where groups of heads share a key head. */
  readonly keyHeads: number;
  readonly queries: number;
  readonly keys: number;
  /** Entries of a head. */
  readonly size: number;
}

export interface AttentionMask {
  /** Query i sees keys up to i. */
  readonly causal: boolean;
  /** Of those only the last so many; 0 for all. */
  readonly window: number;
  /** i32 `[batch]`: the keys of each sequence; `null` where all are seen. */
  readonly lengths: Tensor | null;
  /** `[heads × queries, padded(keys)]`, added to the scores. */
  readonly bias: Tensor | null;
}

/**
 * softmax(scale Q K^T + bias) V, head by head. Q is `[batch × queries, heads × size]`, K and V `[batch × keys,
 * keyHeads × size]`, the result has Q's shape.
 */
export function attention(
  tape: Tape,
  shape: AttentionShape,
  { q, k, v }: { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor },
  scale: number,
  mask: AttentionMask,
): Tensor {
  const { batch, heads, keyHeads, queries, keys, size } = shape;
  const sizes = [batch, heads, keyHeads, queries, keys, size] as const;
  const stride = padded(keys);
  const rows = batch * heads * queries;
  const wide = heads * size;
  const narrow = keyHeads * size;

  const { bias, lengths, causal, window } = mask;
  // What no query sees is left out of the products; a bias's derivative sums whole rows.
  const seen = [causal && bias === null ? 1 : 0, 0] as const;

  const scores = tape.value(rows, stride, q, k);
  tape.call("heads_scores", ...sizes, q, wide, k, narrow, scores, stride, scale, ...seen);
  tape.record([scores], ([ds]) => {
    if (q.active) {
      const dq = tape.value(q.rows, wide);
      tape.call("heads_mix", ...sizes, ds!.tensor, stride, k, narrow, dq, wide, scale, ...seen);
      tape.contribute(q, { tensor: dq, owned: true });
    }
    if (!k.active) return;
    const dk = tape.value(k.rows, narrow);
    tape.call("heads_mix_t", ...sizes, ds!.tensor, stride, q, wide, dk, narrow, scale, ...seen);
    tape.contribute(k, { tensor: dk, owned: true });
  });

  const p = tape.over({ ...scores, active: scores.active || (bias?.active ?? false) });
  const limits = [causal ? 1 : 0, window, 0] as const;
  tape.call("softmax", scores, p, bias, lengths, batch, heads, queries, keys, stride, ...limits);
  tape.record([p], ([dp]) => {
    const ds = owned(tape, dp!, rows, stride);
    tape.call("softmax_vjp", p, dp!.tensor, ds, batch * heads, queries, keys, stride, ...seen);
    tape.contribute(scores, { tensor: ds, owned: bias === null });
    if (bias === null || !bias.active) return;
    const sums = tape.value(bias.rows, stride);
    tape.call("fill", sums, padded(bias.rows * stride), 0);
    tape.call("sum_rows", ds, sums, rows, stride, stride, bias.rows);
    tape.contribute(bias, { tensor: sums, owned: true });
  });

  const y = tape.value(q.rows, wide, p, v);
  tape.call("heads_mix", ...sizes, p, stride, v, narrow, y, wide, 1, ...seen);
  tape.record([y], ([dy]) => {
    if (p.active) {
      const dp = tape.value(rows, stride);
      tape.call("heads_scores", ...sizes, dy!.tensor, wide, v, narrow, dp, stride, 1, ...seen);
      tape.contribute(p, { tensor: dp, owned: true });
    }
    if (!v.active) return;
    const dv = tape.value(v.rows, narrow);
    tape.call("heads_mix_t", ...sizes, p, stride, dy!.tensor, wide, dv, narrow, 1, ...seen);
    tape.contribute(v, { tensor: dv, owned: true });
  });
  return y;
}

function owned(tape: Tape, gradient: Gradient, rows: number, columns: number): Tensor {
  return gradient.owned ? tape.over(gradient.tensor) : tape.value(rows, columns);
}

/** Rotary positions over `heads` heads per row; `table` is `[length, size]`: cosines, then sines. */
export function rope(tape: Tape, x: Tensor, table: Tensor, heads: number): Tensor {
  const { rows: length, columns: size } = table;
  // A linear layer's result is not needed for its derivative.
  const y = tape.over(x);
  tape.call("rope", x, y, table, x.rows, heads, size, length, 1);
  tape.record([y], ([dy]) => {
    const dx = owned(tape, dy!, x.rows, x.columns);
    tape.call("rope", dy!.tensor, dx, table, x.rows, heads, size, length, -1);
    tape.contribute(x, { tensor: dx, owned: true });
  });
  return y;
}

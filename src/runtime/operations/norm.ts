import type { Tape, Tensor } from "../tape.js";

/** Layer norm of rows, with `name.weight` and `name.bias`. */
export function layerNorm(tape: Tape, name: string, x: Tensor, eps: number): Tensor {
  const { rows, columns } = x;
  const gain = tape.parameter(`${name}.weight`, [columns]);
  const shift = tape.parameter(`${name}.bias`, [columns]);
  const y = tape.value(rows, columns, x, gain, shift);
  const stats = tape.value(rows, 2);
  tape.call("layer_norm", x, y, stats, gain, shift, rows, columns, eps);
  tape.record([y], ([gradient]) => {
    const dx = tape.value(rows, columns);
    const sums = [tape.gradientOf(gain), tape.gradientOf(shift)] as const;
    tape.call("layer_norm_vjp", x, gradient!.tensor, stats, gain, dx, ...sums, rows, columns);
    tape.contribute(x, { tensor: dx, owned: true });
  });
  return y;
}

/** Root-mean-square norm of rows with `name.weight`; without a gain where `name` is `null`. */
export function rmsNorm(tape: Tape, name: string | null, x: Tensor, eps: number): Tensor {
  const { rows, columns } = x;
  const gain = name === null ? null : tape.parameter(`${name}.weight`, [columns]);
  const y = tape.value(rows, columns, x, ...(gain === null ? [] : [gain]));
  const stats = tape.value(rows, 1);
  tape.call("rms_norm", x, y, stats, gain, rows, columns, eps);
  tape.record([y], ([gradient]) => {
    const dx = tape.value(rows, columns);
    const dgain = gain === null ? null : tape.gradientOf(gain);
    tape.call("rms_norm_vjp", x, gradient!.tensor, stats, gain, dx, dgain, rows, columns);
    tape.contribute(x, { tensor: dx, owned: true });
  });
  return y;
}

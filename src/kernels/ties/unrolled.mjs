// Source of the ties kernels for a fixed number of models, written out at build time: a third to a half faster than the
// loop over models in kernel.as.ts, because every model's trimmed change stays in a register until the election.

const MODELS = [2, 3, 4, 5, 6, 7, 8];
const FORMATS = { BF16: "u16", F16: "i16", F32: "f32" };

/** Half of eight entries: trim, sum, elect, merge what agrees. `take` widens one model's entries. */
function half(n, take, index) {
  const models = Array.from({ length: n }, (_, i) => i);
  const lines = [];
  for (const i of models) {
    lines.push(`let x${i} = f32x4.sub(${take(`v${i}`, `p${i} + at`)}, ${take("vs", "subtract + at")});`);
    lines.push(`x${i} = v128.andnot(x${i}, f32x4.lt(v128.and(x${i}, magnitude), t${i}));`);
  }
  lines.push("let sum = f32x4.add(zero, x0);");
  for (const i of models.slice(1)) lines.push(`sum = f32x4.add(sum, x${i});`);
  lines.push(`const flip = v128.andnot(signBit, f32x4.gt(sum, cut));
      let against = zero, total = zero, agree = i32x4.splat(0), y = zero;`);
  for (const i of models) {
    // No zero is added before the first: a column of zeros then totals to a zero that the second flip makes +0.
    lines.push(`y = v128.xor(x${i}, flip);
      against = f32x4.pmin(against, y);
      y = f32x4.pmax(y, zero);
      total = ${i === 0 ? "y" : "f32x4.add(total, y)"};
      agree = i32x4.sub(agree, f32x4.gt(y, zero));`);
  }
  lines.push(`const conflict = f32x4.lt(against, zero);
      conflicts = i32x4.sub(conflicts, conflict);
      if (tally) {
        positive = i32x4.sub(positive, f32x4.gt(sum, zero));
        negative = i32x4.sub(negative, f32x4.lt(sum, zero));
        cancelled = i32x4.sub(cancelled, v128.and(f32x4.eq(sum, zero), conflict));
      }
      if (mean) total = f32x4.div(total, f32x4.max(f32x4.convert_i32x4_s(agree), one));
      total = f32x4.mul(v128.xor(total, flip), lambda);
      out${index} = f32x4.add(${take("va", "add + at")}, total);
      largest = i32x4.max_s(largest, v128.and(out${index}, magnitude));`);
  return `{\n      ${lines.join("\n      ")}\n    }`;
}

function kernel(n) {
  const models = Array.from({ length: n }, (_, i) => i);
  const rows = models.map(
    (i) => `const p${i} = <usize>load<u32>(context, ROWS + ${i} * ROW_BYTES);
  const t${i} = v128.load32_splat(context + ROWS + ${i} * ROW_BYTES, COLUMNS);`,
  );
  return `
// @ts-ignore: decorator
@inline function ties${n}<T, O>(context: usize): i32 {
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const lambda = f32x4.splat(load<f32>(context, SCALARS));
  // A sum above it elects the positive sign: all from the largest negative number up include both zeros.
  const cut = f32x4.splat(load<f32>(context, SCALARS + 4) == 1 ? reinterpret<f32>(0x80000001) : 0);
  const mean = load<f32>(context, SCALARS + 8) == 1;
  const tally = load<f32>(context, SCALARS + 12) == 1;
  const zero = f32x4.splat(0), one = f32x4.splat(1), signBit = i32x4.splat(0x80000000);
  const magnitude = i32x4.splat(0x7fffffff);
  let largest = i32x4.splat(0), conflicts = i32x4.splat(0);
  let positive = i32x4.splat(0), negative = i32x4.splat(0), cancelled = i32x4.splat(0);
  ${rows.join("\n  ")}
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const vs = load8<T>(subtract + at), va = load8<T>(add + at);
    ${models.map((i) => `const v${i} = load8<T>(p${i} + at);`).join(" ")}
    let out0 = zero, out1 = zero;
    ${half(n, (v) => `first<T, O>(${v})`, 0)}
    ${half(n, (v, p) => `second<T, O>(${v}, ${p})`, 1)}
    store8<T, O>(out, out0, out1);
    out += 8 * sizeof<O>();
  }
  addCounter(context, 0, conflicts);
  addCounter(context, 1, cancelled);
  addCounter(context, 2, positive);
  addCounter(context, 3, negative);
  return i32x4.all_true(i32x4.lt_s(largest, overflow<O>())) ? 1 : 0;
}
${Object.entries(FORMATS)
  .map(
    ([name, type]) =>
      `export function ties${n}_${name}_${name}(context: usize): i32 { return ties${n}<${type}, ${type}>(context); }`,
  )
  .join("\n")}
`;
}

export const source = `// Written by unrolled.mjs at build time.
import { ADD, addCounter, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";
${MODELS.map(kernel).join("")}`;

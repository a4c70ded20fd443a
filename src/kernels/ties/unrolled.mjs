// Source of the ties kernels for a fixed number of models, written out at build time: a third to a half faster than the
// loop over models in kernel.as.ts, because every model's trimmed change stays in a register until the election.
// Comparisons are made of bit patterns, whose order is that of the magnitudes: they cost less than those of numbers.

const MODELS = [2, 3, 4, 5, 6, 7, 8];
const FORMATS = { BF16: "u16", F16: "i16", F32: "f32" };
/** The formats read and written: the same, or what was pruned, which is F32, and the output's. */
const PAIRS = [
  ["BF16", "BF16"],
  ["F16", "F16"],
  ["F32", "F32"],
  ["F32", "BF16"],
  ["F32", "F16"],
];

/** Read and written alike, in kernels that look at masks. */
const MASKED = ["BF16", "F16"];

/**
 * Half of eight entries: trim, sum, elect, merge what agrees. `take` widens one stream's entries. Of `masked` changes those
 * that a bit is set for are kept, and multiplied by a factor, before all else.
 */
function half(n, take, index, masked) {
  const models = Array.from({ length: n }, (_, i) => i);
  const sumOf = (lane, name) => models.slice(1).reduce((sum, i) => `${lane}.add(${sum}, ${name}${i})`, `${name}0`);
  const lines = [`const s = ${take("vs", "subtract + at")};`];
  for (const i of models) {
    lines.push(`let x${i} = f32x4.sub(${take(`v${i}`, `p${i} + at`)}, s);`);
    if (masked) {
      // What is not finite stays, whatever its bit: remembered like a sum that is not.
      lines.push(`unknown = v128.or(unknown, f32x4.sub(x${i}, x${i}));
      x${i} = v128.and(f32x4.mul(x${i}, factor${i}), i32x4.eq(v128.and(b${i}, bits${index}), bits${index}));`);
    }
    // Kept is what lies above the pattern before the threshold's, a NaN included; a zero, which adds nothing, is not.
    lines.push(`
      const k${i} = i32x4.gt_s(v128.and(x${i}, magnitude), t${i});
      x${i} = v128.and(x${i}, k${i});`);
  }
  // A sum that is not finite is remembered: a NaN may have no part in what agrees.
  lines.push(`const sum = ${sumOf("f32x4", "x")};
      unknown = v128.or(unknown, f32x4.sub(sum, sum));
      const minus = i32x4.gt_s(cut, sum);`);
  for (const i of models) {
    lines.push(`const a${i} = i32x4.gt_s(v128.xor(x${i}, minus), zero);
      x${i} = v128.and(x${i}, a${i});`);
  }
  // Masks are -1, so that fewer that agree are the larger number.
  lines.push(`const agree = ${sumOf("i32x4", "a")};
      const conflict = i32x4.gt_s(agree, ${sumOf("i32x4", "k")});
      conflicts = i32x4.sub(conflicts, conflict);
      if (tally) {
        positive = i32x4.sub(positive, i32x4.gt_s(sum, zero));
        negative = i32x4.sub(negative, i32x4.gt_s(zero, sum));
        cancelled = i32x4.sub(cancelled, v128.and(i32x4.eq(sum, zero), conflict));
      }
      const divisor = f32x4.convert_i32x4_s(i32x4.min_s(v128.or(agree, undivided), i32x4.splat(-1)));
      const total = f32x4.mul(f32x4.div(${sumOf("f32x4", "x")}, divisor), minusLambda);
      out${index} = f32x4.add(${take("va", "add + at")}, total);`);
  return `{\n      ${lines.join("\n      ")}\n    }`;
}

function kernel(n, masked) {
  const models = Array.from({ length: n }, (_, i) => i);
  const rows = models.map(
    (i) => `const p${i} = <usize>load<u32>(context, ROWS + ${i} * ROW_BYTES);
  store<i32>(scratch, max(load<i32>(context, ROWS + ${i} * ROW_BYTES + COLUMNS), 1) - 1, ${16 + 4 * i});
  const t${i} = v128.load32_splat(scratch, ${16 + 4 * i});${masked ? maskOf(i) : ""}`,
  );
  const name = masked ? `tiesMasked${n}` : `ties${n}`;
  return `
// @ts-ignore: decorator
@inline function ${name}<T, O>(context: usize, tally: bool): i32 {
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const scratch = <usize>load<u32>(context, SCRATCH);
  store<f32>(scratch, -load<f32>(context, SCALARS));
  // A smaller sum elects the negative sign. No sum is the zero with the sign.
  store<i32>(scratch, load<f32>(context, SCALARS + 4) == 1 ? 0 : 1, 4);
  store<i32>(scratch, load<f32>(context, SCALARS + 8) == 1 ? 0 : -1, 8);
  const minusLambda = v128.load32_splat(scratch), cut = v128.load32_splat(scratch, 4);
  const undivided = v128.load32_splat(scratch, 8);
  const zero = i32x4.splat(0), magnitude = magnitudeBits(), upper = upperBits();
  let largest = i32x4.splat(0), unknown = i32x4.splat(0), conflicts = i32x4.splat(0);
  let positive = i32x4.splat(0), negative = i32x4.splat(0), cancelled = i32x4.splat(0);
  ${rows.join("\n  ")}
  ${masked ? "const bits0 = firstBits<T>(), bits1 = secondBits<T>();" : ""}
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const vs = load8<T>(subtract + at), va = load8<T>(add + at);
    ${models.map((i) => `const v${i} = load8<T>(p${i} + at);`).join(" ")}
    ${masked ? models.map((i) => `const b${i} = v128.load8_splat(mask${i} + (at >>> 4));`).join(" ") : ""}
    let out0 = zero, out1 = zero;
    ${half(n, (v) => `first<T, O>(${v})`, 0, masked)}
    ${half(n, (v, p) => `secondBy<T, O>(${v}, ${p}, upper)`, 1, masked)}
    largest = i32x4.max_s(i32x4.max_s(largest, v128.and(out0, magnitude)), v128.and(out1, magnitude));
    store8<T, O>(out, out0, out1);
    out += 8 * sizeof<O>();
  }
  addCounter(context, 0, conflicts);
  addCounter(context, 1, cancelled);
  addCounter(context, 2, positive);
  addCounter(context, 3, negative);
  return i32x4.all_true(v128.and(i32x4.lt_s(largest, overflow<O>()), f32x4.eq(unknown, unknown))) ? 1 : 0;
}
${masked ? maskedExports(n) : exports(n)}
`;
}

function exports(n) {
  return PAIRS.map(([from, to]) => {
    // A function each for the two loops: an export is not drawn into the other, and what is not called is not compiled.
    const [loop, pair] = [`ties${n}<${FORMATS[from]}, ${FORMATS[to]}>`, `${from}_${to}`];
    return `export function ties${n}_tally_${pair}(context: usize): i32 {
  return ${loop}(context, true);
}
export function ties${n}_${pair}(context: usize): i32 {
  return load<f32>(context, SCALARS + 12) == 1 ? ties${n}_tally_${pair}(context) : ${loop}(context, false);
}`;
  }).join("\n");
}

/** Without a tally, which nothing that prunes asks for. */
function maskedExports(n) {
  return MASKED.map(
    (format) => `export function ties_masked${n}_${format}_${format}(context: usize): i32 {
  return tiesMasked${n}<${FORMATS[format]}, ${FORMATS[format]}>(context, false);
}`,
  ).join("\n");
}

/** Columns of a row: the address of a bit per entry, and the factor. */
function maskOf(i) {
  return `
  const mask${i} = <usize>load<u32>(context, ROWS + ${i} * ROW_BYTES + COLUMNS + 4);
  const factor${i} = v128.load32_splat(context, ROWS + ${i} * ROW_BYTES + COLUMNS + 8);`;
}

export const source = `// Written by unrolled.mjs at build time.
import { ADD, addCounter, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SCRATCH, SUBTRACT } from "../context.as";
import { first, firstBits, load8, magnitudeBits, overflow, secondBits, secondBy, store8, upperBits } from "../lanes.as";
${MODELS.map((n) => kernel(n, false)).join("")}${MODELS.map((n) => kernel(n, true)).join("")}`;

// Source of the kernels of SCE for a fixed number of models, written out at build time: every model's change is read once
// and stays in a register. kernel.as.ts has the definition for any number.

const MODELS = [2, 3, 4];
const FORMATS = { BF16: "u16", F16: "i16", F32: "f32" };

const indices = (n) => Array.from({ length: n }, (_, i) => i);

/** Changes of half of eight entries. `take` widens one stream's. */
function changes(n, take) {
  return [
    `const s = ${take("vs", "subtract + at")};`,
    ...indices(n).map((i) => `const x${i} = f32x4.sub(${take(`v${i}`, `p${i} + at`)}, s);`),
  ];
}

/** n^3 times the population variance, as `variance` in kernel.as.ts. */
function variance(n) {
  return [
    ...indices(n).map((i) => `const d${i} = f32x4.sub(x${i}, x0);`),
    `let shift = f32x4.add(zero, d0);`,
    ...indices(n)
      .slice(1)
      .map((i) => `shift = f32x4.add(shift, d${i});`),
    `let distance = zero, squares = zero;`,
    ...indices(n).map(
      (i) => `distance = f32x4.sub(f32x4.mul(d${i}, many), shift);
      squares = f32x4.add(squares, f32x4.mul(distance, distance));`,
    ),
  ];
}

/** Declares `dropped`: columns that are not selected. */
function drop(n) {
  return `let dropped = zero;
      if (select) {
        ${variance(n).join("\n        ")}
        dropped = f32x4.lt(squares, threshold);
      }`;
}

function fuse(n, take, index) {
  return `{
      ${changes(n, take).join("\n      ")}
      ${drop(n)}
      let sum = zero;
      ${indices(n)
        .map((i) => `sum = f32x4.add(sum, x${i});`)
        .join("\n      ")}
      const turn = v128.andnot(sign, f32x4.ge(v128.andnot(sum, dropped), zero));
      let merged = zero, weight = zero;
      ${indices(n)
        .map(
          (i) => `{
        const x = v128.andnot(x${i}, dropped), turned = v128.xor(x, turn);
        merged = f32x4.add(merged, f32x4.mul(v128.andnot(x, f32x4.lt(turned, zero)), c${i}));
        weight = f32x4.add(weight, v128.and(c${i}, f32x4.gt(turned, zero)));
      }`,
        )
        .join("\n      ")}
      weight = f32x4.pmax(weight, least);
      weight = v128.or(weight, v128.and(one, f32x4.eq(weight, zero)));
      out${index} = f32x4.add(${take("va", "add + at")}, f32x4.div(merged, weight));
    }`;
}

function select(n, take, index) {
  return `{
      ${changes(n, take).join("\n      ")}
      ${drop(n)}
      ${indices(n)
        .map((i) => `v128.store(out + ${i} * stride, v128.andnot(x${i}, dropped), ${16 * index});`)
        .join("\n      ")}
    }`;
}

function square(n, take, index) {
  const places = (i) => [
    `f64x2.promote_low_f32x4(x${i})`,
    `f64x2.promote_low_f32x4(v128.shuffle<i32>(x${i}, x${i}, 2, 3, 2, 3))`,
  ];
  return `{
      ${changes(n, take)
        .map((line) => line.replace("const x", "let x"))
        .join("\n      ")}
      ${drop(n)}
      ${indices(n)
        .map(
          (i) => `x${i} = v128.and(v128.andnot(x${i}, dropped), magnitude);
      x${i} = v128.and(x${i}, f32x4.lt(x${i}, infinity));
      ${places(i)
        .map(
          (place, half) => `{
        const x = ${place};
        s${i}_${2 * index + half} = f64x2.add(s${i}_${2 * index + half}, f64x2.mul(x, x));
      }`,
        )
        .join("\n      ")}`,
        )
        .join("\n      ")}
    }`;
}

function measure(n, take, index) {
  return `{
      ${changes(n, take).join("\n      ")}
      ${variance(n).join("\n      ")}
      v128.store(out, squares, ${16 * index});
    }`;
}

function kernels(n) {
  const head = `  const subtract = <usize>load<u32>(context, SUBTRACT);
  let out = <usize>load<u32>(context, OUT);
  const many = f32x4.splat(${n});
  const zero = f32x4.splat(0);
  ${indices(n)
    .map((i) => `const p${i} = <usize>load<u32>(context, ROWS + ${i} * ROW_BYTES);`)
    .join("\n  ")}
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();`;
  const loads = `const vs = load8<T>(subtract + at);
    ${indices(n)
      .map((i) => `const v${i} = load8<T>(p${i} + at);`)
      .join(" ")}`;
  const sums = (line) =>
    indices(n)
      .flatMap((i) => indices(4).map((k) => line(i, k)))
      .join("\n  ");
  const halves = (part, output) => `${part(n, (v) => `first<T, ${output}>(${v})`, 0)}
    ${part(n, (v, p) => `second<T, ${output}>(${v}, ${p})`, 1)}`;
  const selecting = `  const threshold = v128.load32_splat(context, SCALARS + 4);
  const select = load<f32>(context, SCALARS) != 0;`;
  return `
// @ts-ignore: decorator
@inline function sce${n}<T, O>(context: usize): i32 {
${head}
${selecting}
  const add = <usize>load<u32>(context, ADD);
  const least = v128.load32_splat(context, SCALARS + 8), one = f32x4.splat(1);
  const sign = i32x4.splat(0x80000000), magnitude = magnitudeBits();
  ${indices(n)
    .map((i) => `const c${i} = v128.load32_splat(context + ROWS + ${i} * ROW_BYTES, COLUMNS);`)
    .join("\n  ")}
  let largest = i32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    ${loads}
    const va = load8<T>(add + at);
    let out0 = zero, out1 = zero;
    ${halves(fuse, "O")}
    // As integers magnitudes keep their order, and a NaN is the largest.
    largest = i32x4.max_s(i32x4.max_s(largest, v128.and(out0, magnitude)), v128.and(out1, magnitude));
    store8<T, O>(out, out0, out1);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(i32x4.lt_s(largest, overflow<O>())) ? 1 : 0;
}
// @ts-ignore: decorator
@inline function sce_selected${n}<T>(context: usize): void {
${head}
${selecting}
  const stride = <usize>load<u32>(context, STRIDE);
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    ${loads}
    ${halves(select, "f32")}
    out += 32;
  }
}
// @ts-ignore: decorator
@inline function sce_squares${n}<T>(context: usize): void {
${head}
${selecting}
  const stride = <usize>load<u32>(context, STRIDE);
  const infinity = f32x4.splat(Infinity), magnitude = magnitudeBits();
  ${sums((i, k) => `let s${i}_${k} = v128.load(out + ${i} * stride, ${16 * k});`)}
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    ${loads}
    ${halves(square, "f32")}
  }
  ${sums((i, k) => `v128.store(out + ${i} * stride, s${i}_${k}, ${16 * k});`)}
}
// @ts-ignore: decorator
@inline function sce_variance${n}<T>(context: usize): void {
${head}
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    ${loads}
    ${halves(measure, "f32")}
    out += 32;
  }
}
${Object.entries(FORMATS)
  .map(
    ([
      name,
      type,
    ]) => `export function sce${n}_${name}_${name}(context: usize): i32 { return sce${n}<${type}, ${type}>(context); }
export function sce_selected${n}_${name}(context: usize): void { sce_selected${n}<${type}>(context); }
export function sce_squares${n}_${name}(context: usize): void { sce_squares${n}<${type}>(context); }
export function sce_variance${n}_${name}(context: usize): void { sce_variance${n}<${type}>(context); }`,
  )
  .join("\n")}
`;
}

export const source = `// Written by unrolled.mjs at build time.
import { ADD, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, STRIDE, SUBTRACT } from "../context.as";
import { first, load8, magnitudeBits, overflow, second, store8 } from "../lanes.as";
${MODELS.map(kernels).join("")}`;

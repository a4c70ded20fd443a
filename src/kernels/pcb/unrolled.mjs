// Source of PCB's kernels for a fixed number of models in the variant `es`, the default, written out at build time: what
// the loops of kernel.as.ts keep in scratch memory stays in registers. The other variants go there.

const MODELS = [2, 3, 4];
const FORMATS = { BF16: "u16", F16: "i16", F32: "f32" };

const indices = (n) => Array.from({ length: n }, (_, i) => i);
const each = (n, line) => indices(n).map(line).join("\n      ");

/** Scores of half of eight entries, as `prepare`, `pairs` and `score` in kernel.as.ts. `take` widens one stream's. */
function scores(n, take) {
  const lines = [`const s = ${take("vs", "subtract + at")};`];
  for (const i of indices(n)) {
    lines.push(`const x${i} = f32x4.sub(${take(`v${i}`, `p${i} + at`)}, s);
      const sign${i} = v128.andnot(x${i}, magnitude);
      const size${i} = f32x4.pmin(f32x4.pmax(v128.and(x${i}, magnitude), l${i}), h${i});
      const y${i} = v128.or(f32x4.div(f32x4.sub(size${i}, l${i}), r${i}), sign${i});
      let c${i} = zero;`);
  }
  // Each pair is computed once, and every model's sum runs in model order.
  for (const i of indices(n)) {
    lines.push(`const own${i} = f32x4.mul(y${i}, y${i});
      c${i} = f32x4.add(c${i}, tanhNear4(own${i}));`);
    for (const j of indices(n).slice(i + 1)) {
      lines.push(`const t${i}_${j} = tanhNear4(f32x4.mul(y${i}, y${j}));
      c${i} = f32x4.add(c${i}, t${i}_${j});
      c${j} = f32x4.add(c${j}, t${i}_${j});`);
    }
    lines.push(`c${i} = f32x4.mul(expNear4(f32x4.mul(own${i}, models)), c${i});`);
  }
  return lines.join("\n      ");
}

function store(n, index) {
  return each(n, (i) => `v128.store(out + ${i} * stride, c${i}, ${16 * index});`);
}

/** As `mean` in kernel.as.ts. */
function merge(n, take, index) {
  return `let sum = zero, weights = zero;
      ${each(
        n,
        (i) => `{
        const cut = v128.load32_splat(q${i}, COLUMNS + 12);
        const weight = f32x4.div(f32x4.sub(f32x4.pmax(c${i}, cut), cut), v128.load32_splat(q${i}, COLUMNS + 16));
        const clipped = v128.and(v128.or(size${i}, sign${i}), f32x4.ne(x${i}, zero));
        sum = f32x4.add(sum, f32x4.mul(f32x4.mul(clipped, v128.load32_splat(q${i}, COLUMNS + 20)), weight));
        weights = f32x4.add(weights, weight);
      }`,
      )}
      out${index} = f32x4.add(${take("va", "add + at")}, f32x4.div(sum, f32x4.pmax(weights, floor)));`;
}

function kernels(n) {
  const head = `  const subtract = <usize>load<u32>(context, SUBTRACT);
  let out = <usize>load<u32>(context, OUT);
  const models = v128.load32_splat(context, SCALARS + 4);
  const zero = f32x4.splat(0), magnitude = magnitudeBits();
  ${each(
    n,
    (i) => `const q${i} = context + ROWS + ${i} * ROW_BYTES;
  const p${i} = <usize>load<u32>(q${i});
  const l${i} = v128.load32_splat(q${i}, COLUMNS), h${i} = v128.load32_splat(q${i}, COLUMNS + 4);
  const r${i} = v128.load32_splat(q${i}, COLUMNS + 8);`,
  )}
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();`;
  const loads = `const vs = load8<T>(subtract + at);
    ${each(n, (i) => `const v${i} = load8<T>(p${i} + at);`)}`;
  const halves = (part, output) => {
    const first = (v) => `first<T, ${output}>(${v})`;
    const second = (v, p) => `second<T, ${output}>(${v}, ${p})`;
    return [first, second]
      .map((take, index) => `{\n      ${scores(n, take)}\n      ${part(n, take, index)}\n    }`)
      .join("\n    ");
  };
  const exported = Object.entries(FORMATS).map(
    ([name, type]) => `export function pcb${n}_${name}_${name}(context: usize): i32 {
  return load<f32>(context, SCALARS) == 0 ? pcb${n}<${type}, ${type}>(context) : pcb_${name}_${name}(context);
}
export function pcb_scores${n}_${name}(context: usize): void {
  if (load<f32>(context, SCALARS) == 0) scores${n}<${type}>(context);
  else pcb_scores_${name}(context);
}`,
  );
  return `
// @ts-ignore: decorator
@inline function pcb${n}<T, O>(context: usize): i32 {
${head}
  const add = <usize>load<u32>(context, ADD);
  const floor = f32x4.splat(1e-12);
  let largest = i32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    ${loads}
    const va = load8<T>(add + at);
    let out0 = zero, out1 = zero;
    ${halves(merge, "O")}
    // As integers magnitudes keep their order, and a NaN is the largest.
    largest = i32x4.max_s(i32x4.max_s(largest, v128.and(out0, magnitude)), v128.and(out1, magnitude));
    store8<T, O>(out, out0, out1);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(i32x4.lt_s(largest, overflow<O>())) ? 1 : 0;
}
// @ts-ignore: decorator
@inline function scores${n}<T>(context: usize): void {
${head}
  const stride = <usize>load<u32>(context, STRIDE);
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    ${loads}
    ${halves((count, _, index) => store(count, index), "f32")}
    out += 32;
  }
}
${exported.join("\n")}
`;
}

const generic = Object.keys(FORMATS).flatMap((name) => [`pcb_${name}_${name}`, `pcb_scores_${name}`]);

export const source = `// Written by unrolled.mjs at build time.
import { ADD, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, STRIDE, SUBTRACT } from "../context.as";
import { expNear4, tanhNear4 } from "../functions.as";
import { first, load8, magnitudeBits, overflow, second, store8 } from "../lanes.as";
import { ${generic.join(", ")} } from "./kernel.as";
${MODELS.map(kernels).join("")}`;

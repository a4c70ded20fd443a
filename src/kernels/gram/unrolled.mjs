// Source of the gram kernels for a fixed number of vectors, written out at build time: about three times as fast as the
// loop over pairs in kernel.as.ts, because entries go from their stored form into the sums without a detour through memory.

const VECTORS = [2, 3, 4, 5, 6, 7, 8];
const FORMATS = { BF16: "u16", F16: "i16", F32: "f32" };

const range = (n) => Array.from({ length: n }, (_, i) => i);
const pairsOf = (n) => range(n).flatMap((i) => range(n).flatMap((j) => (j < i ? [] : [[i, j]])));

/** Four entries: changes as f64, then every pair's products. `take` widens one stream's entries. */
function four(n, take) {
  const lines = [`const s = ${take("vs", "subtract + at")};`];
  for (const i of range(n)) {
    lines.push(`const x${i} = f32x4.sub(${take(`v${i}`, `p${i} + at`)}, s);`);
    lines.push(`const l${i} = f64x2.promote_low_f32x4(x${i});`, `const u${i} = f64x2.promote_low_f32x4(upper(x${i}));`);
  }
  for (const [i, j] of pairsOf(n)) {
    lines.push(`a${i}_${j} = f64x2.add(a${i}_${j}, f64x2.mul(l${i}, l${j}));`);
    lines.push(`b${i}_${j} = f64x2.add(b${i}_${j}, f64x2.mul(u${i}, u${j}));`);
  }
  return `{\n      ${lines.join("\n      ")}\n    }`;
}

function kernel(n) {
  const pointers = range(n).map((i) => `const p${i} = <usize>load<u32>(context, ROWS + ${i} * ROW_BYTES);`);
  const pairs = pairsOf(n);
  const loads = pairs.map(
    ([i, j], at) => `let a${i}_${j} = v128.load(out, ${at} * 32), b${i}_${j} = v128.load(out, ${at} * 32 + 16);`,
  );
  const stores = pairs.map(
    ([i, j], at) => `v128.store(out, a${i}_${j}, ${at} * 32); v128.store(out, b${i}_${j}, ${at} * 32 + 16);`,
  );
  // Squares have no sign, so what is not finite cannot cancel.
  const squares = range(n).map((i) => `f64x2.add(a${i}_${i}, b${i}_${i})`);
  return `
// @ts-ignore: decorator
@inline function gram${n}<T>(context: usize): void {
  const count = load<i32>(context, COUNT);
  const whole = count & -8;
  const out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  ${pointers.join("\n  ")}
  ${loads.join("\n  ")}
  const bytes = <usize>whole * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const vs = load8<T>(subtract + at);
    ${range(n)
      .map((i) => `const v${i} = load8<T>(p${i} + at);`)
      .join("\n    ")}
    ${four(n, (v) => `first<T, f32>(${v})`)}
    ${four(n, (v, p) => `second<T, f32>(${v}, ${p})`)}
  }
  const squares = ${squares.reduce((sum, one) => `f64x2.add(${sum}, ${one})`)};
  const total = f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1);
  // Entries that are not finite are left out with all of their column, which the general kernel can.
  if (!(total - total == 0)) return gramFrom<T>(context, 0);
  ${stores.join("\n  ")}
  if (whole < count) gramFrom<T>(context, whole);
}
${Object.entries(FORMATS)
  .map(([name, type]) => `export function gram${n}_${name}(context: usize): void { gram${n}<${type}>(context); }`)
  .join("\n")}
`;
}

export const source = `import { COUNT, OUT, ROWS, ROW_BYTES, SUBTRACT } from "../context.as";
import { upper } from "../dots.as";
import { first, load8, second } from "../lanes.as";
import { gramFrom } from "./kernel.as";
${VECTORS.map(kernel).join("")}`;

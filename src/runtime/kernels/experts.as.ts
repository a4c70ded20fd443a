/** Gates and experts of rows; definition in experts.ts. */
import { gemm } from "../../algebra/kernels/gemm.as";
import { exp4 } from "./exp.as";
import { loadPart, sumOf } from "./lanes.as";

export function gate(
  projections: usize, shares: usize, chosen: usize, weights: usize, rows: i32, experts: i32, rank: i32, top: i32,
): void {
  const whole = <usize>(rank & ~3) << 2;
  const rest = rank & 3;
  const bytes = <usize>rank << 2;
  for (let row = 0; row < rows; row++) {
    let most: f32 = 0;
    for (let e = 0; e < experts; e++) {
      let squares = f32x4.splat(0);
      for (let at: usize = 0; at < whole; at += 16) {
        const v = v128.load(projections + at);
        squares = f32x4.add(squares, f32x4.mul(v, v));
      }
      if (rest > 0) {
        const v = loadPart(projections + whole, rest);
        squares = f32x4.add(squares, f32x4.mul(v, v));
      }
      const length: f32 = sqrt<f32>(sumOf(squares));
      store<f32>(shares + (<usize>e << 2), length);
      most = max<f32>(most, length);
      projections += bytes;
    }
    let sum: f32 = 0;
    for (let e = 0; e < experts; e++) {
      const at = shares + (<usize>e << 2);
      const share = f32x4.extract_lane(exp4(f32x4.splat(load<f32>(at) - most)), 0);
      store<f32>(at, share);
      sum += share;
    }
    for (let e = 0; e < experts; e++) {
      const at = shares + (<usize>e << 2);
      store<f32>(at, load<f32>(at) / sum);
    }
    let kept: f32 = 0;
    for (let t = 0; t < top; t++) {
      let best = -1;
      let largest: f32 = 0;
      for (let e = 0; e < experts; e++) {
        let taken = false;
        for (let before = 0; before < t; before++) taken = taken || load<i32>(chosen + (<usize>before << 2)) == e;
        const share = load<f32>(shares + (<usize>e << 2));
        if (!taken && (best < 0 || share > largest)) {
          best = e;
          largest = share;
        }
      }
      store<i32>(chosen + (<usize>t << 2), best);
      store<f32>(weights + (<usize>t << 2), largest);
      kept += largest;
    }
    for (let t = 0; t < top; t++) {
      const at = weights + (<usize>t << 2);
      store<f32>(at, load<f32>(at) / kept);
    }
    shares += <usize>experts << 2;
    chosen += <usize>top << 2;
    weights += <usize>top << 2;
  }
}

export function experts(
  x: usize, chosen: usize, weights: usize, right: usize, left: usize, bias: usize,
  gathered: usize, inner: usize, made: usize, y: usize,
  rows: i32, inputs: i32, outputs: i32, rank: i32, count: i32, top: i32, scratch: usize,
): void {
  const inBytes = <usize>inputs << 2;
  const outBytes = <usize>outputs << 2;
  const places = rows * top;
  for (let e = 0; e < count; e++) {
    let found = 0;
    for (let at = 0; at < places; at++) {
      if (load<i32>(chosen + (<usize>at << 2)) != e) continue;
      memory.copy(gathered + <usize>found * inBytes, x + <usize>(at / top) * inBytes, inBytes);
      found++;
    }
    if (found == 0) continue;
    const b: usize = bias == 0 ? 0 : bias + <usize>e * outBytes;
    if (right == 0) {
      const whole = left + <usize>e * <usize>outputs * inBytes;
      gemm(found, outputs, inputs, gathered, inputs, 0, whole, inputs, 1, made, outputs, 1, b, 0, scratch);
    } else {
      const v = right + <usize>e * <usize>rank * inBytes, u = left + <usize>e * <usize>rank * outBytes;
      gemm(found, rank, inputs, gathered, inputs, 0, v, inputs, 1, inner, rank, 1, 0, 0, scratch);
      gemm(found, outputs, rank, inner, rank, 0, u, outputs, 0, made, outputs, 1, b, 0, scratch);
    }
    let from = made;
    for (let at = 0; at < places; at++) {
      const place = <usize>at << 2;
      if (load<i32>(chosen + place) != e) continue;
      addScaled(y + <usize>(at / top) * outBytes, from, load<f32>(weights + place), outputs);
      from += outBytes;
    }
  }
}

function addScaled(y: usize, x: usize, factor: f32, columns: i32): void {
  const scale = f32x4.splat(factor);
  const whole = <usize>(columns & ~3) << 2;
  let at: usize = 0;
  for (; at < whole; at += 16) {
    v128.store(y + at, f32x4.add(v128.load(y + at), f32x4.mul(scale, v128.load(x + at))));
  }
  for (const end = <usize>columns << 2; at < end; at += 4) {
    store<f32>(y + at, load<f32>(y + at) + factor * load<f32>(x + at));
  }
}

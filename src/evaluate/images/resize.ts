/**
 * Resizing as Pillow does it, whose pixels vision models were trained on: two passes, rows first, each with a filter that
 * widens when a picture shrinks, in fixed-point arithmetic with 22 fractional bits, rounded to bytes after each pass.
 * (Behaviour of Pillow's documented filters; the pixels are held to Pillow's by a test.)
 */

import type { Picture } from "./picture.js";

/** Filters by the number that preprocessor_config.json gives them. */
export const RESAMPLES = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] as const;
export type Resample = (typeof RESAMPLES)[number];

interface Filter {
  /** Half the width of its support in source pixels. */
  readonly support: number;
  readonly weight: (x: number) => number;
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

const FILTERS: Readonly<Record<Exclude<Resample, "nearest">, Filter>> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight: (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x))),
  },
  bicubic: { support: 2, weight: (x) => bicubic(Math.abs(x)) },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Keys' kernel with a = −1/2. */
function bicubic(x: number): number {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

export function resize(picture: Picture, width: number, height: number, resample: Resample): Picture {
  if (resample === "nearest") return nearest(picture, width, height);
  const wide = picture.width === width ? picture : resizeRows(picture, width, FILTERS[resample]);
  if (wide.height === height) return wide;
  return transpose(resizeRows(transpose(wide), height, FILTERS[resample]));
}

function nearest({ width: w, height: h, channels, data }: Picture, width: number, height: number): Picture {
  const out = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * h) / height) * w;
    for (let x = 0; x < width; x++) {
      const from = (row + Math.floor(((x + 0.5) * w) / width)) * channels;
      for (let c = 0; c < channels; c++) out[(y * width + x) * channels + c] = data[from + c]!;
    }
  }
  return { width, height, channels, data: out };
}

/** Weights of an output pixel: those of source pixels `from` on, in units of 2^−22. */
interface Weights {
  readonly from: number;
  readonly weights: Int32Array;
}

const ONE = 1 << 22;

function weightsOf(before: number, after: number, { support, weight }: Filter): readonly Weights[] {
  const scale = before / after;
  const spread = Math.max(scale, 1);
  const reach = support * spread;
  return Array.from({ length: after }, (_, at) => {
    const centre = (at + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - reach + 0.5));
    const to = Math.min(before, Math.trunc(centre + reach + 0.5));
    const raw = Array.from({ length: to - from }, (_unused, i) => weight((i + from - centre + 0.5) / spread));
    const total = raw.reduce((sum, value) => sum + value, 0);
    const rounded = raw.map((value) => {
      const exact = (total === 0 ? value : value / total) * ONE;
      return Math.trunc(exact < 0 ? exact - 0.5 : exact + 0.5);
    });
    return { from, weights: Int32Array.from(rounded) };
  });
}

function resizeRows({ width: before, height, channels, data }: Picture, width: number, filter: Filter): Picture {
  const out = new Uint8Array(width * height * channels);
  for (const [x, { from, weights }] of weightsOf(before, width, filter).entries()) {
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < channels; c++) {
        let sum = ONE / 2;
        for (let i = 0; i < weights.length; i++) sum += data[(y * before + from + i) * channels + c]! * weights[i]!;
        out[(y * width + x) * channels + c] = Math.min(255, Math.max(0, Math.floor(sum / ONE)));
      }
    }
  }
  return { width, height, channels, data: out };
}

function transpose({ width, height, channels, data }: Picture): Picture {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) out[(x * height + y) * channels + c] = data[(y * width + x) * channels + c]!;
    }
  }
  return { width: height, height: width, channels, data: out };
}

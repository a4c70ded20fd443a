/**
 * From a picture of any size to what a model looks at, as its preprocessor_config.json says (the keys of transformers'
 * image processors): colour or grey, resize, cut the centre, then normalise.
 */

import type { Checkpoint } from "../../models/model.js";
import { isObject, readObject } from "../../tokenizers/json.js";
import type { Normalisation } from "../task.js";
import type { WantedImages } from "./image_data.js";
import type { Picture } from "./picture.js";
import { RESAMPLES, type Resample, resize } from "./resize.js";

const FILE = "preprocessor_config.json";

/** What transformers' ViT processor does where nothing is written. */
export const USUAL: Normalisation = { scale: 1 / 255, mean: [0.5], std: [0.5] };

export interface Preprocessing {
  readonly normalise: Normalisation;
  /** `null`: pictures are of their size already. */
  readonly resize: { readonly to: Size; readonly resample: Resample } | null;
  /** `null`: nothing is cut. */
  readonly crop: Exact | null;
}

type Exact = { readonly height: number; readonly width: number };
/** Both sides; or the shorter one, the other as the picture's shape wants. */
type Size = Exact | { readonly shortest: number };

/** @returns `null` where the model's files do not say. */
export async function readPreprocessing({ sideFiles, label }: Checkpoint): Promise<Preprocessing | null> {
  const file = sideFiles.find(({ name }) => name === FILE);
  if (file === undefined) return null;
  const written = await readObject(file, label);
  const crop = written["do_center_crop"] === true ? exactOf(written["crop_size"]) : null;
  const to = written["do_resize"] === false ? null : sizeOf(written["size"], crop !== null);
  return { normalise: normalisationOf(written), resize: to && { to, resample: resampleOf(written["resample"]) }, crop };
}

/** What is done where no file says anything: the size that the model's config wants, by ViT's filter. */
export function usualPreprocessing({ height, width }: WantedImages): Preprocessing {
  const to = height === null || width === null ? null : { height, width };
  return { normalise: USUAL, resize: to && { to, resample: "bilinear" }, crop: null };
}

function normalisationOf(written: Readonly<Record<string, unknown>>): Normalisation {
  const flag = (key: string) => written[key] !== false;
  const numbers = (key: string, fallback: readonly number[]): readonly number[] => {
    const value = written[key];
    const list = Array.isArray(value) ? (value as unknown[]) : [value];
    const valid = list.length > 0 && list.every((entry): entry is number => typeof entry === "number");
    return valid ? list : fallback;
  };
  const factor = written["rescale_factor"];
  return {
    scale: flag("do_rescale") ? (typeof factor === "number" ? factor : USUAL.scale) : 1,
    mean: flag("do_normalize") ? numbers("image_mean", USUAL.mean) : [0],
    std: flag("do_normalize") ? numbers("image_std", USUAL.std) : [1],
  };
}

/** @param cuts a single number is the shorter side's where the centre is cut out afterwards. */
function sizeOf(value: unknown, cuts: boolean): Size | null {
  if (isObject(value) && isCount(value["shortest_edge"])) return { shortest: value["shortest_edge"] };
  if (isCount(value) && cuts) return { shortest: value };
  return exactOf(value);
}

function exactOf(value: unknown): Exact | null {
  if (isCount(value)) return { height: value, width: value };
  if (!isObject(value)) return null;
  const { height, width } = value;
  return isCount(height) && isCount(width) ? { height, width } : null;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value <= 1 << 16;
}

function resampleOf(value: unknown): Resample {
  return (typeof value === "number" ? RESAMPLES[value] : undefined) ?? "bilinear";
}

/** A picture as the model wants it, in bytes. */
export function preprocess(picture: Picture, channels: 1 | 3, how: Preprocessing): Picture {
  const coloured = withChannels(picture, channels);
  const sized = how.resize === null ? coloured : resizeTo(coloured, how.resize);
  return how.crop === null ? sized : cropCentre(sized, how.crop);
}

/** Grey is Pillow's: ITU-R 601 luma in 16 fractional bits. */
function withChannels(picture: Picture, channels: 1 | 3): Picture {
  if (picture.channels === channels) return picture;
  const { width, height, data } = picture;
  const out = new Uint8Array(width * height * channels);
  for (let pixel = 0; pixel < width * height; pixel++) {
    if (channels === 3) out.fill(data[pixel]!, 3 * pixel, 3 * pixel + 3);
    else {
      const [red, green, blue] = [data[3 * pixel]!, data[3 * pixel + 1]!, data[3 * pixel + 2]!];
      out[pixel] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    }
  }
  return { width, height, channels, data: out };
}

function resizeTo(picture: Picture, { to, resample }: NonNullable<Preprocessing["resize"]>): Picture {
  if ("height" in to) return resize(picture, to.width, to.height, resample);
  const { width, height } = picture;
  const long = Math.trunc((to.shortest * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? resize(picture, to.shortest, long, resample) : resize(picture, long, to.shortest, resample);
}

/** What lies outside a smaller picture is black. */
function cropCentre({ width: w, height: h, channels, data }: Picture, { width, height }: Exact): Picture {
  const out = new Uint8Array(width * height * channels);
  const [top, left] = [Math.floor((h - height) / 2), Math.floor((w - width) / 2)];
  for (let y = Math.max(0, -top); y < Math.min(height, h - top); y++) {
    for (let x = Math.max(0, -left); x < Math.min(width, w - left); x++) {
      const from = ((y + top) * w + x + left) * channels;
      out.set(data.subarray(from, from + channels), (y * width + x) * channels);
    }
  }
  return { width, height, channels, data: out };
}

/** Images and labels of a split: what image classification asks of every form in which they are kept. */

import type { Normalisation } from "../task.js";

export interface ImageData {
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Empty where there are none and none are needed. */
  readonly labels: readonly number[];
  /** One more than the highest label that the data have a place for. */
  readonly classes: number;
  /** What the images are, for a fingerprint: the same text for the same pixels. */
  readonly content: string;
  /** Things about the data worth telling. */
  readonly notes: readonly string[];
  /** Normalised images `first` to `first + count`, f32 `[count, channels, height, width]`. */
  pixels(first: number, count: number, how: Normalisation): Float32Array | Promise<Float32Array>;
  close(): void | Promise<void>;
}

/** What the network wants, where its config says so. */
export interface WantedImages {
  readonly channels: number | null;
  readonly height: number | null;
  readonly width: number | null;
}

/**
 * Pixels to f32, plane by plane.
 *
 * @param entries images of bytes or floats, one behind the other, as planes or with the channels of a pixel side by side.
 * @param factor what an entry is multiplied by before the mean is taken off.
 */
export function normalised(
  entries: Float32Array | Uint8Array,
  { channels, height, width }: Pick<ImageData, "channels" | "height" | "width">,
  interleaved: boolean,
  factor: number,
  { mean, std }: Pick<Normalisation, "mean" | "std">,
): Float32Array {
  const area = height * width;
  const out = new Float32Array(entries.length);
  for (let plane = 0; plane * area < out.length; plane++) {
    const channel = plane % channels;
    const [middle, spread] = [mean[channel % mean.length]!, std[channel % std.length]!];
    const to = plane * area;
    const from = interleaved ? to - channel * area + channel : to;
    const step = interleaved ? channels : 1;
    for (let i = 0; i < area; i++) out[to + i] = (entries[from + i * step]! * factor - middle) / spread;
  }
  return out;
}

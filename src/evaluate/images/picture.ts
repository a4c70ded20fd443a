/** A picture file as pixels, through maintained decoders. */

import { taskDefect } from "../defect.js";
import type { EvaluatePlatform } from "../platform.js";
import type { Task } from "../task.js";

/** Bytes of `[height, width, channels]`. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Grey, or red, green and blue. */
  readonly channels: 1 | 3;
  readonly data: Uint8Array;
}

/** More pixels are no picture but a trap for memory. */
const MOST_PIXELS = 1 << 27;

const PNG = [0x89, 0x50, 0x4e, 0x47];
const JPEG = [0xff, 0xd8, 0xff];

/**
 * Decodes PNG and JPEG, to the pixels that Pillow makes of them. Transparency is dropped, palettes are looked up, 16-bit
 * samples keep their upper half.
 *
 * @param where names the picture in errors.
 * @throws tasks/data for another format or a broken file.
 */
export async function decodePicture(
  task: Task,
  where: { readonly file: string; readonly key?: string },
  bytes: Uint8Array,
  platform: Pick<EvaluatePlatform, "jpegDecoder">,
): Promise<Picture> {
  const begins = (magic: readonly number[]) => magic.every((byte, at) => bytes[at] === byte);
  const kind = begins(PNG) ? "PNG" : begins(JPEG) ? "JPEG" : null;
  if (kind === null) {
    throw taskDefect(task, "tasks/data", "a picture is neither PNG nor JPEG", {
      where,
      expected: "a file that begins as these do",
      found: bytes.length === 0 ? "no bytes" : Array.from(bytes.subarray(0, 4), (byte) => byte.toString(16)).join(" "),
      advice: "convert it to PNG",
    });
  }
  // A decoder that cannot be had is no fault of the picture.
  const decode = kind === "PNG" ? decodePng : await jpegWith(platform);
  try {
    const picture = await decode(bytes);
    if (picture.data.length !== picture.width * picture.height * picture.channels || picture.data.length === 0) {
      throw new RangeError("the picture ends early");
    }
    return picture;
  } catch (cause) {
    throw taskDefect(task, "tasks/data", `a picture cannot be read as ${kind}`, {
      where,
      found: cause instanceof Error ? cause.message : String(cause),
      advice: "write the file anew, or remove it",
      cause,
    });
  }
}

async function decodePng(bytes: Uint8Array): Promise<Picture> {
  const { decode, convertIndexedToRgb } = await import("fast-png");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length >= 24) checkSize(view.getUint32(16), view.getUint32(20));
  const png = decode(bytes, { checkCrc: true });
  const { width, height } = png;
  if (png.palette !== undefined) {
    const colours = convertIndexedToRgb(png);
    return { width, height, ...withoutAlpha(colours, colours.length / (width * height)) };
  }
  return { width, height, ...withoutAlpha(toBytes(png.data, png.depth, width * png.channels), png.channels) };
}

/** Samples of 1, 2, 4, 8 or 16 bits to bytes; rows of less than 8 bits begin at a byte. */
function toBytes(data: ArrayLike<number>, depth: number, perRow: number): Uint8Array {
  if (depth === 16) return Uint8Array.from(data, (sample) => sample >> 8);
  if (depth === 8) return Uint8Array.from(data);
  const rowBytes = Math.ceil((perRow * depth) / 8);
  const rows = data.length / rowBytes;
  const most = (1 << depth) - 1;
  return Uint8Array.from({ length: rows * perRow }, (_, at) => {
    const [row, column] = [Math.floor(at / perRow), at % perRow];
    const byte = data[row * rowBytes + Math.floor((column * depth) / 8)]!;
    return (((byte >> (8 - depth - ((column * depth) % 8))) & most) * 255) / most;
  });
}

function withoutAlpha(data: Uint8Array, channels: number): Pick<Picture, "channels" | "data"> {
  if (channels === 1 || channels === 3) return { channels, data };
  const kept = channels === 2 ? 1 : 3;
  const pixels = data.length / channels;
  const out = new Uint8Array(pixels * kept);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let channel = 0; channel < kept; channel++) out[pixel * kept + channel] = data[pixel * channels + channel]!;
  }
  return { channels: kept, data: out };
}

async function jpegWith({ jpegDecoder }: Pick<EvaluatePlatform, "jpegDecoder">) {
  const decode = await jpegDecoder();
  return async (bytes: Uint8Array): Promise<Picture> => {
    const size = sizeOfJpeg(bytes);
    checkSize(size.width, size.height);
    const { width, height, data } = await decode(Uint8Array.from(bytes).buffer);
    return { width, height, ...withoutAlpha(new Uint8Array(data.buffer, data.byteOffset, data.length), 4) };
  };
}

/** As the frame's header says (ITU-T T.81, B.2.2). */
function sizeOfJpeg(bytes: Uint8Array): { readonly width: number; readonly height: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 2; at + 9 < bytes.length; ) {
    const marker = bytes[at + 1]!;
    if (bytes[at] !== 0xff) break;
    // All frames but those that are tables: DHT, JPG and DAC.
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
  throw new RangeError("the picture has no frame");
}

function checkSize(width: number, height: number): void {
  if (width * height > MOST_PIXELS) throw new RangeError(`${width} x ${height} pixels are more than ${MOST_PIXELS}`);
}

import type { ByteSource } from "../../sources/source.js";
import type { TensorEntry } from "./types.js";

type Place = Pick<TensorEntry, "offset" | "length">;

/** A tensor's bytes as a whole: little-endian entries, row by row. */
export async function readTensor(source: ByteSource, { offset, length }: Place): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await source.read(offset, bytes);
  return bytes;
}

/** Widest entry; pieces hold whole entries, so that each can be viewed as a typed array. */
const WIDEST = 8;

/** A tensor's bytes piece by piece; each piece is a new array and the caller's to keep. */
export async function* streamTensor(
  source: ByteSource,
  { offset, length }: Place,
  chunkBytes: number = 1 << 20,
): AsyncGenerator<Uint8Array> {
  const step = Math.max(WIDEST, Math.floor(chunkBytes / WIDEST) * WIDEST);
  for (let at = 0; at < length; at += step) {
    const piece = new Uint8Array(Math.min(step, length - at));
    await source.read(offset + at, piece);
    yield piece;
  }
}

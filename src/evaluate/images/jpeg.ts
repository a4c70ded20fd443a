/** The JPEG decoder: mozjpeg's, whose pixels are Pillow's, through a maintained build for WebAssembly. */

/** Red, green, blue and opacity of every pixel. */
export interface Rgba {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray;
}

export type DecodeJpeg = (file: ArrayBuffer) => Promise<Rgba>;

type Start = (compiled: WebAssembly.Module | undefined, options: { printErr(line: string): void }) => Promise<void>;

/**
 * @param compiled the decoder's WebAssembly where the package cannot fetch it itself; it fetches in a browser only.
 * @returns a decoder that throws for files that end early, as Pillow does; of other damage it makes what it can.
 */
export async function openJpegDecoder(compiled?: WebAssembly.Module): Promise<DecodeJpeg> {
  const { default: decode, init } = await import("@jsquash/jpeg/decode.js");
  let said: string[] = [];
  // The package's types leave its first form out.
  await (init as Start)(compiled, { printErr: (line: string) => said.push(line) });
  return async (file) => {
    said = [];
    const picture = await decode(file);
    const end = said.find((line) => line.startsWith("Premature end of JPEG file"));
    if (end !== undefined) throw new RangeError(end);
    return picture;
  };
}

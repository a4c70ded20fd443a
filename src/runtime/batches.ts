/** What a network is given. */

/** Images, already resized and normalised. */
export interface ImageBatch {
  readonly kind: "images";
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** f32 `[count, channels, height, width]`. */
  readonly pixels: Float32Array;
}

/** Token sequences, padded on the right to a common length. */
export interface TextBatch {
  readonly kind: "text";
  readonly count: number;
  readonly length: number;
  /** `[count, length]`; what stands behind a sequence's own length is never looked at (any valid id will do). */
  readonly ids: Int32Array;
  /** `[count]`, each from 1 to `length`. */
  readonly lengths: Int32Array;
  /** Segment of each token, `[count, length]`, for BERT; zeros where absent. */
  readonly segments?: Int32Array;
  /** What an encoder-decoder model has said so far, beginning with its start token. */
  readonly decoder?: { readonly length: number; readonly ids: Int32Array };
  /**
   * Of a language model: the positions whose logits are wanted, as `sequence × length + position` (the decoder's length
   * where there is one), ascending. All of them where absent. A classifier has one row per sequence.
   */
  readonly positions?: Int32Array;
}

export type Batch = ImageBatch | TextBatch;

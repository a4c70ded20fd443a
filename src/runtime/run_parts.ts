/** What a network gave for a batch. */

/** A part that has been run. Its memory is good until the next pass. */
export interface RunPart {
  /** Rows of logits, and where the first of them is among all. */
  readonly rows: number;
  readonly firstRow: number;
  /** What is handed out. */
  readonly names: readonly string[];
  /** What was handed out under a name, and the rows that it has or is a sum over. */
  readonly handed: (name: string) => { readonly values: Float32Array; readonly rows: number };
}

export interface RunBatch {
  readonly rows: number;
  readonly parts: readonly RunPart[];
  /** A parameter's gradient, summed over the parts. */
  readonly gradient: (name: string) => Float32Array;
}

/** Tokens in one batch, padding included, and logits (f32) that they may have: bounds of the memory of a pass. */
const BATCH_TOKENS = 2048;
const BATCH_LOGITS = 1 << 24;

/**
 * Runs of texts that fit into one pass, each at least one text.
 * @param classes columns of the logits of every token; 0 where they have none of their own.
 */
export function batchesOf<T extends { readonly ids: readonly number[] }>(texts: readonly T[], classes: number): T[][] {
  const most = Math.min(BATCH_TOKENS, BATCH_LOGITS / Math.max(1, classes));
  const batches: T[][] = [];
  let longest = 0;
  for (const text of texts) {
    const batch = batches.at(-1);
    longest = Math.max(longest, text.ids.length);
    if (batch !== undefined && longest * (batch.length + 1) <= most) batch.push(text);
    else {
      batches.push([text]);
      longest = text.ids.length;
    }
  }
  return batches;
}

/**
 * How a batch is cut. The cut depends on the batch and the model alone, never on threads: gradients of parts are summed
 * in a fixed order, so one thread and many give the same bits.
 */

export interface Part {
  readonly from: number;
  readonly to: number;
}

/** Rows of activations that a part should have: enough for the products' panels, few enough for memory. */
const ROWS = 1024;
/** Logits of a part, in entries. */
const LOGITS = 2 ** 25;

/**
 * @param tokens rows of activations per example.
 * @param logits entries of logits per example.
 */
export function cutBatch(count: number, tokens: number, logits: number): readonly Part[] {
  const most = Math.max(1, Math.min(Math.floor(ROWS / tokens), Math.floor(LOGITS / logits)));
  let parts = Math.min(count, Math.max(2, Math.ceil(count / most)));
  // An even number of parts keeps two threads busy to the end.
  if (parts % 2 === 1 && parts < count) parts++;
  return Array.from({ length: parts }, (_, index) => ({
    from: Math.floor((index * count) / parts),
    to: Math.floor(((index + 1) * count) / parts),
  }));
}

/** Sums of gradients that are kept apart; part i adds to sum i modulo this. */
export function gradientLanes(parts: number, parameterEntries: number): number {
  return Math.min(parts, parameterEntries <= 2 ** 25 ? 4 : 2);
}

import { MergewrightError } from "../errors.js";
import { partitionPoint } from "../numbers/partition.js";

/** Every source answers a read that its bytes cannot fill with this error, before it touches anything. */
export function checkRange(label: string, size: number, offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && offset >= 0 && offset + length <= size) return;
  throw new MergewrightError("a read goes past the end of its file", {
    kind: "environment",
    code: "io/read",
    where: { file: label },
    expected: `${length} bytes from byte ${offset} on`,
    found: `a file of ${size} bytes`,
    advice: "check that nothing shortened the file, then run the command again",
  });
}

export function closedError(label: string): MergewrightError {
  return new MergewrightError("a source was used after it was closed", {
    kind: "environment",
    code: "io/read",
    where: { file: label },
  });
}

/** A sink's file has a fixed size; a write outside it means that a plan and its execution disagree. */
export function checkPlace(label: string, size: number, offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && offset >= 0 && offset + length <= size) return;
  throw new MergewrightError("a write goes past the end of its file", {
    kind: "environment",
    code: "io/write",
    where: { file: label },
    expected: `a place inside the file's ${size} bytes`,
    found: `${length} bytes from byte ${offset} on`,
  });
}

/**
 * Which of some computed tensors a byte of their file lies in: the last that begins at or before it and has any.
 *
 * @param tensors in the order of their offsets.
 */
export function tensorAt(tensors: readonly { readonly offset: number }[], byte: number): number {
  return Math.max(0, partitionPoint(tensors.length, (index) => tensors[index]!.offset <= byte) - 1);
}

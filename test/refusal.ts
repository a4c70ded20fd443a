import assert from "node:assert/strict";
import { MergewrightError } from "../src/errors.js";

/** The error of work that must be refused. */
export async function refusal(work: Promise<unknown>): Promise<MergewrightError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof MergewrightError, String(error));
  return error;
}

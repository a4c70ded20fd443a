import { MergewrightError } from "../errors.js";
import type { ErrorCode, ErrorDetails } from "../errors.js";

const ADVICE: Readonly<Partial<Record<ErrorCode, string>>> = {
  "artifact/damaged": "make the artifact again, or copy it again from where it came",
  "artifact/base": "give the base that the artifact was made over (--base), or make the artifact again over this one",
};

export function defect(code: ErrorCode, summary: string, details: Partial<ErrorDetails>): MergewrightError {
  const advice = ADVICE[code];
  return new MergewrightError(summary, { kind: "request", code, ...(advice !== undefined && { advice }), ...details });
}

import { MergewrightError } from "../errors.js";
import type { ErrorCode, ErrorDetails } from "../errors.js";
import { printable } from "../formats/safetensors/text.js";

/** An error about an adapter; names from files are made fit for a message. */
export function defect(code: ErrorCode, summary: string, details: Partial<ErrorDetails>): MergewrightError {
  const { where, found, expected, ...rest } = details;
  return new MergewrightError(summary, {
    kind: "request",
    code,
    ...rest,
    ...(found !== undefined && { found: printable(found) }),
    ...(expected !== undefined && { expected: printable(expected) }),
    ...(where !== undefined && {
      where: {
        ...where,
        ...(where.tensor !== undefined && { tensor: printable(where.tensor) }),
        ...(where.key !== undefined && { key: printable(where.key) }),
      },
    }),
  });
}

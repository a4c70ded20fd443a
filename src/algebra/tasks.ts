/** Tasks for a crew. */
import type { Matrix, TruncatedHow } from "./algebra.js";
import { algebraTask } from "./crew.js";
import type { TruncatedSvd } from "./truncated.js";

/** `Algebra.truncatedSvd` of one matrix. */
export const truncatedSvdTask = algebraTask(
  import.meta.url,
  "truncatedSvdTask",
  (algebra, { matrix, rank, how }: { matrix: Matrix; rank: number; how?: TruncatedHow }): TruncatedSvd =>
    algebra.truncatedSvd(matrix, rank, how),
);

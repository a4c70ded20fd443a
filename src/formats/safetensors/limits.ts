/** The most that a header may claim; every length read from a file is compared with one of these before it is used. */

/** Bytes of JSON; the limit of the reference implementation. */
export const HEADER_BYTES_LIMIT = 100_000_000;

/** Dimensions of a tensor; no array library holds more. */
export const RANK_LIMIT = 64;

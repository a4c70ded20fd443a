/**
 * Ranks of a sample of u32. Twin of `selectRanks` in definition.ts, digit by digit: 13, 11 and 8 bits from the
 * upper ones. `state` is memory of this module's own: how many values have each first digit, how many of those with the
 * first digit in FIRST have each second one, how many of those with the upper digits in SECOND have each third one, then
 * these two, then the result.
 */
const SECOND_COUNTS: usize = 4 * 8192;
const THIRD_COUNTS: usize = SECOND_COUNTS + 4 * 2048;
const FIRST: usize = THIRD_COUNTS + 4 * 256;
const SECOND: usize = FIRST + 4;
const BITS: usize = FIRST + 8;
const ABOVE: usize = FIRST + 12;
const AT_LEAST: usize = FIRST + 16;

/** Counts the first digits; no others are counted yet. */
export function select_start(values: usize, count: i32, state: usize): void {
  memory.fill(state, 0, SECOND_COUNTS);
  store<i32>(state, -1, FIRST);
  store<i32>(state, -1, SECOND);
  for (const end = values + (<usize>count << 2); values < end; values += 4) {
    const at = state + (<usize>(load<u32>(values) >>> 19) << 2);
    store<u32>(at, load<u32>(at) + 1);
  }
}

/**
 * Counts the next digit of the values whose upper digits, from bit `shift` on, are `digits`: unless these are the ones that
 * `counted` says, which it then does.
 */
// @ts-ignore: decorator
@inline function countWithin(
  values: usize, count: i32, digits: u32, shift: i32, next: i32, mask: u32, counts: usize, counted: usize,
): void {
  if (load<u32>(counted) == digits) return;
  store<u32>(counted, digits);
  memory.fill(counts, 0, <usize>(mask + 1) << 2);
  const end = values + (<usize>count << 2);
  const wanted = i32x4.splat(<i32>digits);
  for (const last = end - (<usize>(count & 3) << 2); values < last; values += 16) {
    const v = v128.load(values);
    let met = i32x4.bitmask(i32x4.eq(i32x4.shr_u(v, shift), wanted));
    while (met != 0) {
      const value = load<u32>(values + (<usize>ctz<i32>(met) << 2));
      const at = counts + (<usize>((value >>> next) & mask) << 2);
      store<u32>(at, load<u32>(at) + 1);
      met &= met - 1;
    }
  }
  for (; values < end; values += 4) {
    const value = load<u32>(values);
    if (value >>> shift != digits) continue;
    const at = counts + (<usize>((value >>> next) & mask) << 2);
    store<u32>(at, load<u32>(at) + 1);
  }
}

/** The one of so many digits that a rank has, from the largest down; those above and at or above it are left in `state`. */
// @ts-ignore: decorator
@inline function digitOf(rank: i32, counts: usize, digits: i32, state: usize): u32 {
  let above = load<i32>(state, ABOVE);
  let at = counts + (<usize>(digits - 1) << 2);
  while (above + load<i32>(at) < rank) { above += load<i32>(at); at -= 4; }
  store<i32>(state, above, ABOVE);
  store<i32>(state, above + load<i32>(at), AT_LEAST);
  return <u32>((at - counts) >>> 2);
}

/** @param rank 1 = the largest; at most `count`. */
export function select_rank(values: usize, count: i32, rank: i32, state: usize): void {
  const second = state + SECOND_COUNTS, third = state + THIRD_COUNTS;
  store<i32>(state, 0, ABOVE);
  const first = digitOf(rank, state, 8192, state);
  countWithin(values, count, first, 19, 8, 2047, second, state + FIRST);
  const upper = (first << 11) + digitOf(rank, second, 2048, state);
  countWithin(values, count, upper, 8, 0, 255, third, state + SECOND);
  store<u32>(state, (upper << 8) + digitOf(rank, third, 256, state), BITS);
}

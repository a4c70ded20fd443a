const P1: u64 = 0x9e3779b185ebca87;
const P2: u64 = 0xc2b2ae3d27d4eb4f;
const P3: u64 = 0x165667b19e3779f9;
const P4: u64 = 0x85ebca77c2b2ae63;
const P5: u64 = 0x27d4eb2f165667c5;

/** Twin of `xxh64` in numbers/checksum.ts with seed 0. Any length, any alignment. */
export function xxh64(address: usize, bytes: u32): u64 {
  const end = address + <usize>bytes;
  let hash = P5;
  if (bytes >= 32) {
    let a = P1 + P2;
    let b = P2;
    let c: u64 = 0;
    let d = 0 - P1;
    const last = address + <usize>(bytes & ~31);
    for (; address < last; address += 32) {
      a = round(a, load<u64>(address));
      b = round(b, load<u64>(address, 8));
      c = round(c, load<u64>(address, 16));
      d = round(d, load<u64>(address, 24));
    }
    hash = rotl<u64>(a, 1) + rotl<u64>(b, 7) + rotl<u64>(c, 12) + rotl<u64>(d, 18);
    hash = (hash ^ round(0, a)) * P1 + P4;
    hash = (hash ^ round(0, b)) * P1 + P4;
    hash = (hash ^ round(0, c)) * P1 + P4;
    hash = (hash ^ round(0, d)) * P1 + P4;
  }
  hash += <u64>bytes;
  for (; address + 8 <= end; address += 8) hash = rotl<u64>(hash ^ round(0, load<u64>(address)), 27) * P1 + P4;
  if (address + 4 <= end) {
    hash = rotl<u64>(hash ^ (<u64>load<u32>(address) * P1), 23) * P2 + P3;
    address += 4;
  }
  for (; address < end; address++) hash = rotl<u64>(hash ^ (<u64>load<u8>(address) * P5), 11) * P1;
  hash = (hash ^ (hash >> 33)) * P2;
  hash = (hash ^ (hash >> 29)) * P3;
  return hash ^ (hash >> 32);
}

// @ts-ignore: decorator
@inline function round(accumulator: u64, input: u64): u64 {
  return rotl<u64>(accumulator + input * P2, 31) * P1;
}

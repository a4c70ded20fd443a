import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { blockTreeChecksum, digestText, xxh64 } from "./checksum.js";

const text = (of: string): Uint8Array => new TextEncoder().encode(of);

/** The generator of xxHash's own sanity check: the top byte of a running product. */
function sanityBytes(length: number): Uint8Array {
  let state = 2654435761n;
  return Uint8Array.from({ length }, () => {
    const byte = Number(state >> 56n);
    state = BigInt.asUintN(64, state * 11400714785074694797n);
    return byte;
  });
}

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);

/** XXH64 word for word after the specification, on BigInts. */
function reference(bytes: Uint8Array, seed: bigint): string {
  const [p1, p2, p3, p4, p5] = [
    11400714785074694791n,
    14029467366897019727n,
    1609587929392839161n,
    9650029242287828579n,
    2870177450012600261n,
  ] as const;
  const rotl = (value: bigint, by: bigint): bigint => u64((value << by) | (value >> (64n - by)));
  const read = (at: number, size: number): bigint => {
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = value * 256n + BigInt(bytes[at + i]!);
    return value;
  };
  const round = (accumulator: bigint, lane: bigint): bigint => u64(rotl(u64(accumulator + u64(lane * p2)), 31n) * p1);
  const merge = (accumulator: bigint, other: bigint): bigint => u64((accumulator ^ round(0n, other)) * p1 + p4);
  let at = 0;
  let hash: bigint;
  if (bytes.length < 32) {
    hash = u64(seed + p5);
  } else {
    let v = [u64(seed + p1 + p2), u64(seed + p2), seed, u64(seed - p1)];
    for (; at + 32 <= bytes.length; at += 32) v = v.map((lane, i) => round(lane, read(at + 8 * i, 8)));
    hash = u64(rotl(v[0]!, 1n) + rotl(v[1]!, 7n) + rotl(v[2]!, 12n) + rotl(v[3]!, 18n));
    for (const lane of v) hash = merge(hash, lane);
  }
  hash = u64(hash + BigInt(bytes.length));
  for (; at + 8 <= bytes.length; at += 8) hash = u64(rotl(hash ^ round(0n, read(at, 8)), 27n) * p1 + p4);
  for (; at + 4 <= bytes.length; at += 4) hash = u64(rotl(hash ^ u64(read(at, 4) * p1), 23n) * p2 + p3);
  for (; at < bytes.length; at++) hash = u64(rotl(hash ^ u64(read(at, 1) * p5), 11n) * p1);
  hash = u64((hash ^ (hash >> 33n)) * p2);
  hash = u64((hash ^ (hash >> 29n)) * p3);
  return (hash ^ (hash >> 32n)).toString(16).padStart(16, "0");
}

describe("xxh64", () => {
  it("gives published values", () => {
    assert.equal(xxh64(new Uint8Array(0)), "ef46db3751d8e999");
    assert.equal(xxh64(text("abc")), "44bc2cf5ad770999");
    assert.equal(xxh64(text("Nobody inspects the spammish repetition")), "fbcea83c8a378bf1");
  });

  it("gives the values of xxHash's sanity check", () => {
    const bytes = sanityBytes(222);
    // length, with seed 0, with seed 2654435761
    const table: readonly [number, string, string][] = [
      [0, "ef46db3751d8e999", "ac75fda2929b17ef"],
      [1, "e934a84adb052768", "5014607643a9b4c3"],
      [4, "9136a0dca57457ee", "caab286bd8e9fdb5"],
      [14, "8282dcc4994e35c8", "c3bd6bf63deb6df0"],
      [222, "b641ae8cb691c174", "20cb8ab7ae10c14a"],
    ];
    for (const [length, plain, seeded] of table) {
      assert.equal(xxh64(bytes.subarray(0, length)), plain);
      assert.equal(xxh64(bytes.subarray(0, length), 2654435761), seeded);
    }
  });

  it("agrees with a plain reference at every length up to 200, at any alignment", () => {
    const bytes = sanityBytes(203);
    for (let length = 0; length <= 200; length++) {
      const part = bytes.subarray(length % 3, (length % 3) + length);
      assert.equal(xxh64(part), reference(part, 0n), `length ${length}`);
      assert.equal(xxh64(part, 2 ** 53 - 1), reference(part, 2n ** 53n - 1n), `length ${length}, seeded`);
    }
  });

  it("carries between the halves of its 64-bit sums", () => {
    for (const fill of [0x00, 0x7f, 0x80, 0xff]) {
      const bytes = new Uint8Array(4096).fill(fill);
      assert.equal(xxh64(bytes), reference(bytes, 0n));
    }
  });

  it("reads shared memory", () => {
    const shared = new Uint8Array(new SharedArrayBuffer(100));
    shared.set(sanityBytes(100));
    assert.equal(xxh64(shared), xxh64(sanityBytes(100)));
  });
});

describe("blockTreeChecksum", () => {
  it("hashes the block checksums as little-endian words", () => {
    const digests = ["ef46db3751d8e999", "00000000000000ff"];
    const words = Uint8Array.of(0x99, 0xe9, 0xd8, 0x51, 0x37, 0xdb, 0x46, 0xef, 0xff, 0, 0, 0, 0, 0, 0, 0);
    assert.equal(blockTreeChecksum(digests), xxh64(words));
  });

  it("takes a kernel's signed results too", () => {
    const digests = ["ef46db3751d8e999", "44bc2cf5ad770999"];
    const signed = digests.map((digest) => BigInt.asIntN(64, BigInt(`0x${digest}`)));
    assert.ok(signed[0]! < 0n);
    assert.equal(blockTreeChecksum(signed), blockTreeChecksum(digests));
    assert.deepEqual(signed.map(digestText), digests);
  });

  it("of no blocks is the checksum of nothing", () => {
    assert.equal(blockTreeChecksum([]), "ef46db3751d8e999");
  });

  it("depends on the order of the blocks", () => {
    assert.notEqual(blockTreeChecksum([1n, 2n]), blockTreeChecksum([2n, 1n]));
  });
});

describe("digestText", () => {
  it("keeps leading zeros", () => {
    assert.equal(digestText(255n), "00000000000000ff");
  });
});

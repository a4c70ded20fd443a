/** What every `ByteSource` must do, whatever stands behind it. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import * as fc from "fast-check";
import { MergewrightError, type ErrorCode } from "../../src/errors.js";
import type { ByteSource } from "../../src/sources/source.js";

export interface Made {
  readonly source: ByteSource;
  /** Removes what the source stood on. */
  dispose?(): void | Promise<void>;
}

const BYTES = Uint8Array.from({ length: 70_001 }, (_, index) => (index * 31 + (index >> 8)) & 0xff);
const UNTOUCHED = 0xee;

/** @param make a source over exactly these bytes. */
export function sourceContract(name: string, make: (bytes: Uint8Array) => Made | Promise<Made>): void {
  describe(`${name} keeps the contract of a source`, () => {
    let made: Made;
    let source: ByteSource;

    before(async () => {
      made = await make(BYTES);
      source = made.source;
    });

    after(async () => {
      await source.close();
      await made.dispose?.();
    });

    it("knows its size and has a label", () => {
      assert.equal(source.stamp.size, BYTES.length);
      assert.equal(typeof source.stamp.version, "string");
      assert.notEqual(source.label, "");
    });

    it("reads any range", async () => {
      const range = fc
        .tuple(fc.nat(BYTES.length), fc.nat(BYTES.length))
        .map(([a, b]) => [Math.min(a, b), Math.max(a, b)]);
      await fc.assert(
        fc.asyncProperty(range, async ([begin, end]) => {
          const into = new Uint8Array(end! - begin!);
          await source.read(begin!, into);
          assert.deepEqual(into, BYTES.slice(begin, end));
        }),
        { seed: 1, numRuns: 25, examples: [[[0, BYTES.length]], [[0, 1]], [[BYTES.length - 1, BYTES.length]]] },
      );
    });

    it("fills a view inside a larger buffer and nothing around it", async () => {
      const buffer = new Uint8Array(300).fill(UNTOUCHED);
      await source.read(1234, buffer.subarray(100, 200));
      assert.deepEqual(buffer.subarray(100, 200), BYTES.subarray(1234, 1334));
      assert.ok(buffer.subarray(0, 100).every((byte) => byte === UNTOUCHED));
      assert.ok(buffer.subarray(200).every((byte) => byte === UNTOUCHED));
    });

    it("reads into shared WebAssembly memory", async () => {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
      const view = new Uint8Array(memory.buffer, 4096, 1000);
      await source.read(17, view);
      assert.deepEqual(Uint8Array.from(view), BYTES.slice(17, 1017));
    });

    it("answers reads that are under way at the same time", async () => {
      const parts = [0, 5000, 60_000, 5000].map((offset) => ({ offset, into: new Uint8Array(3000) }));
      await Promise.all(parts.map(({ offset, into }) => source.read(offset, into)));
      for (const { offset, into } of parts) assert.deepEqual(into, BYTES.slice(offset, offset + 3000));
    });

    it("reads nothing, anywhere up to the end", async () => {
      for (const offset of [0, 1, BYTES.length]) await source.read(offset, new Uint8Array(0));
    });

    const beyond = [
      { title: "one byte past the end", offset: BYTES.length, length: 1 },
      { title: "across the end", offset: BYTES.length - 3, length: 4 },
      { title: "nothing, past the end", offset: BYTES.length + 1, length: 0 },
      { title: "far past the end", offset: 2 ** 53 - 1, length: 1 },
      { title: "before the start", offset: -1, length: 1 },
      { title: "between two bytes", offset: 0.5, length: 1 },
      { title: "nowhere", offset: Number.NaN, length: 1 },
    ];
    for (const { title, offset, length } of beyond) {
      it(`refuses to read ${title}, and touches nothing`, async () => {
        const into = new Uint8Array(length).fill(UNTOUCHED);
        await rejects("io/read", async () => source.read(offset, into));
        assert.ok(into.every((byte) => byte === UNTOUCHED));
      });
    }

    it("refuses to read after it was closed, and closes twice", async () => {
      const second = await make(BYTES);
      await second.source.close();
      await second.source.close();
      await rejects("io/read", async () => second.source.read(0, new Uint8Array(1)));
      await second.dispose?.();
    });
  });
}

/** The error of one code that a call must end with. */
export async function rejects(code: ErrorCode, call: () => unknown): Promise<MergewrightError> {
  let result: unknown;
  try {
    result = await call();
  } catch (error) {
    if (!(error instanceof MergewrightError)) throw error;
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail(`expected ${code}, but the call returned ${String(result)}`);
}

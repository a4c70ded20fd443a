import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { anyCase, drawStreams, PAIRS, settingsOf, strength } from "../../../test/laws/support/twin.js";
import { emr } from "../../methods/emr.js";
import type { TileMethod } from "../../methods/method.js";
import { tallMasks } from "../../methods/tall_masks.js";
import { change, widen } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { contextBytes, KernelContext } from "../context.js";
import type { KernelDtype } from "../convert/binding.js";
import { createMemory, loadKernels } from "../load.js";
import { MaskMaker, masksBytes } from "./binding.js";
import { makeMask } from "./definition.js";

const ROWS = 10;
const CONTEXT = 65_536;
const MASKS = CONTEXT + 4096;
const STREAMS = MASKS + 65_536;
const STREAM_BYTES = 8192;
const memory = createMemory(STREAMS + (ROWS + 2) * STREAM_BYTES, true);
const kernels = loadKernels(memory);
const context = new KernelContext(memory, CONTEXT, ROWS);

interface Case {
  readonly method: TileMethod;
  readonly lambda: number;
  readonly from: KernelDtype;
  readonly to: KernelDtype;
  readonly models: readonly Uint8Array[];
  readonly base: Uint8Array;
  readonly shared: Uint8Array;
  /** Entries of the first tile, a multiple of eight, and of both; what follows in the streams is zero. */
  readonly cut: number;
  readonly count: number;
}

function floats(dtype: KernelDtype, bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  widen(dtype, bytes.subarray(0, count * DTYPE_BYTES[dtype]), values);
  return values;
}

function check({ method, lambda, from, to, models, base, shared, cut, count }: Case): void {
  const masking = method.masking!;
  const settings = settingsOf(
    method,
    {},
    models.map(
      (_, row): Record<string, number> => (method === tallMasks ? { mask_lambda: Math.abs(lambda) * (row + 1) } : {}),
    ),
  );
  const args = method.bind(settings, {});
  const put = (slot: number, bytes: Uint8Array, dtype: KernelDtype) => {
    const address = STREAMS + slot * STREAM_BYTES;
    new Uint8Array(memory.buffer, address, STREAM_BYTES).fill(0);
    new Uint8Array(memory.buffer, address, count * DTYPE_BYTES[dtype]).set(
      bytes.subarray(0, count * DTYPE_BYTES[dtype]),
    );
    return address;
  };
  const subtract = put(ROWS, base, from);
  const sharedAt = put(ROWS + 1, shared, to);
  // What a mask's neighbour in memory holds must not matter.
  new Uint8Array(memory.buffer, sharedAt + count * DTYPE_BYTES[to], 64).fill(0x7b);
  const inputs = models.map((bytes, slot) => put(slot, bytes, from));
  new Uint8Array(memory.buffer, CONTEXT, contextBytes(ROWS)).fill(0);
  const column = Object.values(args.columns)[0];
  const maker = new MaskMaker(kernels, context, MASKS, { models: models.length, entries: count, column });
  for (const [start, size] of [
    [0, Math.min(cut, count)],
    [cut, count - cut],
  ] as const) {
    if (size <= 0) continue;
    maker.add(masking.kernel(args)!, {
      format: from,
      count: size,
      padded: Math.ceil(size / 8) * 8,
      subtract: subtract + start * DTYPE_BYTES[from],
      inputs: inputs.map((address) => address + start * DTYPE_BYTES[from]),
      sharedFormat: to,
      shared: sharedAt + start * DTYPE_BYTES[to],
    });
  }
  const widened = floats(from, base, count);
  const stored = floats(to, shared, count);
  for (const [row, { bits, kept, change: changeSum, shared: sharedSum }] of maker.result().entries()) {
    const values = floats(from, models[row]!, count);
    change(values, widened, values);
    const expected = makeMask(values, stored, (c, s) => masking.keeps(c, s, row, args));
    assert.deepEqual(
      { bits: [...bits], kept, changeSum, sharedSum },
      {
        bits: [...expected.bits],
        kept: expected.kept,
        changeSum: expected.change,
        sharedSum: expected.shared,
      },
    );
  }
}

describe("the kernels of masks equal their definition, over any cut into tiles", () => {
  for (const [from, to] of PAIRS) {
    for (const method of [emr, tallMasks]) {
      it(`${method.name}, ${from}, shared change in ${to}`, () => {
        const property = fc.property(
          anyCase,
          strength,
          fc.nat(),
          fc.nat(7),
          ({ kind, models, count, seed }, lambda, at, less) => {
            const streams = drawStreams(kind, from, models + 1, count, seed);
            const base = streams.pop()!;
            const [shared] = drawStreams(kind, to, 1, count, seed + 1);
            const cut = 8 * (at % (count / 8 + 1));
            check({ method, lambda, from, to, models: streams, base, shared: shared!, cut, count: count - less });
          },
        );
        fc.assert(property, { seed: 6, numRuns: 60 });
      });
    }
  }
});

describe("makeMask", () => {
  it("by hand: bits from the lowest on, sums of what is kept", () => {
    const change = Float32Array.of(1, -2, 0, 3, 0.5, -1, 1, 1, -4);
    const shared = Float32Array.of(1, 2, 0, 3, -0.5, -2, 0, 1, -4);
    const run = makeMask(change, shared, (c, s) => emr.masking!.keeps(c, s, 0, { scalars: {}, columns: {} }));
    assert.deepEqual([...run.bits], [0b10101001, 0b1]);
    assert.equal(run.kept, 5);
    assert.equal(run.change, 13.5);
    assert.equal(run.shared, 1 + 3 + 2 + 1 + 4);
  });

  it("takes a bit per entry", () => {
    assert.equal(makeMask(new Float32Array(17), new Float32Array(17), () => true).bits.length, 3);
    assert.equal(masksBytes(1, 262_144) - masksBytes(0, 262_144), 64 + 262_144 / 8);
  });
});

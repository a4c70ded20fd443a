import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  anyCase,
  checkTwin,
  define,
  drawStreams,
  PAIRS,
  settingsOf,
  strength,
  type TwinCase,
} from "../../../test/laws/support/twin.js";
import type { Known, ParameterValue } from "../../methods/method.js";
import { ties } from "../../methods/ties.js";
import { narrow, widen } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";
import { applyKept } from "../prune/definition.js";

/** What the trim left of a statistics pass: thresholds by value, or a magnitude that an entry has. */
const threshold = fc.oneof(
  fc.constantFrom(0, 0.25, 0.5, 1, 2 ** -149, 2 ** -130, 3e38, Infinity),
  fc.record({ entry: fc.nat() }),
  fc.double({ min: 0, max: 0.1, noNaN: true }).map(Math.fround),
);
const choices = fc.record({
  lambda: strength,
  merge: fc.constantFrom("mean", "mean", "sum"),
  zero_sign: fc.constantFrom("majority", "positive", "negative"),
  vote: fc.constantFrom("weighted", "unweighted"),
  divide: fc.constantFrom("weights", "count"),
});

function known(thresholds: readonly number[], majority: boolean): Known {
  const votes = { positive: majority ? 2 : 1, negative: 1 };
  return { threshold: { thresholds, kept: thresholds.map(() => 0), entries: 1 }, votes };
}

describe("the ties kernels equal their definition", () => {
  for (const [from, to] of PAIRS) {
    for (const kernel of ["ties", "ties_weighted"]) {
      it(`${kernel}, ${from} to ${to}`, () => {
        const property = fc.property(
          anyCase,
          choices,
          fc.array(strength, { minLength: 9, maxLength: 9 }),
          fc.array(threshold, { minLength: 9, maxLength: 9 }),
          fc.boolean(),
          ({ kind, models, count, seed, ...rest }, values, weights, wanted, majority) => {
            const streams = drawStreams(kind, from, models + 1, count, seed);
            const base = streams.pop()!;
            const own = weights.slice(0, models).map((weight) => ({ weight: kernel === "ties" ? 1 : weight }));
            // A weight that differs from one asks for the weighted kernel.
            if (kernel === "ties_weighted" && own.every(({ weight }) => weight === 1)) own[0]!.weight = 0.5;
            const settings = settingsOf(ties, values, own);
            const plain: TwinCase = {
              ...{
                method: ties,
                args: ties.bind(
                  settings,
                  known(
                    own.map(() => 0),
                    majority,
                  ),
                ),
              },
              ...{ kernel, from, to, base, models: streams, ...rest },
            };
            if (plain.args.scalars.tally === 1 && values.vote === "unweighted" && kernel === "ties_weighted") {
              // Left to the definition: see `kernel` of the method.
              assert.equal(ties.kernel(plain.args), null);
              return;
            }
            // The signs of weighted entries are not those that voted.
            const opposed = plain.args.columns.weight!.some((weight) => !(weight > 0));
            if (values.vote === "unweighted" && opposed) {
              assert.equal(ties.kernel(plain.args), null);
              return;
            }
            const { changes } = define(plain);
            const thresholds = wanted
              .slice(0, models)
              .map((at, model) => (typeof at === "number" ? at : Math.abs(changes[model]![at.entry % count]!)))
              .map((value) => (Number.isNaN(value) ? 0 : value));
            checkTwin({ ...plain, args: ties.bind(settings, known(thresholds, majority)) });
          },
        );
        fc.assert(property, { seed: 3, numRuns: 70 });
      });
    }
  }
});

describe("the ties kernels by hand", () => {
  /** Columns of changes against a base of zeros, eight at most. */
  const check = (
    columns: readonly (readonly number[])[],
    thresholds: readonly number[],
    values: Readonly<Record<string, ParameterValue>>,
    weights?: readonly number[],
  ): number[] => {
    const models = columns[0]!.length;
    const results: number[][] = [];
    for (const [from, to] of PAIRS) {
      const stored = (value: (column: readonly number[]) => number) => {
        const floats = new Float32Array(8);
        columns.forEach((column, index) => (floats[index] = value(column)));
        const bytes = new Uint8Array(8 * DTYPE_BYTES[from]);
        narrow(from, floats, bytes);
        return bytes;
      };
      const settings = settingsOf(
        ties,
        values,
        Array.from({ length: models }, (_, i) => ({ weight: weights?.[i] ?? 1 })),
      );
      const args = ties.bind(settings, known(thresholds, values.zero_sign === "positive"));
      const twin: TwinCase = {
        ...{ method: ties, args, kernel: ties.kernel(args)!, from, to, shared: true, offset: 0 },
        base: stored(() => 0),
        models: Array.from({ length: models }, (_, i) => stored((column) => column[i]!)),
      };
      checkTwin(twin);
      results.push([...define(twin).out.subarray(0, columns.length)]);
    }
    for (const result of results) assert.deepEqual(result, results[0]);
    return results[0]!;
  };

  it("an exact cancellation takes the sign that zero_sign names", () => {
    const columns = [
      [2, -2],
      [1, -1],
      [3, 0],
      [0, 0],
    ];
    assert.deepEqual(check(columns, [0, 0], { zero_sign: "positive" }), [2, 1, 3, 0]);
    assert.deepEqual(check(columns, [0, 0], { zero_sign: "negative" }), [-2, -1, 3, 0]);
  });

  it("an entry equal to the threshold is kept, a smaller one dropped", () => {
    assert.deepEqual(check([[0.5], [-0.5], [0.25], [0.75], [-0]], [0.5], {}), [0.5, -0.5, 0, 0.75, 0]);
    assert.deepEqual(check([[0.5], [-4]], [Infinity], {}), [0, 0]);
  });

  it("a mean divides by the agreeing models, or by their weights", () => {
    const columns = [
      [1, 3, -2],
      [-1, -3, 2],
    ];
    assert.deepEqual(check(columns, [0, 0, 0], {}), [2, -2]);
    assert.deepEqual(check(columns, [0, 0, 0], {}, [1, 3, 1]), [2.5, -2.5]);
    assert.deepEqual(check(columns, [0, 0, 0], { divide: "count" }, [1, 3, 1]), [5, -5]);
    assert.deepEqual(check(columns, [0, 0, 0], { merge: "sum" }, [1, 3, 1]), [10, -10]);
    // Unweighted votes are 1 + 3 − 2 > 0, weighted ones 1 + 3 − 20 < 0.
    assert.deepEqual(
      check(columns, [0, 0, 0], { vote: "unweighted", divide: "count", zero_sign: "negative" }, [1, 1, 10]),
      [2, -2],
    );
    assert.deepEqual(check(columns, [0, 0, 0], { divide: "count" }, [1, 1, 10]), [-20, 20]);
  });

  it("a change of zero adds a zero of lambda's sign, whatever was elected", () => {
    for (const [from, to] of PAIRS) {
      const stored = (values: readonly number[]) => {
        const bytes = new Uint8Array(8 * DTYPE_BYTES[from]);
        narrow(from, Float32Array.from(values), bytes);
        return bytes;
      };
      const base = stored([-0, 0, -0, 0, -0, 0, -0, 0]);
      const others = [base, stored([0, 0, 0, 0, 0, 0, 0, 0]), stored([0, -0, -0, 0, 0, -0, -0, 0])];
      for (let models = 1; models <= 9; models++) {
        for (const zero_sign of ["positive", "negative"]) {
          for (const lambda of [1, -1]) {
            const own = Array.from({ length: models }, () => ({}));
            const args = ties.bind(
              settingsOf(ties, { lambda, zero_sign }, own),
              known(
                own.map(() => 0),
                false,
              ),
            );
            const inputs = own.map((_, model) => others[model % others.length]!);
            const rest = { shared: false, offset: 2 };
            assert.ok(checkTwin({ method: ties, args, kernel: "ties", from, to, base, models: inputs, ...rest }));
          }
        }
      }
    }
  });
});

describe("the ties kernels that look at masks equal pruning and then merging", () => {
  const memory = createMemory(2 ** 22, false);
  const kernels = loadKernels(memory);
  const context = new KernelContext(memory, 2 ** 16, 9);
  /** Of streams as stored, of masks, of streams as f32, and of results. */
  const [STORED, MASKS, FLOATS, OUT, SCRATCH] = [2 ** 17, 2 ** 21, 2 ** 19, 2 ** 20, 3 * 2 ** 20] as const;
  const STREAM_BYTES = 4 * 4096 + 64;

  const run = (kernel: string, models: number, entryBytes: number, count: number) => {
    context.clearCounters(models);
    const finite = kernels.get(kernel, "", models)(context.address);
    const bytes = new Uint8Array(memory.buffer, OUT, count * entryBytes).slice();
    return { finite, bytes, conflicts: context.counter(0) };
  };

  for (const format of ["BF16", "F16"] as const) {
    it(format, () => {
      let stood = 0;
      const property = fc.property(
        anyCase,
        choices,
        fc.array(fc.double({ min: 0.1, max: 20, noNaN: true })),
        (drawn, values, factors) => {
          const { kind, count, seed } = drawn;
          const models = Math.max(2, Math.min(8, drawn.models));
          const streams = drawStreams(kind, format, models + 1, count, seed);
          const own = Array.from({ length: models }, () => ({ weight: 1 }));
          const args = ties.bind(
            settingsOf(ties, { ...values, zero_sign: "positive" }, own),
            known(
              own.map(() => 0),
              true,
            ),
          );
          assert.equal(ties.maskedKernel!(args), "ties_masked");
          const floats = streams.map((stream) => {
            const entries = new Float32Array(count);
            widen(format, stream, entries);
            return entries;
          });
          const base = floats[models]!;
          context.setRows(models);
          for (const [index, value] of Object.values(args.scalars).entries()) context.setScalar(index, value);
          streams.forEach((stream, index) => new Uint8Array(memory.buffer).set(stream, STORED + index * STREAM_BYTES));
          const scales = own.map((_, model) => Math.fround(factors[model] ?? 1));
          const masks = own.map((_, model) =>
            Uint8Array.from(
              { length: Math.ceil(count / 8) },
              (_byte, at) => Math.imul(at + 3 * model + seed, 0x9e3779b1) >>> 24,
            ),
          );
          let allFinite = true;
          for (const [model, mask] of masks.entries()) {
            const changes = floats[model]!.map((value, p) => Math.fround(value - base[p]!));
            allFinite &&= changes.every(Number.isFinite);
            applyKept(changes, 0, mask, scales[model]!);
            new Float32Array(memory.buffer, FLOATS + model * STREAM_BYTES, count).set(changes);
            new Uint8Array(memory.buffer).set(mask, MASKS + model * 512);
            context.setColumn(model, 0, 0);
          }
          new Float32Array(memory.buffer, FLOATS + models * STREAM_BYTES, count).set(base);
          const bytes = DTYPE_BYTES[format];
          for (const model of masks.keys()) {
            context.setPointer(model, STORED + model * STREAM_BYTES);
            context.setColumnBits(model, 1, MASKS + model * 512);
            context.setColumn(model, 2, scales[model]!);
          }
          const stored = STORED + models * STREAM_BYTES;
          context.setTile(count, OUT, stored, stored, SCRATCH);
          const mine = run(`ties_masked${models}_${format}_${format}`, models, bytes, count);
          for (const model of masks.keys()) context.setPointer(model, FLOATS + model * STREAM_BYTES);
          const zeros = FLOATS + (models + 1) * STREAM_BYTES;
          new Float32Array(memory.buffer, zeros, count).fill(0);
          context.setTile(count, OUT, zeros, FLOATS + models * STREAM_BYTES, SCRATCH);
          const expected = run(`ties${models}_F32_${format}`, models, bytes, count);
          assert.equal(mine.finite, allFinite ? expected.finite : 0);
          if (mine.finite === 0) return;
          stood++;
          assert.deepEqual(mine, expected);
        },
      );
      fc.assert(property, { seed: 4, numRuns: 120 });
      assert.ok(stood > 30);
    });
  }
});

/** Every kernel against its definition, bit for bit, and divided among threads. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMemory } from "../../kernels/load.js";
import { ACTIVATIONS } from "./activation.js";
import { definitions, definitionsByName, SCRATCH_BYTES, WITH_SCRATCH } from "./definitions.js";
import type { KernelName } from "./definitions.js";
import { exp } from "./exp.js";
import { callsOf } from "../shares.js";
import { compileRuntime, loadRuntime } from "./load.js";
import { f32Machine, f64Machine } from "./machine.js";

/** Places of operands, in entries; what is before them is the module's. */
const A = 1024;
const B = A + 40_000;
const C = B + 40_000;
const D = C + 40_000;
const E = D + 40_000;
const F = E + 40_000;
const ENTRIES = F + 40_000;

/** A pointer, as opposed to a number. */
const at = (place: number) => ({ place });
type Argument = number | { readonly place: number };

const memory = createMemory(4 * ENTRIES + SCRATCH_BYTES, false);
const kernels = loadRuntime(memory, 4 * ENTRIES);

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) / 2 ** 24;
  };
}

/** Calls that are divided, as opposed to those that one thread makes. */
const divided = new Set<KernelName>();

/**
 * Runs a kernel and its definition on the same memory and compares all of it; the same with the kernel's shares for two
 * and three threads, the last first.
 * @param rooms the beginnings of what the kernel only works in, 2,000 entries each, of which shares use others.
 */
function same(
  name: KernelName,
  args: readonly Argument[],
  prepare?: (f: Float32Array, i: Int32Array) => void,
  rooms: readonly number[] = [],
): void {
  const f = new Float32Array(memory.buffer, 0, ENTRIES);
  const next = random(args.length + name.length);
  for (let index = A; index < ENTRIES; index++) f[index] = 4 * next() - 2;
  prepare?.(f, new Int32Array(memory.buffer, 0, ENTRIES));
  const expected = f.slice();
  definitionsByName[name](
    f32Machine(expected.buffer),
    ...args.map((arg) => (typeof arg === "number" ? arg : arg.place)),
  );
  const begun = f.slice();
  kernels[name](...args.map((arg) => (typeof arg === "number" ? arg : 4 * arg.place)));
  const bits = new Int32Array(memory.buffer, 0, ENTRIES);
  const wanted = new Int32Array(expected.buffer);
  const compare = (what: string) => {
    for (let index = 0; index < ENTRIES; index++) {
      if (bits[index] !== wanted[index])
        assert.fail(
          `${name}(${JSON.stringify(args)})${what} entry ${index}: ${f[index]} instead of ${expected[index]}`,
        );
    }
  };
  compare("");
  const step = {
    kernel: name,
    args: args.map((arg) => (typeof arg === "number" ? arg : ({ area: "arena", at: arg.place } as const))),
  };
  for (const count of [2, 3]) {
    f.set(begun);
    const shares = Array.from({ length: count }, (_, index) => callsOf(step, { index, count, least: 0 }));
    if (shares.filter((calls) => calls.length > 0).length > 1) divided.add(name);
    for (const call of shares.toReversed().flat()) {
      kernels[name](...call.args.map((arg) => (typeof arg === "number" ? arg : 4 * arg.at)));
    }
    for (const room of rooms) f.set(expected.subarray(room, room + 2000), room);
    compare(` in ${count} shares`);
  }
}

describe("gemm", () => {
  const shapes = [
    [4, 8, 4],
    [1, 1, 1],
    [5, 9, 3],
    [67, 33, 70],
    [3, 517, 5],
    [130, 12, 300],
    [7, 20, 513],
  ] as const;
  for (const [m, n, k] of shapes) {
    for (const transposed of [0, 1, 2, 3]) {
      it(`${m} x ${n} x ${k}, transposed ${transposed}`, () => {
        const [ta, tb] = [transposed & 1, transposed >> 1];
        const a = [at(A), (ta === 1 ? m : k) + 1, ta];
        const b = [at(B), (tb === 1 ? k : n) + 2, tb];
        same("gemm", [m, n, k, ...a, ...b, at(C), n + 3, 1, 0, 0]);
        same("gemm", [m, n, k, ...a, ...b, at(C), n, 0.3, at(D), 0]);
        same("gemm", [m, n, k, ...a, ...b, at(C), n, -1.5, 0, 1]);
      });
    }
  }

  it("is the product of matrices", () => {
    const machine = f64Machine(64);
    machine.f.set([1, 2, 3, 4, 5, 6], 1);
    machine.f.set([1, 0, 2, -1, 0, 1], 10);
    definitions.gemm(machine, 2, 2, 3, 1, 3, 0, 10, 2, 0, 20, 2, 1, 0, 0);
    assert.deepEqual([...machine.f.slice(20, 24)], [5, 1, 14, 1]);
  });
});

describe("attention", () => {
  for (const [batch, heads, keyHeads, queries, keys, size] of [
    [2, 4, 4, 7, 7, 8],
    [1, 6, 2, 5, 9, 6],
    [3, 2, 1, 13, 13, 4],
    [1, 1, 1, 70, 70, 3],
    [1, 2, 1, 9, 300, 2],
    [1, 1, 1, 300, 20, 5],
  ] as const) {
    const sizes = [batch, heads, keyHeads, queries, keys, size];
    const stride = (keys + 3) & ~3;
    const wide = heads * size + 2;
    const narrow = keyHeads * size;
    it(`products, ${sizes.join(" ")}`, () => {
      for (const [causal, past] of [
        [0, 0],
        [1, 0],
        [1, 4],
        [1, -8],
      ] as const) {
        same("heads_scores", [...sizes, at(A), wide, at(B), narrow, at(C), stride, 0.25, causal, past]);
        same("heads_mix", [...sizes, at(A), stride, at(B), narrow, at(C), wide, 1, causal, past]);
        same("heads_mix_t", [...sizes, at(A), stride, at(B), wide, at(C), narrow, 0.5, causal, past]);
      }
    });
    it(`softmax, ${sizes.join(" ")}`, () => {
      const lengths = (_: Float32Array, i: Int32Array) => i.set([keys, 2, 3], D);
      for (const [causal, window, past] of [
        [0, 0, 0],
        [1, 0, 0],
        [1, 0, 4],
        [1, 3, 0],
      ] as const) {
        same("softmax", [at(A), at(B), 0, 0, batch, heads, queries, keys, stride, causal, window, past]);
        same(
          "softmax",
          [at(A), at(A), at(C), at(D), batch, heads, queries, keys, stride, causal, window, past],
          lengths,
        );
      }
      for (const causal of [0, 1]) {
        same("softmax_vjp", [at(A), at(B), at(C), batch * heads, queries, keys, stride, causal, 4 * causal]);
      }
    });
  }
});

describe("norms", () => {
  for (const [rows, columns] of [
    [3, 128],
    [5, 7],
    [2, 2],
  ] as const) {
    it(`${rows} x ${columns}`, () => {
      same("layer_norm", [at(A), at(B), at(C), at(D), at(E), rows, columns, 1e-12]);
      same("layer_norm_vjp", [at(A), at(B), at(C), at(D), at(E), at(F), at(F + 1000), rows, columns]);
      same("layer_norm_vjp", [at(A), at(B), at(C), at(D), at(E), 0, 0, rows, columns]);
      same("rms_norm", [at(A), at(B), at(C), at(D), rows, columns, 1e-6]);
      same("rms_norm", [at(A), at(B), at(C), 0, rows, columns, 1e-6]);
      same("rms_norm_vjp", [at(A), at(B), at(C), at(D), at(E), at(F), rows, columns]);
      same("rms_norm_vjp", [at(A), at(B), at(C), 0, at(E), 0, rows, columns]);
    });
  }
});

describe("activations", () => {
  const wide = (f: Float32Array) => {
    for (let index = 0; index < 4096; index++) f[A + index]! *= 2 ** ((index % 16) - 8);
    f.set([0, -0, 1e-40, -1e-40, 88, -88, 300, -300], A);
  };
  for (const [kind, name] of ACTIVATIONS.entries()) {
    it(name, () => {
      same("activate", [kind, at(A), at(B), 4096], wide);
      same("activate_vjp", [kind, at(A), at(C), at(B), 4096], wide);
    });
  }

  it("rest on an exponential function that is right to 1.2e-7", () => {
    const machine = f32Machine(new ArrayBuffer(4));
    for (let x = -87; x < 88; x += 0.0137) {
      const a = Math.fround(x);
      assert.ok(Math.abs(exp(machine, a) / Math.exp(a) - 1) < 1.2e-7, String(a));
    }
  });

  it("have the values that tables give", () => {
    const machine = f64Machine(32);
    const known = { gelu: 0.8413447, gelu_tanh: 0.841192, quick_gelu: 0.8457958, silu: 0.7310586, relu: 1 };
    for (const [kind, name] of ACTIVATIONS.entries()) {
      machine.f[4] = 1;
      definitions.activate(machine, kind, 4, 8, 4);
      const expected = name === "tanh" ? 0.7615942 : known[name];
      assert.ok(Math.abs(machine.f[8]! - expected) < 3e-7, `${name} ${machine.f[8]}`);
    }
  });
});

describe("rows and entries", () => {
  it("add, multiply, fill", () => {
    same("add", [at(A), at(B), at(C), 1000]);
    same("add", [at(A), at(B), at(A), 1000]);
    same("multiply", [at(A), at(B), at(C), 1000]);
    same("fill", [at(A), 1000, 0.1]);
    same("square_sum", [at(A), at(B), 1000]);
  });
  for (const columns of [8, 6, 3]) {
    it(`rows of ${columns}`, () => {
      same("add_rows", [at(A), at(B), at(C), 12, columns, 4]);
      same("sum_rows", [at(A), at(B), 12, columns, columns + 5, 1]);
      same("sum_rows", [at(A), at(B), 12, columns, columns, 3]);
      same("copy_columns", [at(A), columns + 3, at(B), columns + 1, 5, columns]);
      const index = (_: Float32Array, i: Int32Array) => i.set([3, 0, 3, 1, 7, 5], D);
      same("take", [at(D), at(A), at(B), 6, columns], index);
      same("take_vjp", [at(D), at(A), at(B), 6, columns], index);
      same("spread", [at(D), at(A), at(B), columns, 2, 3, 4], index);
      same("spread_vjp", [at(D), at(A), at(B), columns, 2, 3, 4], index);
      same("prepend", [at(A), at(B), at(C), 3, 4, columns]);
      same("drop_first", [at(A), at(B), 3, 4, columns]);
    });
  }
  it("patches of images", () => {
    same("patches", [at(A), at(B), 2, 3, 9, 8, 4]);
  });
  for (const size of [8, 6, 32]) {
    it(`rotary positions, heads of ${size}`, () => {
      same("rope", [at(A), at(B), at(C), 10, 3, size, 5, 1]);
      same("rope", [at(A), at(A), at(C), 10, 3, size, 5, -1]);
    });
  }
});

describe("losses", () => {
  for (const classes of [10, 3, 64, 27]) {
    it(`of ${classes} classes`, () => {
      const prepare = (f: Float32Array, i: Int32Array) => {
        i.set([2, -1, 0, 1, 2], D);
        for (let row = 0; row < 5; row++) f[B + 4 * row + 1] = 1 + row;
      };
      same("row_stats", [at(A), at(D), at(B), 5, classes], prepare);
      same("row_stats", [at(A), 0, at(B), 5, classes]);
      same("cross_entropy_vjp", [at(A), at(B), at(D), at(E), at(C), 5, classes], prepare);
      const turn = (f: Float32Array, i: Int32Array) => {
        prepare(f, i);
        i[E] = 3 * classes + 2;
      };
      same("expected_vjp", [at(A), at(B), at(E), at(C), 5, classes], turn);
      same("entropy_vjp", [at(A), at(B), at(E), at(C), 5, classes], prepare);
    });
  }
});

it("the definitions are all there are", () => {
  const { exports } = new WebAssembly.Instance(compileRuntime(false), { env: { memory, abort: () => {} } });
  const names = Object.keys(exports).filter((name) => typeof exports[name] === "function");
  assert.deepEqual(names.sort(), Object.keys(definitions).sort());
  for (const name of WITH_SCRATCH) {
    assert.ok(Object.hasOwn(definitions, name));
  }
});

describe("gates and experts", () => {
  for (const [rows, experts, rank, top] of [
    [5, 3, 4, 1],
    [7, 8, 5, 2],
    [4, 1, 3, 1],
    [6, 4, 16, 4],
  ] as const) {
    it(`${rows} rows, top ${top} of ${experts}, gates of rank ${rank}`, () => {
      same("gate", [at(A), at(B), at(C), at(D), rows, experts, rank, top]);
    });
  }

  for (const [rows, inputs, outputs, rank, top, whole] of [
    [9, 7, 12, 3, 1, false],
    [10, 16, 9, 4, 2, false],
    [8, 6, 5, 1, 3, true],
  ] as const) {
    it(`${rows} x ${inputs} to ${outputs}, ${whole ? "whole" : `rank ${rank}`}, top ${top} of 3`, () => {
      const prepare = (_: Float32Array, i: Int32Array) => {
        for (let row = 0; row < rows; row++) {
          for (let t = 0; t < top; t++) i[B + row * top + t] = (row + t) % 3;
        }
      };
      const places = [at(A), at(B), at(C), whole ? 0 : at(D), at(E), whole ? 0 : at(F)];
      const rooms = [A + 2000, A + 4000, A + 6000];
      const room = [...rooms, A + 8000].map(at);
      same("experts", [...places, ...room, rows, inputs, outputs, rank, 3, top], prepare, rooms);
    });
  }
});

describe("calls", () => {
  it("are divided, but for sums into rows that indices name and what is rare", () => {
    const rest = Object.keys(definitions).filter((name) => !divided.has(name as KernelName));
    assert.deepEqual(rest.sort(), ["expected_vjp", "spread", "spread_vjp", "take_vjp"]);
  });

  it("that are small are one thread's", () => {
    const step = { kernel: "add", args: [0, 0, 0, 4092] } as const;
    assert.deepEqual(
      [0, 1].map((index) => callsOf(step, { index, count: 2, least: 4096 })),
      [[step], []],
    );
  });
});

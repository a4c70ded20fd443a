/**
 * Every operation's derivative against central differences, by the kernels' definitions in f64. What is differentiated is
 * the sum of the results weighted with fixed numbers.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ACTIVATIONS } from "../../src/runtime/kernels/activation.js";
import { f64Machine } from "../../src/runtime/kernels/machine.js";
import { attention, rope } from "../../src/runtime/operations/attention.js";
import { activate, add, addRows, multiply, split } from "../../src/runtime/operations/entries.js";
import { linear } from "../../src/runtime/operations/linear.js";
import { loss, lossOf } from "../../src/runtime/operations/loss.js";
import { layerNorm, rmsNorm } from "../../src/runtime/operations/norm.js";
import { patches, prepend, spread, take } from "../../src/runtime/operations/rows.js";
import { compile } from "../../src/runtime/program.js";
import type { Program } from "../../src/runtime/program.js";
import { runDefined } from "../../src/runtime/run.js";
import { padded, ParameterTable, Tape } from "../../src/runtime/tape.js";
import type { Tensor } from "../../src/runtime/tape.js";

/** Reproducible numbers between −1 and 1. */
const number = (index: number, salt: number) => Math.sin(12.9898 * (index + 1) + 78.233 * salt) % 1;

interface Compiled {
  readonly table: ParameterTable;
  readonly places: readonly number[];
  readonly entries: number;
  readonly program: Program;
}

function compiled(build: (tape: Tape) => void): Compiled {
  const table = new ParameterTable();
  const tape = new Tape(table, "all");
  build(tape);
  const places: number[] = [];
  let entries = 0;
  for (const parameter of table.list) {
    places.push(entries);
    entries += padded(parameter.entries);
  }
  return { table, places, entries, program: compile(tape, places) };
}

/** Runs it all. @returns what is handed out first, and the gradients of all weights. */
function run(
  { program, entries }: Compiled,
  weights: ArrayLike<number>,
): { out: Float64Array; gradients: Float64Array } {
  const { sizes } = program;
  const bases = { weights: 4, gradients: 4 + entries, arena: 4 + 2 * entries, inputs: 0, outputs: 0 };
  bases.inputs = bases.arena + sizes.arena;
  bases.outputs = bases.inputs + sizes.inputs;
  const machine = f64Machine(bases.outputs + sizes.outputs);
  // Memory that was never written must not matter.
  machine.f.fill(NaN, bases.arena);
  machine.f.set(weights, bases.weights);
  for (const { at, content } of program.inputs) {
    if (content instanceof Int32Array) machine.i.set(content, bases.inputs + at);
    else machine.f.set(content!, bases.inputs + at);
  }
  runDefined(machine, program, bases);
  const { at, entries: size } = program.outputs[0]!;
  return {
    out: machine.f.slice(bases.outputs + at, bases.outputs + at + size),
    gradients: machine.f.slice(bases.gradients, bases.gradients + entries),
  };
}

/** @param value what is differentiated, from what is handed out. */
function checkGradients(network: Compiled, value: (out: Float64Array) => number): void {
  const weights = Float64Array.from({ length: network.entries }, (_, index) => number(index, 3));
  const { gradients } = run(network, weights);
  const step = 1e-4;
  for (const [index, { name, entries }] of network.table.list.entries()) {
    let moved = 0;
    for (let entry = 0; entry < entries; entry++) {
      const at = network.places[index]! + entry;
      const difference = [1, -1].map((sign) => {
        const near = weights.slice();
        near[at]! += sign * step;
        return value(run(network, near).out);
      });
      const expected = (difference[0]! - difference[1]!) / (2 * step);
      // The polynomial for exp has steps of 1e-8 where its range reduction changes.
      assert.ok(Math.abs(gradients[at]! - expected) < 3e-4, `${name}[${entry}]: ${gradients[at]} against ${expected}`);
      moved = Math.max(moved, Math.abs(expected));
    }
    assert.ok(moved > 1e-3, `${name} moves nothing, so nothing was tested`);
  }
}

/** Differentiates Σ c_i y_i for a network that gives y. */
function check(build: (tape: Tape) => Tensor): void {
  const network = compiled((tape) => {
    const y = build(tape);
    tape.handOut("y", y);
    const content = Float32Array.from({ length: y.rows * y.columns }, (_, index) => number(index, 7));
    tape.backward(y, { tensor: tape.input("dy", y.rows, y.columns, content), owned: false });
  });
  const factors = network.program.inputs.find(({ name }) => name === "dy")!.content!;
  checkGradients(network, (out) => out.reduce((sum, value, index) => sum + value * factors[index]!, 0));
}

const indices = (tape: Tape, ...values: number[]) => tape.input("index", values.length, 1, Int32Array.from(values));

describe("the derivative of", () => {
  it("a linear layer", () => {
    const layer = { name: "l", inputs: 5, outputs: 3, bias: true, scale: 0.7 };
    check((tape) => linear(tape, layer, tape.parameter("x", [4, 5])));
    check((tape) => linear(tape, { ...layer, transposed: true }, tape.parameter("x", [4, 5])));
  });
  it("norms", () => {
    check((tape) => layerNorm(tape, "n", tape.parameter("x", [3, 6]), 1e-5));
    check((tape) => rmsNorm(tape, "n", tape.parameter("x", [3, 6]), 1e-5));
    check((tape) => rmsNorm(tape, null, tape.parameter("x", [3, 5]), 1e-5));
  });
  for (const kind of ACTIVATIONS) {
    it(kind, () => {
      check((tape) => activate(tape, kind, tape.parameter("x", [3, 5])));
    });
  }
  it("sums and products", () => {
    check((tape) => add(tape, tape.parameter("a", [2, 3]), tape.parameter("b", [2, 3])));
    check((tape) => multiply(tape, tape.parameter("a", [2, 3]), tape.parameter("b", [2, 3])));
    check((tape) => addRows(tape, tape.parameter("x", [6, 3]), tape.parameter("t", [2, 3]), 2));
  });
  it("something that is used several times", () => {
    check((tape) => {
      const x = tape.parameter("x", [2, 4]);
      const y = activate(tape, "silu", x);
      return add(tape, multiply(tape, y, y), add(tape, y, add(tape, x, y)));
    });
  });
  it("columns taken apart", () => {
    check((tape) => {
      const [a, b, c] = split(tape, tape.parameter("x", [2, 9]), 3);
      return multiply(tape, a!, add(tape, b!, c!));
    });
    check((tape) => {
      const [a, b] = split(tape, add(tape, tape.parameter("x", [2, 6]), tape.parameter("y", [2, 6])), 3);
      return multiply(tape, a!, b!);
    });
  });
  it("rows taken from a table and from activations", () => {
    check((tape) => take(tape, indices(tape, 2, 0, 2, 1), tape.parameter("t", [3, 3])));
    check((tape) => {
      const x = add(tape, tape.parameter("a", [3, 3]), tape.parameter("b", [3, 3]));
      return take(tape, indices(tape, 2, 0, 2, 1), x);
    });
  });
  it("biases spread from a table of buckets", () => {
    check((tape) => {
      const index = tape.input("buckets", 2, 3, Int32Array.of(0, 1, 2, 2, 0, 1));
      return spread(tape, index, tape.parameter("t", [3, 2]));
    });
  });
  it("a token put first, and patches of pixels", () => {
    check((tape) => {
      const content = Float32Array.from({ length: 2 * 2 * 16 }, (_, index) => number(index, 5));
      const image = { count: 2, channels: 2, height: 4, width: 4 };
      const pieces = patches(tape, tape.input("pixels", 2, 32, content), image, 2);
      const embedded = linear(tape, { name: "p", inputs: 8, outputs: 3, bias: true, shape: [3, 2, 2, 2] }, pieces);
      return prepend(tape, tape.parameter("token", [1, 1, 3]), embedded, 2);
    });
  });
  it("rotary positions", () => {
    check((tape) => {
      const table = Float32Array.from({ length: 3 * 4 }, (_, index) => number(index, 11));
      const x = add(tape, tape.parameter("a", [6, 8]), tape.parameter("b", [6, 8]));
      return rope(tape, x, tape.input("table", 3, 4, table), 2);
    });
  });
  it("entries seen in rows of another length", () => {
    check((tape) => {
      const x = add(tape, tape.parameter("a", [2, 6]), tape.parameter("b", [2, 6]));
      return tape.reshaped(rmsNorm(tape, "n", tape.reshaped(x, 4, 3), 1e-5), 2, 6);
    });
  });
  for (const [name, causal, window, masked, biased] of [
    ["attention", false, 0, false, false],
    ["causal attention", true, 0, false, false],
    ["attention in a window", true, 2, false, false],
    ["attention to sequences of several lengths", false, 0, true, false],
    ["attention with biases", true, 0, true, true],
  ] as const) {
    it(name, () => {
      check((tape) => {
        const shape = { batch: 2, heads: 4, keyHeads: 2, queries: 3, keys: 3, size: 2 };
        const states = {
          q: tape.parameter("q", [6, 8]),
          k: tape.parameter("k", [6, 4]),
          v: tape.parameter("v", [6, 4]),
        };
        const index = biased ? tape.input("buckets", 3, 3, Int32Array.of(0, 1, 2, 3, 0, 1, 4, 3, 0)) : null;
        return attention(tape, shape, states, 0.8, {
          causal,
          window,
          lengths: masked ? tape.input("lengths", 2, 1, Int32Array.of(3, 2)) : null,
          bias: index === null ? null : spread(tape, index, tape.parameter("bias", [5, 4])),
        });
      });
    });
  }
  it("attention to other rows than its own", () => {
    check((tape) => {
      const shape = { batch: 1, heads: 2, keyHeads: 2, queries: 2, keys: 5, size: 3 };
      const states = {
        q: tape.parameter("q", [2, 6]),
        k: tape.parameter("k", [5, 6]),
        v: tape.parameter("v", [5, 6]),
      };
      return attention(tape, shape, states, 1, { causal: false, window: 0, lengths: null, bias: null });
    });
  });

  for (const kind of ["cross-entropy", "entropy"] as const) {
    it(`${kind}, weighted`, () => {
      const weights = [0.5, -0.25, 2, 1];
      const network = compiled((tape) => {
        const x = add(tape, tape.parameter("a", [4, 5]), tape.parameter("b", [4, 5]));
        const targets = kind === "entropy" ? null : tape.input("targets", 4, 1, Int32Array.of(3, 0, 4, 2));
        loss(tape, kind, x, targets, tape.input("weights", 4, 1, Float32Array.from(weights)));
      });
      checkGradients(network, (out) => weights.reduce((sum, weight, row) => sum + weight * lossOf(kind, out, row), 0));
    });
  }
});

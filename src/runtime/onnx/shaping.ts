/** Shorthands over a graph: arithmetic on whole values, views of them in other sizes. */

import type { Graph, Value } from "./graph.js";

const product = (sizes: readonly number[]) => sizes.reduce((total, size) => total * size, 1);

/** The sizes of a sum or product of two values whose sizes match or are one. */
function joint(a: readonly number[], b: readonly number[]): number[] {
  const length = Math.max(a.length, b.length);
  const at = (dims: readonly number[], index: number) => dims[index - length + dims.length] ?? 1;
  return Array.from({ length }, (_, index) => Math.max(at(a, index), at(b, index)));
}

export class Shaping {
  constructor(readonly graph: Graph) {}

  scalar(value: number): Value {
    return this.graph.constant([value], []);
  }

  sizes(values: readonly number[]): Value {
    return this.graph.constant(values, [values.length], "int64");
  }

  reshape(x: Value, ...dims: readonly number[]): Value {
    if (x.dims.length === dims.length && x.dims.every((size, index) => size === dims[index])) return x;
    if (product(x.dims) !== product(dims)) throw new RangeError(`[${x.dims.join()}] is not [${dims.join()}]`);
    return this.graph.node("Reshape", [x, this.sizes(dims)], dims);
  }

  transpose(x: Value, ...order: readonly number[]): Value {
    return this.graph.node(
      "Transpose",
      [x],
      order.map((axis) => x.dims[axis]!),
      { perm: order },
    );
  }

  slice(x: Value, axis: number, from: number, to: number): Value {
    if (from === 0 && to === x.dims[axis]) return x;
    const dims = x.dims.map((size, index) => (index === axis ? to - from : size));
    return this.graph.node("Slice", [x, this.sizes([from]), this.sizes([to]), this.sizes([axis])], dims);
  }

  concat(axis: number, ...parts: readonly Value[]): Value {
    if (parts.length === 1) return parts[0]!;
    const total = parts.reduce((sum, { dims }) => sum + dims[axis]!, 0);
    const dims = parts[0]!.dims.map((size, index) => (index === axis ? total : size));
    return this.graph.node("Concat", parts, dims, { axis });
  }

  expand(x: Value, ...dims: readonly number[]): Value {
    return this.graph.node("Expand", [x, this.sizes(dims)], dims);
  }

  /** With zeros behind, along an axis. */
  pad(x: Value, axis: number, behind: number): Value {
    if (behind === 0) return x;
    const sizes = x.dims.map((size, index) => (index === axis ? size + behind : size));
    const added = [...x.dims.map(() => 0), ...sizes.map((size, index) => size - x.dims[index]!)];
    return this.graph.node("Pad", [x, this.sizes(added)], sizes);
  }

  filled(value: number, ...dims: readonly number[]): Value {
    return this.expand(this.scalar(value), ...dims);
  }

  add(a: Value, b: Value): Value {
    return this.graph.node("Add", [a, b], joint(a.dims, b.dims));
  }

  /** Of values of the same sizes. */
  sum(...values: readonly Value[]): Value {
    return values.length === 1 ? values[0]! : this.graph.node("Sum", values, values[0]!.dims);
  }

  subtract(a: Value, b: Value): Value {
    return this.graph.node("Sub", [a, b], joint(a.dims, b.dims));
  }

  multiply(a: Value, b: Value | number): Value {
    if (b === 1) return a;
    const right = typeof b === "number" ? this.scalar(b) : b;
    return this.graph.node("Mul", [a, right], joint(a.dims, right.dims));
  }

  divide(a: Value, b: Value): Value {
    return this.graph.node("Div", [a, b], joint(a.dims, b.dims));
  }

  apply(operator: "Exp" | "Sqrt" | "Erf" | "Sigmoid" | "Tanh" | "Relu" | "Reciprocal", x: Value): Value {
    return this.graph.node(operator, [x], x.dims);
  }

  /** Over the last axis, which stays with size one. */
  reduce(operator: "ReduceSum" | "ReduceMean" | "ReduceMax", x: Value): Value {
    const last = x.dims.length - 1;
    return this.graph.node(operator, [x, this.sizes([last])], [...x.dims.slice(0, last), 1], { keepdims: 1 });
  }

  /** Over the first axis, which goes: a product with a row of ones, since ONNX Runtime's own sums down columns are slower. */
  sumFirst(x: Value): Value {
    const [rows, ...rest] = x.dims as [number, ...number[]];
    const columns = product(rest);
    const inputs = [this.filled(1, 1, rows), this.reshape(x, rows, columns)];
    return this.reshape(this.graph.node("Gemm", inputs, [1, columns]), ...rest);
  }

  cast(x: Value, type: "int64" | "float32"): Value {
    return this.graph.node("Cast", [x], x.dims, { to: type === "int64" ? 7 : 1 });
  }
}

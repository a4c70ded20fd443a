/**
 * An ONNX graph under construction (the ONNX specification, IR version 10, operators of opset 23 and of ONNX Runtime's own
 * domain). Values have one writer and known sizes; a node that is asked for twice is there once.
 */

import { Message } from "./protobuf.js";

/** A value with its sizes, outermost first. */
export interface Value {
  readonly name: string;
  readonly dims: readonly number[];
}

export type ElementType = "float32" | "int32" | "int64";

export interface Port extends Value {
  readonly type: ElementType;
}

/** Whole numbers are integers unless wrapped: ONNX tells `1` from `1.0`. */
export type Attribute = number | string | readonly number[] | { readonly float: number };

export interface Node {
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface Constant extends Port {
  readonly values: readonly number[];
}

/** Operators that are not the standard's but ONNX Runtime's. */
const OWN_DOMAIN: ReadonlySet<string> = new Set(["FusedMatMul", "RotaryEmbedding"]);

export class Graph {
  readonly inputs: Port[] = [];
  readonly outputs: Port[] = [];
  readonly nodes: Node[] = [];
  readonly constants: Constant[] = [];
  /** What is handed out, by the name that it has inside. */
  readonly #handed = new Map<string, string>();
  readonly #known = new Map<string, readonly string[]>();

  input(name: string, dims: readonly number[], type: ElementType = "float32"): Value {
    const port = { name, dims, type };
    this.inputs.push(port);
    return port;
  }

  /** Hands a value out under a name: under its own where it can be, so that its node writes where the caller wants it. */
  output(name: string, value: Value): void {
    this.outputs.push({ name, dims: value.dims, type: "float32" });
    const made = this.nodes.some(({ outputs }) => outputs.includes(value.name));
    if (made && !this.#handed.has(value.name)) this.#handed.set(value.name, name);
    else this.nodes.push({ operator: "Identity", inputs: [value.name], outputs: [name], attributes: {} });
  }

  constant(values: readonly number[], dims: readonly number[], type: ElementType = "float32"): Value {
    const [name] = this.#once(JSON.stringify(["constant", type, dims, values]), 1);
    if (!this.constants.some((known) => known.name === name)) this.constants.push({ name: name!, dims, type, values });
    return { name: name!, dims };
  }

  /** @param dims of each output. */
  nodeOf(
    operator: string,
    inputs: readonly (Value | null)[],
    attributes: Readonly<Record<string, Attribute>>,
    ...dims: readonly (readonly number[])[]
  ): Value[] {
    const from = inputs.map((value) => value?.name ?? "");
    const before = this.#known.size;
    const outputs = this.#once(JSON.stringify([operator, from, attributes]), dims.length);
    if (this.#known.size > before) this.nodes.push({ operator, inputs: from, outputs, attributes });
    return outputs.map((name, index) => ({ name, dims: dims[index]! }));
  }

  /** A node with one output. */
  node(
    operator: string,
    inputs: readonly (Value | null)[],
    dims: readonly number[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Value {
    return this.nodeOf(operator, inputs, attributes, dims)[0]!;
  }

  #once(key: string, outputs: number): readonly string[] {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const names = Array.from({ length: outputs }, (_, index) => `v${this.#known.size}_${index}`);
    this.#known.set(key, names);
    return names;
  }

  /** The nodes with the names of what is handed out, without further outputs that nobody reads (in between: no name). */
  #named(): Node[] {
    const read = new Set(this.nodes.flatMap(({ inputs }) => inputs));
    const nameOf = (value: string) => this.#handed.get(value) ?? value;
    return this.nodes.map((node) => {
      const isWanted = (value: string) => read.has(value) || this.#handed.has(value);
      const last = node.outputs.findLastIndex(isWanted);
      const outputs = node.outputs.slice(0, Math.max(0, last) + 1);
      const named = outputs.map((value, index) => (index === 0 || isWanted(value) ? nameOf(value) : ""));
      return { ...node, inputs: node.inputs.map(nameOf), outputs: named };
    });
  }

  /** The file, as an inference session takes it. */
  finish(): Uint8Array {
    const graph = new Message();
    for (const node of this.#named()) graph.message(1, nodeMessage(node));
    graph.text(2, "pass");
    for (const constant of this.constants) graph.message(5, tensorMessage(constant));
    for (const port of this.inputs) graph.message(11, portMessage(port));
    for (const port of this.outputs) graph.message(12, portMessage(port));
    return new Message()
      .integer(1, 10)
      .message(7, graph)
      .message(8, new Message().text(1, "").integer(2, 23))
      .message(8, new Message().text(1, "com.microsoft").integer(2, 1))
      .finish();
  }
}

const TYPES: Readonly<Record<ElementType, number>> = { float32: 1, int32: 6, int64: 7 };

function nodeMessage({ operator, inputs, outputs, attributes }: Node): Message {
  const message = new Message();
  for (const input of inputs) message.text(1, input);
  for (const output of outputs) message.text(2, output);
  message.text(4, operator);
  for (const [name, value] of Object.entries(attributes)) message.message(5, attributeMessage(name, value));
  return OWN_DOMAIN.has(operator) ? message.text(7, "com.microsoft") : message;
}

function attributeMessage(name: string, value: Attribute): Message {
  const message = new Message().text(1, name);
  if (typeof value === "number") return message.integer(3, value).integer(20, 2);
  if (typeof value === "string") return message.text(4, value).integer(20, 3);
  if ("float" in value) return message.float(2, value.float).integer(20, 1);
  for (const item of value) message.integer(8, item);
  return message.integer(20, 7);
}

function tensorMessage({ name, dims, type, values }: Constant): Message {
  const message = new Message();
  for (const size of dims) message.integer(1, size);
  message.integer(2, TYPES[type]);
  if (type === "float32") return message.text(8, name).bytes(9, bytesOf(Float32Array.from(values)));
  const whole = type === "int32" ? Int32Array.from(values) : BigInt64Array.from(values, BigInt);
  return message.text(8, name).bytes(9, bytesOf(whole));
}

/** Raw data are little-endian, as every machine is that runs this. */
function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function portMessage({ name, dims, type }: Port): Message {
  const shape = new Message();
  for (const size of dims) shape.message(1, new Message().integer(1, size));
  const tensor = new Message().integer(1, TYPES[type]).message(2, shape);
  return new Message().text(1, name).message(2, new Message().message(1, tensor));
}

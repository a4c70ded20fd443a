/** Protocol-buffer messages as bytes: what little of the wire format ONNX files need. */
import { joined } from "../../numbers/joined.js";

/** A message under construction; fields are written in the order in which they are added. */
export class Message {
  readonly #parts: Uint8Array[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** A whole number; negative ones take ten bytes, as the format has it. */
  integer(field: number, value: number): this {
    return this.#append(varint(8 * field)).#append(varint(value));
  }

  float(field: number, value: number): this {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    return this.#append(varint(8 * field + 5)).#append(bytes);
  }

  bytes(field: number, value: Uint8Array): this {
    return this.#append(varint(8 * field + 2))
      .#append(varint(value.length))
      .#append(value);
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  message(field: number, value: Message): this {
    this.#append(varint(8 * field + 2)).#append(varint(value.#size));
    for (const part of value.#parts) this.#append(part);
    return this;
  }

  finish(): Uint8Array {
    return joined(Uint8Array, this.#parts);
  }

  #append(part: Uint8Array): this {
    this.#parts.push(part);
    this.#size += part.length;
    return this;
  }
}

function varint(value: number): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  while (rest >= 128n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

/** What kernels' calls are written out to. */
import type { Operand, Tensor } from "../tape.js";
import type { Graph, Value } from "./graph.js";
import { Shaping } from "./shaping.js";

/** How a kernel's calls are written out. */
export type Lowering = (lowered: Lowered, operands: readonly Operand[]) => void;

/** Queries that go through attention together, and how many keys, from the first, are seen by any of them. */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly keys: number;
}

/** Scores, and then attention's weights, that are not computed yet. */
export interface Unmixed {
  readonly queries: Value;
  readonly keys: Value;
  readonly alpha: number;
  /** Of weights: what is added to a span's scores before the softmax; `null` where nothing is. */
  readonly mask?: (span: Span) => Value | null;
  /** The scores, span by span; weights come out of the mixing only. */
  readonly scores: () => readonly Value[];
}

/** What a tape holds while it is written out. */
export class Lowered {
  readonly shaping: Shaping;
  readonly #values = new Map<string, Value | "zeros">();
  /** Values that kernels leave for their derivatives, by storage: mean and inverse deviation. */
  readonly #kept = new Map<string, readonly Value[]>();
  readonly #deferred = new Map<string, Unmixed>();

  constructor(readonly graph: Graph) {
    this.shaping = new Shaping(graph);
  }

  bind(area: Tensor["area"], storage: number, value: Value | "zeros"): void {
    this.#values.set(`${area} ${storage}`, value);
  }

  /** What a storage holds, in the sizes in which it was written; zeros in the tensor's own. */
  read(tensor: Tensor): Value {
    const value = this.#values.get(keyOf(tensor));
    if (value === undefined) throw new RangeError("a tensor is read before it is written");
    return value === "zeros" ? this.shaping.filled(0, tensor.rows, tensor.columns) : value;
  }

  /** The same as a matrix of the tensor's rows and columns. */
  matrix(tensor: Tensor): Value {
    return this.shaping.reshape(this.read(tensor), tensor.rows, tensor.columns);
  }

  write(tensor: Tensor, value: Value | "zeros"): void {
    this.#values.set(keyOf(tensor), value);
  }

  /** Adds to what a storage holds. */
  accumulate(tensor: Tensor, value: Value): void {
    const known = this.#values.get(keyOf(tensor));
    if (known === undefined || known === "zeros") this.write(tensor, value);
    else this.write(tensor, this.shaping.add(known, this.shaping.reshape(value, ...known.dims)));
  }

  isZeros(tensor: Tensor): boolean {
    return this.#values.get(keyOf(tensor)) === "zeros";
  }

  isWritten(tensor: Tensor): boolean {
    return this.#values.has(keyOf(tensor));
  }

  keep(tensor: Tensor, ...values: readonly Value[]): void {
    this.#deferred.delete(keyOf(tensor));
    this.#kept.set(keyOf(tensor), values);
  }

  kept(tensor: Tensor): readonly Value[] {
    return this.#deferred.get(keyOf(tensor))?.scores() ?? this.#kept.get(keyOf(tensor))!;
  }

  /** Notes what a storage is to hold, until it is asked for or mixed. */
  defer(tensor: Tensor, unmixed: Unmixed): void {
    this.#deferred.set(keyOf(tensor), unmixed);
  }

  deferred(tensor: Tensor): Unmixed | undefined {
    return this.#deferred.get(keyOf(tensor));
  }
}

function keyOf({ area, storage }: Tensor): string {
  return `${area} ${storage}`;
}

/**
 * A pass through a network as a list of kernel calls on tensors that have no address yet. An operation (operations/)
 * appends its kernel's call and leaves behind its vector-Jacobian rule; `backward` runs the rules from the last to the
 * first, and they append calls in turn. What results is plain data: a back end gives addresses to the tensors and runs
 * the calls, or writes them out for another engine.
 */

import type { KernelName } from "./kernels/definitions.js";
import type { Shape } from "./shapes.js";

/**
 * Where a tensor lies: in a thread's working memory, among the weights, among the sums of gradients (at the place of the
 * parameter), or in what is handed in and out with a part of a batch.
 */
export type Area = "arena" | "weights" | "gradients" | "inputs" | "outputs";

/** A matrix, row by row without gaps. */
export interface Tensor {
  readonly area: Area;
  /** Tensors with the same storage share their memory; in the areas of parameters the parameter's number. */
  readonly storage: number;
  /** Entry of the storage that it begins with, where not the first: columns of a wider matrix. */
  readonly first?: number;
  readonly rows: number;
  readonly columns: number;
  /** Whether a gradient is wanted of something that this tensor depends on. */
  readonly active: boolean;
}

/** `null` is an operand that is absent. */
export type Operand = Tensor | number | null;

export interface Call {
  readonly kernel: KernelName;
  readonly operands: readonly Operand[];
}

/** Something handed in: `content` is what it holds where that does not depend on the batch. */
export interface Handed {
  readonly name: string;
  readonly entries: number;
  /** Rows that it has, or that it is a sum over. */
  readonly rows: number;
  /** i32 instead of f32. */
  readonly whole: boolean;
  readonly content: Float32Array | Int32Array | null;
}

/** The parameters of a network in the order of their first use. */
export class ParameterTable {
  readonly #numbers = new Map<string, number>();
  readonly list: { readonly name: string; readonly shape: Shape; readonly entries: number }[] = [];

  /** @returns the parameter's number. */
  number(name: string, shape: Shape): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    this.#numbers.set(name, this.list.length);
    this.list.push({ name, shape, entries: shape.reduce((product, size) => product * size, 1) });
    return this.list.length - 1;
  }
}

/** A gradient on its way back; `owned` where nobody else holds it, so that its memory may be written over. */
export interface Gradient {
  readonly tensor: Tensor;
  readonly owned: boolean;
}

/** Adds what a tensor's consumers say about it. */
export type Rule = (gradients: readonly (Gradient | undefined)[]) => void;

interface Recorded {
  readonly outputs: readonly Tensor[];
  readonly rule: Rule;
}

export class Tape {
  readonly calls: Call[] = [];
  readonly inputs: Handed[] = [];
  readonly outputs: Handed[] = [];
  /** The call from which everything is run once more, so many times in all; what comes before it is kept. */
  again: { readonly from: number; readonly times: number } | null = null;
  /** Entries of each storage in the arena. */
  readonly storages: number[] = [];
  readonly #parameters: ParameterTable;
  readonly #wanted: ReadonlySet<string> | "all" | null;
  readonly #recorded: Recorded[] = [];
  readonly #gradients = new Map<Tensor, Gradient>();

  /** @param wanted parameters whose gradients are asked for; `null` where the tape only runs forward. */
  constructor(parameters: ParameterTable, wanted: ReadonlySet<string> | "all" | null) {
    this.#parameters = parameters;
    this.#wanted = wanted;
  }

  /** A parameter of `shape`, seen as a matrix with as many rows as its first axis has (a vector: one row). */
  parameter(name: string, shape: Shape): Tensor {
    const storage = this.#parameters.number(name, shape);
    const { entries } = this.#parameters.list[storage]!;
    const rows = shape.length > 1 ? shape[0]! : 1;
    const active = this.#wanted === "all" || (this.#wanted?.has(name) ?? false);
    return { area: "weights", storage, rows, columns: entries / rows, active };
  }

  /** Where a parameter's gradient is summed; `null` where it is not wanted. */
  gradientOf(parameter: Tensor): Tensor | null {
    return parameter.active ? { ...parameter, area: "gradients" } : null;
  }

  /** New memory; what it holds means nothing before it is written. */
  value(rows: number, columns: number, ...from: readonly Tensor[]): Tensor {
    this.storages.push(rows * columns);
    const active = from.some((tensor) => tensor.active);
    return { area: "arena", storage: this.storages.length - 1, rows, columns, active };
  }

  /** A tensor that takes the memory of another, which must not be needed any more. */
  over(tensor: Tensor): Tensor {
    return { ...tensor };
  }

  /** The same entries in rows of another length. */
  reshaped(tensor: Tensor, rows: number, columns: number): Tensor {
    const view = { ...tensor, rows, columns };
    if (tensor.active) {
      this.record([view], ([dy]) => {
        this.contribute(tensor, {
          tensor: { ...dy!.tensor, rows: tensor.rows, columns: tensor.columns },
          owned: dy!.owned,
        });
      });
    }
    return view;
  }

  /** The same tensor, whose gradient is wanted though no parameter's may be. */
  watched(tensor: Tensor): Tensor {
    const view = { ...tensor, active: this.#wanted !== null };
    this.record([view], ([dy]) => this.contribute(tensor, dy!));
    return view;
  }

  /** Entries that come with the batch, in f32, or constants where `content` is given. */
  input(name: string, rows: number, columns: number, content: Float32Array | Int32Array | null = null): Tensor {
    return this.#input({ name, entries: rows * columns, rows, whole: content instanceof Int32Array, content }, columns);
  }

  /** Whole numbers that come with the batch, in i32. */
  indices(name: string, rows: number, columns: number): Tensor {
    return this.#input({ name, entries: rows * columns, rows, whole: true, content: null }, columns);
  }

  #input(handed: Handed, columns: number): Tensor {
    this.inputs.push(handed);
    return { area: "inputs", storage: this.inputs.length - 1, rows: handed.rows, columns, active: false };
  }

  /** @param summed rows that it is a sum over, where they are not its own. */
  output(name: string, rows: number, columns: number, summed = rows): Tensor {
    this.outputs.push({ name, entries: rows * columns, rows: summed, whole: false, content: null });
    return { area: "outputs", storage: this.outputs.length - 1, rows, columns, active: false };
  }

  /** Hands a tensor out under a name. */
  handOut(name: string, x: Tensor): void {
    this.call("copy_columns", x, x.columns, this.output(name, x.rows, x.columns), x.columns, x.rows, x.columns);
  }

  /** Everything that is called from here on is run `times` times. */
  repeat(times: number): void {
    this.again = { from: this.calls.length, times };
  }

  call(kernel: KernelName, ...operands: readonly Operand[]): void {
    this.calls.push({ kernel, operands });
  }

  /** @param rule called once with the gradients of `outputs`, if any of them has one. */
  record(outputs: readonly Tensor[], rule: Rule): void {
    if (outputs.some(({ active }) => active)) this.#recorded.push({ outputs, rule });
  }

  /** Adds to a tensor's gradient; nothing where none is wanted. */
  contribute(x: Tensor, gradient: Gradient): void {
    if (!x.active) return;
    if (x.area === "weights") {
      const sum = this.gradientOf(x);
      this.call("add", sum, gradient.tensor, sum, padded(x.rows * x.columns));
      return;
    }
    const known = this.#gradients.get(x);
    if (known === undefined) {
      this.#gradients.set(x, gradient);
      return;
    }
    const into = known.owned ? known.tensor : gradient.owned ? gradient.tensor : this.value(x.rows, x.columns);
    this.call("add", known.tensor, gradient.tensor, into, padded(x.rows * x.columns));
    this.#gradients.set(x, { tensor: into, owned: true });
  }

  /** Runs the rules from the last to the first, beginning with the gradient of `y`. */
  backward(y: Tensor, gradient: Gradient): void {
    this.contribute(y, gradient);
    for (const { outputs, rule } of this.#recorded.toReversed()) {
      const gradients = outputs.map((output) => this.#gradients.get(output));
      if (gradients.some((known) => known !== undefined)) rule(gradients);
    }
  }

  /** What has been found of a tensor's gradient, once `backward` is done. */
  gradient(x: Tensor): Tensor | undefined {
    return this.#gradients.get(x)?.tensor;
  }
}

/** Memory is given out in whole vectors, so that kernels over entries need no rest. */
export function padded(entries: number): number {
  return (entries + 3) & ~3;
}

/** Tapes of networks that choose per input. */
import type { LinearLayer } from "./operations/linear.js";
import { linear } from "./operations/linear.js";
import type { ExpertStacks, TokenExperts } from "./routing.js";
import type { Shape } from "./shapes.js";
import { padded, Tape } from "./tape.js";
import type { ParameterTable, Tensor } from "./tape.js";

/** A tape on which parameters have the values of one choice. */
export class ExpertTape extends Tape {
  readonly #experts: ExpertStacks;
  readonly #expert: number | null;
  /** `[1, experts]`, of the part. */
  #weights: Tensor | null = null;
  readonly #made = new Map<string, Tensor>();

  /** @param expert the one that counts; `null`: all of them, with weights that come with the part. */
  constructor(parameters: ParameterTable, experts: ExpertStacks, expert: number | null) {
    super(parameters, null);
    this.#experts = experts;
    this.#expert = expert;
  }

  override parameter(name: string, shape: Shape): Tensor {
    const plain = super.parameter(name, shape);
    const made = this.#made.get(name) ?? this.#make(name, plain);
    this.#made.set(name, made);
    return made;
  }

  #make(name: string, plain: Tensor): Tensor {
    const whole = this.#experts.whole.get(name);
    if (whole !== undefined) return this.#sum(whole, plain);
    return this.#experts.factored.has(name) ? this.#multiplied(name, plain) : plain;
  }

  /** The shared values and the weighted sum of what experts add. */
  #sum(stack: string, plain: Tensor): Tensor {
    const { count } = this.#experts;
    const entries = plain.rows * plain.columns;
    const table = super.parameter(stack, [count, entries]);
    const y = this.value(plain.rows, plain.columns);
    if (this.#expert !== null) {
      // A row of the stack need not begin at a whole vector, which sums of rows allow.
      this.call("add_rows", plain, { ...table, first: this.#expert * entries }, y, 1, entries, 1);
    } else {
      this.call("gemm", 1, entries, count, this.#given(), count, 0, table, entries, 0, y, entries, 1, plain, 0);
    }
    return y;
  }

  /** Of a factored matrix that is no linear layer's, such as a table of embeddings: its entries for this choice. */
  #multiplied(name: string, plain: Tensor): Tensor {
    const { rows, columns } = plain;
    const { left, right, ranks } = this.#experts.factored.get(name)!;
    const { at, rank, total } = this.#span(ranks);
    const y = this.value(rows, columns);
    this.call("copy_columns", plain, columns, y, columns, rows, columns);
    if (rank === 0) return y;
    const u = { ...super.parameter(left, [total, rows]), first: at * rows };
    const v = { ...super.parameter(right, [total, columns]), first: at * columns };
    const weighted = this.#expert === null ? this.#scaled({ ...u, rows: rank }, this.#rankWeights(ranks), true) : u;
    this.call("gemm", rows, columns, rank, weighted, rows, 1, v, columns, 0, y, columns, 1, null, 1);
    return y;
  }

  /** y = x W^T + b of the shared weight, plus what the experts' factors make of x: no matrix is multiplied out. */
  readonly linear = (_: Tape, layer: LinearLayer, x: Tensor): Tensor => {
    const name = layer.weight ?? `${layer.name}.weight`;
    const factors = this.#experts.factored.get(name);
    if (factors === undefined) return linear(this, layer, x);
    const { inputs, outputs, scale = 1, transposed = false } = layer;
    this.#made.set(name, super.parameter(name, layer.shape ?? (transposed ? [inputs, outputs] : [outputs, inputs])));
    const y = linear(this, layer, x);
    this.#made.delete(name);
    const { at, rank, total } = this.#span(factors.ranks);
    if (rank === 0) return y;
    const [inner, outer] = transposed ? [factors.left, factors.right] : [factors.right, factors.left];
    const from = { ...super.parameter(inner, [total, inputs]), first: at * inputs };
    const to = { ...super.parameter(outer, [total, outputs]), first: at * outputs };
    const seen = this.value(x.rows, rank);
    this.call("gemm", x.rows, rank, inputs, x, inputs, 0, from, inputs, 1, seen, rank, scale, null, 0);
    const weighted = this.#expert === null ? this.#scaled(seen, this.#rankWeights(factors.ranks), false) : seen;
    this.call("gemm", x.rows, outputs, rank, weighted, rank, 0, to, outputs, 0, y, outputs, 1, null, 1);
    return y;
  };

  /** Which rows of a stack count. */
  #span(ranks: readonly number[]): { readonly at: number; readonly rank: number; readonly total: number } {
    const sum = (list: readonly number[]) => list.reduce((all, rank) => all + rank, 0);
    const total = sum(ranks);
    if (this.#expert === null) return { at: 0, rank: total, total };
    return { at: sum(ranks.slice(0, this.#expert)), rank: ranks[this.#expert]!, total };
  }

  #given(): Tensor {
    return (this.#weights ??= this.input("expert weights", 1, this.#experts.count));
  }

  /** The weight of each rank's expert, `[1, ranks]`. */
  #rankWeights(ranks: readonly number[]): Tensor {
    const { count } = this.#experts;
    const total = ranks.reduce((sum, rank) => sum + rank, 0);
    const spread = new Float32Array(count * total);
    let at = 0;
    for (const [expert, rank] of ranks.entries()) {
      spread.fill(1, expert * total + at, expert * total + at + rank);
      at += rank;
    }
    const key = `ranks ${ranks.join(" ")}`;
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const y = this.value(1, total);
    const table = this.input(key, count, total, spread);
    this.call("gemm", 1, total, count, this.#given(), count, 0, table, total, 0, y, total, 1, null, 0);
    this.#made.set(key, y);
    return y;
  }

  /** x with its columns, or its rows, multiplied by `factors`. */
  #scaled(x: Tensor, factors: Tensor, rows: boolean): Tensor {
    const zeros = this.input(
      `${rows ? "each" : "first"} ${x.rows}`,
      x.rows,
      1,
      Int32Array.from({ length: x.rows }, (_, row) => (rows ? row : 0)),
    );
    const y = this.value(x.rows, x.columns);
    if (!rows) {
      this.call("take", zeros, factors, y, x.rows, x.columns);
    } else {
      // One factor per row: as a product of a column and a row of ones.
      const ones = this.input(`ones ${x.columns}`, 1, x.columns, new Float32Array(x.columns).fill(1));
      this.call("gemm", x.rows, x.columns, 1, factors, 1, 0, ones, x.columns, 0, y, x.columns, 1, null, 0);
    }
    const z = this.value(x.rows, x.columns);
    this.call("multiply", x, y, z, padded(x.rows * x.columns));
    return z;
  }
}

/** Linear layers of which every row goes through the experts whose gates it projects on most. */
export function tokenRule(layers: TokenExperts) {
  return (tape: Tape, layer: LinearLayer, x: Tensor): Tensor => {
    const y = linear(tape, layer, x);
    const experts = layers.get(layer.weight ?? `${layer.name}.weight`);
    if (experts === undefined) return y;
    const { rows } = x;
    const { inputs, outputs } = layer;
    const { experts: count, top, gateRank, rank } = experts;
    const gates = tape.parameter(experts.gates, [count * gateRank, inputs]);
    const projections = tape.value(rows, count * gateRank);
    tape.call(
      "gemm",
      rows,
      count * gateRank,
      inputs,
      x,
      inputs,
      0,
      gates,
      inputs,
      1,
      projections,
      count * gateRank,
      1,
      null,
      0,
    );
    const shares = tape.output(`gate ${layer.name}`, rows, count);
    const chosen = tape.value(rows, top);
    const weights = tape.value(rows, top);
    tape.call("gate", projections, shares, chosen, weights, rows, count, gateRank, top);
    const left = tape.parameter(
      experts.left,
      experts.right === null ? [count * outputs, inputs] : [count * rank, outputs],
    );
    const right = experts.right === null ? null : tape.parameter(experts.right, [count * rank, inputs]);
    const bias = experts.bias === null ? null : tape.parameter(experts.bias, [count, outputs]);
    const gathered = tape.value(rows, inputs);
    const inner = tape.value(rows, Math.max(rank, 1));
    const made = tape.value(rows, outputs);
    const shape = [rows, inputs, outputs, rank, count, top] as const;
    tape.call("experts", x, chosen, weights, right, left, bias, gathered, inner, made, y, ...shape);
    return y;
  };
}

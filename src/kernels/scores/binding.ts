import type { Kernels } from "../load.js";

/** Bytes of the state of a range, a sum or a count. */
export const SCORE_STATE_BYTES = 64;

/** Kernels over a row of f32 scores in kernel memory; the number of scores is a multiple of eight. */
export interface ScoreKernels {
  readonly range: (scores: number, count: number, state: number) => void;
  readonly sum: (scores: number, count: number, state: number) => void;
  readonly squares: (scores: number, count: number, state: number) => void;
  readonly count: (scores: number, count: number, state: number) => void;
  /** Replaces each score by its key; see statistics/order.ts. */
  readonly keys: (scores: number, count: number) => void;
}

export function scoreKernels(kernels: Kernels): ScoreKernels {
  const get = (name: string) => kernels.get(`score_${name}`) as unknown as ScoreKernels["range"];
  return {
    range: get("range"),
    sum: get("sum"),
    squares: get("squares"),
    count: get("count"),
    keys: get("keys") as unknown as ScoreKernels["keys"],
  };
}

/** A bracket of keys (see statistics/order.ts) with the memory of its histogram. */
export interface ScoreBracket {
  readonly high: number;
  readonly guess: number;
  /** May be −1. */
  readonly low: number;
  readonly shift: number;
  /** Addresses. */
  readonly bins: number;
  readonly seen: number;
}

/** The states of a row's scores: views of kernel memory. */
export class ScoreStates {
  readonly #view: DataView;

  constructor(memory: WebAssembly.Memory, address: number, states: number) {
    this.#view = new DataView(memory.buffer, address, states * SCORE_STATE_BYTES);
  }

  startRange(state: number): void {
    const at = state * SCORE_STATE_BYTES;
    for (let lane = 0; lane < 4; lane++) {
      this.#view.setFloat32(at + 4 * lane, Number.POSITIVE_INFINITY, true);
      this.#view.setFloat32(at + 16 + 4 * lane, Number.NEGATIVE_INFINITY, true);
    }
    this.#view.setBigInt64(at + 32, 0n, true);
  }

  range(state: number): { least: number; most: number; positive: number } {
    const at = state * SCORE_STATE_BYTES;
    const lanes = (from: number) => [0, 4, 8, 12].map((lane) => this.#view.getFloat32(at + from + lane, true));
    return {
      least: Math.min(...lanes(0)),
      most: Math.max(...lanes(16)),
      positive: Number(this.#view.getBigInt64(at + 32, true)),
    };
  }

  startSum(state: number): void {
    for (let lane = 0; lane < 8; lane++) this.#view.setFloat64(state * SCORE_STATE_BYTES + 8 * lane, 0, true);
  }

  sum(state: number): number {
    const lane = (index: number) => this.#view.getFloat64(state * SCORE_STATE_BYTES + 8 * index, true);
    return lane(0) + lane(1) + (lane(2) + lane(3)) + (lane(4) + lane(5) + (lane(6) + lane(7)));
  }

  startCount(state: number, { high, guess, low, shift, bins, seen }: ScoreBracket): void {
    const at = state * SCORE_STATE_BYTES;
    const signed = (key: number) => (key ^ 0x8000_0000) | 0;
    const words = [signed(low + 1), signed(high), signed(guess), low, bins, shift, seen, 0];
    for (const [index, word] of words.entries()) this.#view.setInt32(at + 4 * index, word | 0, true);
    for (let index = 0; index < 3; index++) this.#view.setBigInt64(at + 32 + 8 * index, 0n, true);
  }

  counts(state: number): { atHigh: number; above: number; atLeast: number } {
    const count = (index: number) => Number(this.#view.getBigInt64(state * SCORE_STATE_BYTES + 32 + 8 * index, true));
    return { atHigh: count(0), above: count(1), atLeast: count(2) };
  }
}

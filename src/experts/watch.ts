/** What gates and routers did: shares of experts and entropies, for the report. */
import type { RunPart } from "../runtime/run_parts.js";

/** With the layer's name behind it: under what a gate's shares are handed out. */
export const GATE_OUTPUT = "gate ";

/** One routed layer. */
export interface GateReport {
  readonly layer: string;
  /** Share of rows whose largest share is each expert's. */
  readonly shares: readonly number[];
  /** Mean entropy of the gate over ln(experts): 1 is uniform. */
  readonly entropy: number;
}

/** Entropy over the largest possible one, averaged; 0 for a single expert. */
export function meanEntropy(all: readonly ArrayLike<number>[]): number {
  const sum = all.reduce((total, weights) => total + entropyOf(weights, 0, weights.length), 0);
  return all.length === 0 ? 0 : sum / all.length;
}

function entropyOf(values: ArrayLike<number>, first: number, count: number): number {
  if (count < 2) return 0;
  let sum = 0;
  for (let at = first; at < first + count; at++) {
    const share = values[at]!;
    if (share > 0) sum -= share * Math.log(share);
  }
  return sum / Math.log(count);
}

/** Adds up what the gates of parts of batches hand out. */
export class GateWatcher {
  readonly #experts: number;
  readonly #layers = new Map<string, { rows: number; entropy: number; readonly chosen: Float64Array }>();

  constructor(experts: number) {
    this.#experts = experts;
  }

  watch(parts: readonly RunPart[]): void {
    for (const { names, handed } of parts) {
      for (const name of names) {
        if (!name.startsWith(GATE_OUTPUT)) continue;
        const { values, rows } = handed(name);
        this.#add(name.slice(GATE_OUTPUT.length), values, rows);
      }
    }
  }

  #add(layer: string, shares: Float32Array, rows: number): void {
    const count = this.#experts;
    const known = this.#layers.get(layer) ?? { rows: 0, entropy: 0, chosen: new Float64Array(count) };
    this.#layers.set(layer, known);
    known.rows += rows;
    for (let row = 0; row < rows; row++) {
      let best = 0;
      for (let e = 1; e < count; e++) if (shares[row * count + e]! > shares[row * count + best]!) best = e;
      known.chosen[best]! += 1;
      known.entropy += entropyOf(shares, row * count, count);
    }
  }

  /** Means over the layers. */
  report(): { readonly shares: readonly number[]; readonly entropy: number; readonly layers: readonly GateReport[] } {
    const layers = [...this.#layers].map(([layer, { rows, entropy, chosen }]): GateReport => {
      return { layer, shares: [...chosen].map((count) => count / rows), entropy: entropy / rows };
    });
    const mean = (values: readonly number[]) =>
      values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
    return {
      layers,
      entropy: mean(layers.map(({ entropy }) => entropy)),
      shares: Array.from({ length: this.#experts }, (_, expert) => mean(layers.map(({ shares }) => shares[expert]!))),
    };
  }
}

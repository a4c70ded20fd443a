/** What merging updates is given, and what it gives back. */
import type { Algebra } from "../algebra/algebra.js";
import type { Adapter } from "../adapters/adapter.js";
import type { BaseNames } from "../adapters/target.js";
import type { Statistics } from "../collected/statistics.js";
import type { Checkpoint } from "../models/model.js";
import type { AdapterRecipe } from "../recipe/adapters.js";
import type { ByteSource } from "../sources/source.js";
import type { SharedModule } from "./gather.js";
import type { MergeSets } from "./merging.js";
import type { Recompressed } from "./recompress.js";
import type { ModuleResult, ModuleWork } from "./work.js";

/** What a platform supplies. */
export interface CombinePlatform {
  /** Of the calling thread. */
  readonly algebra: Algebra;
  readonly mergeSets: MergeSets;
  /** Works on modules, on as many threads as there are; `done` is called once for each, in any order. */
  readonly workOn: (
    works: readonly ModuleWork<ByteSource>[],
    done: (index: number, result: ModuleResult) => void,
  ) => Promise<void>;
  /** Works on one module on the next thread that is free; at most `threads` at a time make sense. */
  readonly run: (work: ModuleWork<ByteSource>) => Promise<ModuleResult>;
  readonly threads: number;
}

/** Told from time to time. */
export interface AdapterProgress {
  readonly doing: string;
  readonly done: number;
  readonly of: number;
}

/** What became of one module. */
export interface ModuleReport {
  readonly module: string;
  readonly rank: number;
  /** Frobenius norm of the merged update before it was cut to its rank; `null` where it was not looked at. */
  readonly norm: number | null;
  /** Share of that norm that the cut took away. */
  readonly error: number;
}

export interface CombineReport {
  readonly method: string;
  readonly dialect: string;
  /** `factors`: in factors, exactly or at the best of a rank; the others as in the recipe. */
  readonly space: "factors" | "core" | "full" | "knots" | "peft" | "vectors" | "blocks";
  readonly adapters: readonly { readonly name: string; readonly label: string }[];
  readonly modules: readonly ModuleReport[];
  /** Of all modules together: what the cut to their ranks took away, relative Frobenius. */
  readonly error: number;
  /** Of a dialect that does not compute the sum: its relative distance from Σ weight·ΔW; otherwise `null`. */
  readonly distance: number | null;
  readonly parameters: number;
  readonly warnings: readonly string[];
  /** What a solver found, by module. */
  readonly figures: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
}

/** The updates of all modules, one per expert, in the order of the modules; and what is to be said of them. */
export interface Updates {
  readonly updates: readonly (readonly Recompressed[])[];
  readonly space: CombineReport["space"];
  readonly distance: number | null;
  readonly warnings: readonly string[];
}

/** What every way of merging updates is given. */
export interface Given {
  readonly adapters: readonly Adapter[];
  readonly modules: readonly SharedModule[];
  readonly asked: AdapterRecipe;
  /** The model that the adapters change, where it was given. */
  readonly base: Checkpoint | null;
  readonly names: BaseNames | null;
  /** Per adapter what was collected of it. */
  readonly statistics: readonly (Statistics | null)[];
  readonly platform: CombinePlatform;
  readonly progress: (progress: AdapterProgress) => void;
}

/** What a module's weight is called where patterns match names. */
export function weightName(path: string, expert: number, experts: number): string {
  return experts === 1 ? `${path}.weight` : `${path}.${expert}.weight`;
}

/** Relative errors of parts as that of the whole. */
export function together(parts: readonly { readonly norm: number; readonly error: number }[]): number {
  let lost = 0;
  let all = 0;
  for (const { norm, error } of parts) {
    lost += (norm * error) ** 2;
    all += norm ** 2;
  }
  return all === 0 ? 0 : Math.sqrt(lost / all);
}

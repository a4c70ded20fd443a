import { compareModels } from "../analyse/compare.js";
import type { ReadingPlatform } from "../analyse/platform.js";
import type { EvaluateOptions } from "../evaluate/evaluate.js";
import type { Split, Task } from "../evaluate/task.js";
import type { Recipe } from "../recipe/recipe.js";
import { Desk, type SearchPlatform } from "../search/desk.js";
import type { LedgerFile } from "../search/ledger.js";
import { conflict } from "./conflict.js";
import { count } from "./count.js";
import type { Curve, CurveKind, CurveSettings, NamedTemplate } from "./curve.js";
import { flips } from "./flips.js";
import { Laboratory, type LaboratoryProgress } from "./laboratory.js";
import { oracle } from "./oracle.js";
import { redundancy } from "./redundancy.js";
import { sensitivity } from "./sensitivity.js";
import { sharesTo, Stages } from "../search/stages.js";
import { scoreSystem, storage } from "./storage.js";

/** By the name that a user gives. */
export const curveKinds = {
  redundancy,
  conflict,
  tasks: count,
  flips,
  lambda: sensitivity("lambda"),
  density: sensitivity("density"),
  oracle,
  storage,
} satisfies Record<string, CurveKind>;

export type CurveName = keyof typeof curveKinds;

export interface CurveOptions
  extends Pick<EvaluateOptions, "threads" | "backend" | "heads" | "store">,
    Partial<CurveSettings> {
  readonly ledger?: LedgerFile | null;
  readonly progress?: (progress: LaboratoryProgress) => void;
}

export interface CurveResult extends Curve {
  readonly kind: CurveName;
  readonly split: Split;
  readonly seconds: number;
}

/** Numbers are chosen by these curves, so they are drawn on validation data unless told otherwise. */
const CHOOSING: ReadonlySet<CurveName> = new Set(["lambda", "density"]);

/**
 * @param recipes of models with tasks of the same names; most kinds look at the first alone.
 * @throws MergewrightError for recipes without a base or with merges as models, and for models without a task.
 */
export async function drawCurve(
  kind: CurveName,
  recipes: readonly NamedTemplate[],
  tasks: readonly Task[],
  platform: SearchPlatform & { readonly reading: ReadingPlatform },
  options: CurveOptions,
): Promise<CurveResult> {
  const started = performance.now();
  const { values = null, density = 0.2, subsets = 1, seed = 0, oracle: signs = null, threads } = options;
  const split = options.split ?? (CHOOSING.has(kind) ? "val" : "test");
  const desk = new Desk(tasks, platform, { ...options, split });
  try {
    const laboratory = new Laboratory(desk, options.progress);
    const stages = new Stages();
    const context = {
      recipes,
      tasks,
      laboratory,
      compare: (base: string, models: readonly string[], kept: number, exclude: readonly string[]) =>
        compareModels(base, models, platform.reading, {
          ...{ threads, density: kept, exclude },
          progress: sharesTo((share) => laboratory.tell("comparing", share)),
        }),
      system: (recipe: Recipe, own: readonly Task[]) => {
        const how = { threads, split, ...(options.heads && { heads: options.heads }) };
        return laboratory.system(own, (tell) => scoreSystem(recipe, own, platform, how, tell, stages));
      },
      settings: { split, values, density, subsets, seed, oracle: signs },
    };
    laboratory.plan(curveKinds[kind].work(context));
    const curve = await curveKinds[kind].run(context);
    return { kind, split, ...curve, seconds: (performance.now() - started) / 1000 };
  } finally {
    await desk.close();
  }
}

/** Adapters in memory merged by the calling thread: the browser, and tests. */
import { openAlgebra } from "../../algebra/algebra.js";
import type { Algebra } from "../../algebra/algebra.js";
import type { WorkOnDifferences } from "../../lora/extract.js";
import { workOnDifference } from "../../lora/difference.js";
import { workOnModule } from "../../lora/work.js";
import type { CombinePlatform } from "../../lora/given.js";
import type { Method } from "../../methods/method.js";
import { mergingSets } from "./merge_sets.js";

/** @param own methods beside those of the catalogue. */
export function soloCombinePlatform(own: readonly Method[] = []): CombinePlatform {
  const algebra = openAlgebra();
  return {
    algebra,
    mergeSets: mergingSets(own),
    async workOn(works, done) {
      for (const [index, work] of works.entries()) done(index, await workOnModule(algebra, work));
    },
    run: (work) => workOnModule(algebra, work),
    threads: 1,
  };
}

export function soloDifferences(algebra: Algebra = openAlgebra()): WorkOnDifferences {
  return async (works, done) => {
    for (const [index, work] of works.entries()) done(index, await workOnDifference(algebra, work));
  };
}

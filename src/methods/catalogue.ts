// Written by scripts/catalogue.mjs from the files beside it; not to be edited.
import type { Method } from "./method.js";
import { adamerging } from "./adamerging.js";
import { addDifference } from "./add_difference.js";
import { apl } from "./apl.js";
import { arceeFusion } from "./arcee_fusion.js";
import { average } from "./average.js";
import { breadcrumbsTies } from "./breadcrumbs_ties.js";
import { breadcrumbs } from "./breadcrumbs.js";
import { consensus } from "./consensus.js";
import { dareLinear } from "./dare_linear.js";
import { dareTies } from "./dare_ties.js";
import { dellaLinear } from "./della_linear.js";
import { della } from "./della.js";
import { dppa } from "./dppa.js";
import { emr } from "./emr.js";
import { fisher } from "./fisher.js";
import { geometricMedian } from "./geometric_median.js";
import { isoC } from "./iso_c.js";
import { karcher } from "./karcher.js";
import { linear } from "./linear.js";
import { localizeAndStitch } from "./localize_and_stitch.js";
import { magmax } from "./magmax.js";
import { mats } from "./mats.js";
import { modelStock } from "./model_stock.js";
import { multislerp } from "./multislerp.js";
import { nearswap } from "./nearswap.js";
import { nuslerp } from "./nuslerp.js";
import { passthrough } from "./passthrough.js";
import { pcb } from "./pcb.js";
import { ram } from "./ram.js";
import { ramplusTl } from "./ramplus_tl.js";
import { regmean } from "./regmean.js";
import { sce } from "./sce.js";
import { slerp } from "./slerp.js";
import { smile } from "./smile.js";
import { swudi } from "./swudi.js";
import { tallMasks } from "./tall_masks.js";
import { taskArithmetic } from "./task_arithmetic.js";
import { ties } from "./ties.js";
import { trainDifference } from "./train_difference.js";
import { tsvM } from "./tsv_m.js";
import { twin } from "./twin.js";
import { wudi } from "./wudi.js";

/** Every merge method, sorted by file name. */
export const methods: readonly Method[] = [
  adamerging,
  addDifference,
  apl,
  arceeFusion,
  average,
  breadcrumbsTies,
  breadcrumbs,
  consensus,
  dareLinear,
  dareTies,
  dellaLinear,
  della,
  dppa,
  emr,
  fisher,
  geometricMedian,
  isoC,
  karcher,
  linear,
  localizeAndStitch,
  magmax,
  mats,
  modelStock,
  multislerp,
  nearswap,
  nuslerp,
  passthrough,
  pcb,
  ram,
  ramplusTl,
  regmean,
  sce,
  slerp,
  smile,
  swudi,
  tallMasks,
  taskArithmetic,
  ties,
  trainDifference,
  tsvM,
  twin,
  wudi,
];

export function findMethod(name: string): Method | undefined {
  return methods.find((method) => method.name === name);
}

/** What both entries export: everything that needs no platform. */
export type { Adapter, AdapterTensor, Ia3Module, LoraModule, TokensModule } from "./adapters/adapter.js";
export type { AdapterFormat } from "./adapters/convert.js";
export type { AdapterInspection } from "./adapters/inspect.js";
export type { UnfoldError } from "./adapters/unfolded.js";
export type { AdapterFiles } from "./adapters/write.js";
export type { RoutingMode } from "./experts/chooser.js";
export type { OpenRoutedOptions, RoutedLogits, RoutedNetwork } from "./experts/open_routed.js";
export type { FoldRequest } from "./fold.js";
export type { ExtractReport, ExtractWish } from "./lora/extract.js";
export type { AdapterProgress, CombineReport, ModuleReport } from "./lora/given.js";
export { MergewrightError } from "./errors.js";
export type { ErrorCode, ErrorDetails, ErrorKind, Where } from "./errors.js";
export type { MergeResult } from "./merge.js";
export { findMethod, methods } from "./methods/catalogue.js";
export { defineMethod } from "./methods/define.js";
export type { OwnMethod, OwnParameter } from "./methods/define.js";
export type {
  Arguments,
  Known,
  Method,
  MethodDeclaration,
  MixtureMethod,
  Need,
  Parameter,
  Settings,
  Tile,
  TileMethod,
} from "./methods/method.js";
export type { Checkpoint, StoredTensor } from "./models/model.js";
export type { Plan, PlannedTensor } from "./plan/types.js";
export type { Recipe } from "./recipe/recipe.js";
export { stringifyRecipe } from "./recipe/write.js";
export type {
  BackendName,
  Batch,
  Gradients,
  ImageBatch,
  Logits,
  Loss,
  Network,
  NetworkOptions,
  OpenNetwork,
  TappedNetwork,
  TextBatch,
  WeightSource,
} from "./runtime/network.js";
export type { Progress } from "./execute/meter.js";
export type { RunResult } from "./execute/run.js";
export type { Provenance } from "./report/provenance.js";
export { VERSION } from "./version.js";

/** Every kernel's definition, by the name of the WebAssembly export. */

import * as activation from "./activation.js";
import * as elementwise from "./elementwise.js";
import * as routed from "./experts.js";
import * as gather from "./gather.js";
import { gemm } from "../../algebra/kernels/gemm.js";
import * as heads from "./heads.js";
import * as loss from "./loss.js";
import type { Machine } from "./machine.js";
import * as norm from "./norm.js";
import { rope } from "./rope.js";
import * as squares from "./squares.js";
import * as softmaxes from "./softmax.js";

const { activate, activate_vjp } = activation;

export const definitions = {
  gemm,
  rope,
  activate,
  activate_vjp,
  ...elementwise,
  ...gather,
  ...routed,
  ...heads,
  ...loss,
  ...norm,
  ...softmaxes,
  ...squares,
} as const;

export type KernelName = keyof typeof definitions;

/** The same, for calls whose kernel is found by name. */
export const definitionsByName: Readonly<Record<KernelName, (machine: Machine, ...args: number[]) => void>> =
  definitions;

/** Those that need memory of their own behind their last argument. */
export const WITH_SCRATCH: ReadonlySet<KernelName> = new Set([
  "gemm",
  "heads_scores",
  "heads_mix",
  "heads_mix_t",
  "experts",
]);
export const SCRATCH_BYTES = 589_952;

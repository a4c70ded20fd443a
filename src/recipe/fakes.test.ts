/** Small methods for the tests of this folder; they declare and never compute. Named .test so as not to be published. */

import type { Method, MethodDeclaration } from "../methods/method.js";

function fake(declaration: Partial<MethodDeclaration> & Pick<MethodDeclaration, "name">): Method {
  return {
    title: "a fake",
    paper: null,
    description: "nothing",
    base: "required",
    models: { min: 1 },
    parameters: {},
    dialects: { paper: { meaning: "defaults", values: {} } },
    inputs: "changes",
    counters: {},
    grain: "tile",
    needs: () => null,
    bind: () => ({ scalars: {}, columns: {} }),
    combine: () => undefined,
    kernel: () => null,
    ...declaration,
  };
}

export const trimmer = fake({
  name: "trimmer",
  parameters: {
    density: { type: "number", default: 0.2, min: 0, max: 1, per: "model", meaning: "share kept" },
    lambda: { type: "number", default: 1, per: "tensor", meaning: "scale" },
    weight: { type: "number", default: 1, per: "model", meaning: "strength" },
    scope: {
      type: "choice",
      default: "model",
      choices: { model: "the whole model", tensor: "each tensor", true: "a choice with an awkward name" },
      per: "recipe",
      meaning: "where",
    },
    rounds: { type: "number", default: 3, min: 1, integer: true, per: "tensor", meaning: "how often" },
    normalize: { type: "flag", default: true, per: "recipe", meaning: "divide" },
    oracle: { type: "checkpoint", default: null, per: "recipe", meaning: "a checkpoint" },
  },
  dialects: {
    paper: { meaning: "defaults", values: {} },
    tool: { meaning: "as a tool does it", values: { scope: "tensor", lambda: 0.3 } },
  },
});

export const mixer = fake({
  name: "mixer",
  base: "unused",
  inputs: "weights",
  models: { min: 2, max: 3 },
  parameters: { weight: { type: "number", default: 1, per: "model", meaning: "strength" } },
  dialects: {},
});

export const blender = fake({ name: "blender", base: "optional", inputs: "weights" });

export const methods: readonly Method[] = [trimmer, mixer, blender];
export const context = { methods, file: "recipe.yaml" };

import { MergewrightError } from "../errors.js";
import type { Checkpoint } from "../models/model.js";
import { widen } from "../numbers/convert.js";
import { entriesOf, isFloat } from "../numbers/dtypes.js";
import type { Tensors } from "./architectures/architecture.js";
import type { WeightSource } from "./network.js";
import type { Shape } from "./shapes.js";

/** The weights of an open checkpoint, which must stay open while tensors are read. */
export function weightsOf(checkpoint: Checkpoint): WeightSource {
  const { label, config, tensors, shards } = checkpoint;
  return {
    label,
    config,
    names: [...tensors.keys()],
    shape: (name) => tensors.get(name)?.shape,
    async tensor(name) {
      const stored = tensors.get(name);
      if (stored === undefined) throw missing(label, name);
      if (!isFloat(stored.dtype)) {
        throw new MergewrightError("a weight is not of a float format", {
          kind: "request",
          code: "runtime/tensor",
          where: { file: label, tensor: name },
          found: stored.dtype,
          advice: "quantised checkpoints cannot be run",
        });
      }
      const bytes = new Uint8Array(stored.length);
      await shards[stored.shard]!.source.read(stored.offset, bytes);
      const values = new Float32Array(entriesOf(stored.shape));
      widen(stored.dtype, bytes, values);
      return values;
    },
  };
}

/** One source whose tensors with certain beginnings come from another, such as a task's own head. */
export function withHead(weights: WeightSource, head: WeightSource, beginnings: readonly string[]): WeightSource {
  const ofHead = (name: string) => beginnings.some((beginning) => name.startsWith(beginning));
  const source = (name: string) => (ofHead(name) ? head : weights);
  return {
    label: weights.label,
    config: weights.config,
    names: [...[...weights.names].filter((name) => !ofHead(name)), ...[...head.names].filter(ofHead)],
    shape: (name) => source(name).shape(name),
    tensor: (name) => source(name).tensor(name),
  };
}

export function tensorsOf(weights: WeightSource): Tensors {
  return {
    has: (name) => weights.shape(name) !== undefined,
    shape(name) {
      const found = weights.shape(name);
      if (found === undefined) throw missing(weights.label, name);
      return found;
    },
  };
}

/** @throws MergewrightError where a tensor that a network needs is missing or of another shape. */
export function checkTensor(weights: WeightSource, name: string, shape: Shape): void {
  const found = weights.shape(name);
  if (found === undefined) throw missing(weights.label, name);
  if (found.join() === shape.join()) return;
  throw new MergewrightError("a tensor has not the shape that the config says", {
    kind: "request",
    code: "runtime/tensor",
    where: { file: weights.label, tensor: name },
    expected: `[${shape.join(", ")}]`,
    found: `[${found.join(", ")}]`,
    advice: "config.json and weights must be of the same model",
  });
}

function missing(label: string, name: string): MergewrightError {
  return new MergewrightError("a tensor that the network needs is missing", {
    kind: "request",
    code: "runtime/tensor",
    where: { file: label, tensor: name },
    advice: "a merge without a task's head needs one: name the checkpoint that has it",
  });
}

/** The model that is scored: a checkpoint, on disk or merged in memory, seen as weights for a network. */

import { MergewrightError } from "../errors.js";
import { readTensor } from "../formats/safetensors/read.js";
import type { Checkpoint } from "../models/model.js";
import { widen } from "../numbers/convert.js";
import { entriesOf, isFloat } from "../numbers/dtypes.js";
import type { WeightSource } from "../runtime/network.js";

export function weightsOf(checkpoint: Checkpoint): WeightSource {
  const { label, config, tensors, shards } = checkpoint;
  return {
    label,
    config,
    names: [...tensors.keys()],
    shape: (name) => tensors.get(name)?.shape,
    async tensor(name) {
      const tensor = tensors.get(name);
      if (tensor === undefined) throw new RangeError(`${label} has no ${name}`);
      const { dtype, shape } = tensor;
      if (!isFloat(dtype)) {
        throw new MergewrightError("a tensor of a network holds no numbers that it can compute with", {
          kind: "request",
          code: "plan/dtype",
          where: { file: label, tensor: name },
          expected: "a floating-point format",
          found: dtype,
        });
      }
      const values = new Float32Array(entriesOf(shape));
      widen(dtype, await readTensor(shards[tensor.shard]!.source, tensor), values);
      return values;
    },
  };
}

/** Updates as the matrices they are, one at a time. */
import type { Algebra, Matrix } from "../algebra/algebra.js";
import type { Checkpoint } from "../models/model.js";
import { readEntries, readFactors, transposed } from "../adapters/adapter.js";
import type { Adapter, LoraModule } from "../adapters/adapter.js";
import { defect } from "../adapters/defect.js";
import { readModelTensor } from "./base_tensors.js";

/**
 * scaling·B·A of each expert, [out, in], in f32.
 * @param base where the module's weight is, which DoRA needs: its update is m/‖W + sBA‖·(W + sBA) − W, the norm over
 * the inputs of each output.
 * @throws adapter/base where DoRA has none.
 */
export async function denseUpdates(
  algebra: Algebra,
  adapter: Pick<Adapter, "label" | "source">,
  module: LoraModule,
  base: { readonly checkpoint: Checkpoint; readonly name: string } | null,
): Promise<Matrix[]> {
  const experts = await readFactors(adapter, module);
  const updates = experts.map(({ a, b, out, rank, in: width }) => {
    const product = algebra.multiply({ rows: out, columns: rank, data: b }, { rows: rank, columns: width, data: a });
    for (let i = 0; i < product.data.length; i++) product.data[i]! *= module.scaling;
    return product;
  });
  if (module.magnitude === null) return updates;
  if (base === null) {
    throw defect("adapter/base", "the update of a DoRA depends on the base", {
      where: { file: adapter.label, key: module.path },
      expected: "the base that the adapter was made for (--base)",
      advice: "give the base; the merged update then is a LoRA, of the rank you ask for, whose error is told",
    });
  }
  const magnitude = await readEntries(adapter, module.magnitude, module.path);
  const [update] = updates as [Matrix];
  const weight = await readModelTensor(base.checkpoint, base.name, update.data.length);
  const { rows, columns } = update;
  const turned = module.fanInFanOut ? transposed(weight.data, columns, rows) : weight.data;
  addMagnitude(update, turned, magnitude);
  return updates;
}

/** In place: from sBA to the whole change of a DoRA. @param weight [out, in]. */
function addMagnitude({ rows, columns, data }: Matrix, weight: Float32Array, magnitude: Float32Array): void {
  for (let row = 0; row < rows; row++) {
    const at = row * columns;
    let square = 0;
    for (let i = at; i < at + columns; i++) square += (weight[i]! + data[i]!) ** 2;
    const factor = magnitude[row]! / Math.sqrt(square);
    for (let i = at; i < at + columns; i++) data[i] = factor * (weight[i]! + data[i]!) - weight[i]!;
  }
}

/**
 * What PEFT's add_weighted_adapter does beside the factors, for better or worse. The merged adapter gets the config of the
 * first one, with r and alpha set to the new rank and no patterns:
 *
 * - with rsLoRA in it, the merged update is multiplied by sqrt(rank) once more;
 * - with DoRA in it, the magnitudes are the base's own row norms; trained ones are dropped;
 * - with lora_bias in it, the biases are zero; trained ones are dropped;
 * - with modules_to_save in it, the saved tensors are the base's; trained ones are dropped.
 *
 * Source: peft 0.21.2, tuners/lora/model.py, and what it makes of small adapters (peers/adapter_dialect.py).
 */
import type { Adapter } from "../../adapters/adapter.js";
import { defect } from "../../adapters/defect.js";
import { draftTensor } from "../../adapters/draft.js";
import type { DraftTensor } from "../../adapters/draft.js";
import { readModelTensor } from "../base_tensors.js";
import type { NewBiases } from "../biases.js";
import type { Given } from "../given.js";
import type { SharedModule } from "../gather.js";
import { PEFT } from "./methods.js";

/** What the merged adapter has beside its factors. */
export interface Quirks {
  readonly rsLora: boolean;
  /** Of DoRA, by path; `null` without it. */
  readonly magnitudes: ReadonlyMap<string, Float32Array> | null;
  readonly biases: NewBiases;
  /** Saved modules: the base's. */
  readonly whole: readonly DraftTensor[];
  readonly warnings: readonly string[];
}

export async function quirksOf(given: Given): Promise<Quirks> {
  const { adapters, modules } = given;
  refuse(adapters);
  const [first] = adapters as [Adapter];
  const { use_rslora: rsLora, use_dora: dora, lora_bias: bias } = first.config.fields;
  const biases = new Map<string, Float32Array>();
  if (bias) for (const { path, first: module } of modules) biases.set(path, new Float32Array(module.b.shape[0]!));
  return {
    rsLora: rsLora ?? false,
    magnitudes: dora ? await rowNorms(given, modules) : null,
    biases,
    whole: await savedOfBase(given),
    warnings: warningsOf(adapters),
  };
}

/** What PEFT itself refuses, or keeps in the model instead of the adapter. */
function refuse(adapters: readonly Adapter[]): void {
  const saving = adapters.filter(({ config }) => (config.fields.modules_to_save ?? []).length > 0);
  for (const adapter of adapters) {
    const { fields } = adapter.config;
    const why =
      (fields.target_parameters ?? []).length > 0
        ? "PEFT does not combine adapters of parameters (target_parameters)"
        : adapter.tokens.size > 0
          ? "PEFT leaves trained tokens in the model that it combines in, not in the combined adapter"
          : fields.bias !== "none"
            ? "PEFT leaves trained biases in the model that it combines in, not in the combined adapter"
            : saving.length > 1 && saving.includes(adapter)
              ? "PEFT does not combine several adapters with modules_to_save"
              : null;
    if (why === null) continue;
    throw defect("adapter/kind", `${why}, so there is nothing to be equal to`, {
      where: { file: adapter.label },
      advice: `leave out the dialect ${PEFT}`,
    });
  }
}

function warningsOf(adapters: readonly Adapter[]): string[] {
  const [first, ...others] = adapters as [Adapter, ...Adapter[]];
  const { fields } = first.config;
  const any = (has: (adapter: Adapter) => boolean) => adapters.some(has);
  const warnings: string[] = [];
  if (fields.use_rslora) {
    warnings.push(
      `PEFT keeps rsLoRA's flag of ${first.name} beside alpha = rank: the update is multiplied by the root of the rank`,
    );
  }
  if (any(({ config }) => config.fields.use_dora ?? false)) {
    warnings.push(
      fields.use_dora
        ? "PEFT drops the trained magnitudes of DoRA; the merged adapter has the base's own norms"
        : "PEFT drops the magnitudes of DoRA: the first adapter has none",
    );
  }
  if (any(({ lora }) => [...lora.values()].some(({ bias }) => bias !== null))) {
    warnings.push(`PEFT drops the biases of lora_bias${fields.lora_bias ? "; the merged adapter has zeros" : ""}`);
  }
  if (any(({ whole }) => whole.size > 0)) {
    warnings.push(
      first.whole.size > 0
        ? `PEFT drops what ${first.name} saved of modules_to_save; the merged adapter has the base's own tensors`
        : `PEFT drops what ${others.find(({ whole }) => whole.size > 0)!.name} saved of modules_to_save`,
    );
  }
  return warnings;
}

async function rowNorms(given: Given, modules: readonly SharedModule[]): Promise<Map<string, Float32Array>> {
  const norms = new Map<string, Float32Array>();
  for (const { path, first } of modules) {
    const [outputs, byColumns] = [first.b.shape[0]!, first.layout === "embedding" || first.fanInFanOut];
    const { data } = await ofBase(given, `${given.names?.find(path, "dotted") ?? path}.weight`);
    const squares = new Float64Array(outputs);
    const run = data.length / outputs;
    for (let i = 0; i < data.length; i++) squares[byColumns ? i % outputs : Math.floor(i / run)]! += data[i]! ** 2;
    norms.set(path, Float32Array.from(squares, Math.sqrt));
  }
  return norms;
}

async function savedOfBase(given: Given): Promise<DraftTensor[]> {
  const saved: DraftTensor[] = [];
  for (const [name, { key, shape, dtype }] of given.adapters[0]!.whole) {
    const { data } = await ofBase(given, name);
    saved.push(draftTensor(key, shape, data, dtype));
  }
  return saved;
}

function ofBase({ adapters, base }: Given, name: string) {
  if (base !== null) return readModelTensor(base, name);
  throw defect("adapter/base", "what PEFT makes of this adapter depends on the base", {
    where: { file: adapters[0]!.label, tensor: name },
    expected: "the base that the adapter was made for (--base)",
    advice: `give the base, or leave out the dialect ${PEFT}`,
  });
}

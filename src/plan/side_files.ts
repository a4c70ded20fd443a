import type { Checkpoint } from "../models/model.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { Recipe } from "../recipe/recipe.js";
import { folderOf } from "./artifact.js";
import type { OpenInputs } from "./types.js";
import type { PlannedSideFile } from "./types.js";
import { layerConfig } from "./layer_config.js";
import type { WantedTensors } from "./wanted.js";

/** config.json names formats as torch does. */
const TORCH_NAMES: Readonly<Record<FloatDtype, string>> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  F8_E4M3: "float8_e4m3fn",
  F8_E5M2: "float8_e5m2",
};

/** At the top and in the configs of parts (`text_config`): all weights have been converted. */
const DTYPE_VALUE = /("(?:torch_)?dtype"\s*:\s*)"[^"]*"/g;

export interface PlannedSideFiles {
  readonly files: readonly PlannedSideFile[];
  readonly warnings: readonly string[];
}

/**
 * Config, tokenizer and the other small files. The donor is the base, else the first model; a file that it lacks comes
 * from the first model that has it. Each separate head gets its model's own config.
 */
export function planSideFiles(recipe: Recipe, open: OpenInputs, wanted: WantedTensors): PlannedSideFiles {
  const { base, models } = open;
  const checkpoints = base === null ? models : [base, ...models];
  const files = new Map<string, PlannedSideFile>();
  for (const [input, { sideFiles }] of checkpoints.entries()) {
    for (const { name, text } of sideFiles) {
      if (!files.has(name)) files.set(name, text === undefined ? { name, input, file: name } : { name, text });
    }
  }
  const donor = checkpoints.find(({ config }) => config !== null);
  const made =
    donor === undefined
      ? null
      : layerConfig(donor, configText(donor, recipe.output.dtype), wanted, open, recipe.compat !== "strict");
  const config = made === null ? [] : [{ name: "config.json", text: made.text }];
  const source = recipe.mergekit === null ? [] : [{ name: "mergekit_config.yml", text: recipe.mergekit }];
  files.delete("mergekit_config.yml");
  return {
    files: [...config, ...source, ...files.values(), ...headConfigs(recipe, models)],
    warnings: made?.warnings ?? [],
  };
}

function headConfigs({ heads, models: entries, output }: Recipe, models: readonly Checkpoint[]): PlannedSideFile[] {
  if (heads !== "separate") return [];
  return models.flatMap((model, index) =>
    model.config === null
      ? []
      : [{ name: `${folderOf("heads", entries[index]!.name)}/config.json`, text: configText(model, output.dtype) }],
  );
}

/** The config as written; only its formats change with the weights'. */
function configText({ configText: text }: Checkpoint, dtype: FloatDtype | null): string {
  if (dtype === null) return text!;
  const name = TORCH_NAMES[dtype];
  const changed = text!.replaceAll(DTYPE_VALUE, `$1"${name}"`);
  return text!.match(DTYPE_VALUE) !== null ? changed : text!.replace("{", `{\n  "torch_dtype": "${name}",`);
}

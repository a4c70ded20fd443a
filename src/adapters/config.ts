/**
 * adapter_config.json as PEFT writes it: the fields that say what the tensors mean, with PEFT's defaults for those that
 * are absent. All others are kept in `values` and carried through.
 * Source: huggingface/peft 0.21.2, LoraConfig, IA3Config, TrainableTokensConfig.
 */
import * as v from "valibot";
import { printable } from "../formats/safetensors/text.js";
import { defect } from "./defect.js";

export const CONFIG_FILE = "adapter_config.json";

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Rank = v.pipe(v.number(), v.safeInteger(), v.minValue(1, "a rank of at least 1"));
const Alpha = v.pipe(v.number(), v.finite());
const Names = v.nullish(v.union([v.string(), v.array(v.string())]), null);
const Flag = v.nullish(v.boolean(), false);

const Fields = v.looseObject({
  peft_type: v.string(),
  base_model_name_or_path: v.nullish(v.string(), null),
  revision: v.nullish(v.string(), null),
  fan_in_fan_out: Flag,
  modules_to_save: v.nullish(v.array(v.string()), null),
  target_modules: Names,
  // LoRA.
  r: v.optional(Rank, 8),
  lora_alpha: v.optional(Alpha, 8),
  use_rslora: Flag,
  use_dora: Flag,
  lora_bias: Flag,
  bias: v.optional(v.string(), "none"),
  rank_pattern: v.nullish(v.record(v.string(), Rank), {}),
  alpha_pattern: v.nullish(v.record(v.string(), Alpha), {}),
  target_parameters: v.nullish(v.array(v.string()), null),
  trainable_token_indices: v.nullish(v.union([v.array(Count), v.record(v.string(), v.array(Count))]), null),
  ensure_weight_tying: Flag,
  // (IA)3.
  feedforward_modules: Names,
  // Trainable tokens on their own.
  token_indices: v.optional(v.array(Count), []),
});

/** Kinds of adapters that change weights, and nothing else. */
export type PeftType = "LORA" | "IA3" | "TRAINABLE_TOKENS";

/** Why other kinds cannot be folded or merged. */
const REFUSED: Readonly<Record<string, string>> = {
  PROMPT_TUNING: "prompt tuning puts vectors before the input and changes no weight",
  MULTITASK_PROMPT_TUNING: "prompt tuning puts vectors before the input and changes no weight",
  P_TUNING: "p-tuning puts vectors before the input and changes no weight",
  PREFIX_TUNING: "prefix tuning puts keys and values before those of the input and changes no weight",
  CARTRIDGE: "a cartridge puts keys and values before those of the input and changes no weight",
  ADAPTION_PROMPT: "an adaption prompt adds attention over learnt vectors and changes no weight",
  CPT: "context-aware prompt tuning puts vectors before the input and changes no weight",
  ADALORA: "AdaLoRA is a product of three factors with a mask of ranks, which is not read",
  LOHA: "a Hadamard product of two low-rank products (LoHa) is not read",
  LOKR: "a Kronecker product (LoKr) is not read",
  OFT: "a rotation of the weights (OFT) is not read",
  BOFT: "a rotation of the weights (BOFT) is not read",
  HRA: "a chain of reflections of the weights (HRA) is not read",
  VERA: "VeRA's shared random matrices are not read",
  FOURIERFT: "a Fourier transform of few coefficients (FourierFT) is not read",
  LN_TUNING: "tuned norms are whole tensors of the model: merge the models instead",
  POLY: "Poly routes between several adapters by task",
  XLORA: "X-LoRA routes between several adapters by token",
};

export interface AdapterConfig {
  readonly type: PeftType;
  /** What the adapter says that it was trained on. */
  readonly base: string | null;
  readonly fields: v.InferOutput<typeof Fields>;
  /** As the file has them, unknown ones too, in its order. */
  readonly values: Readonly<Record<string, unknown>>;
}

/** @param file for messages. @throws adapter/config, adapter/kind */
export function parseConfig(text: string, file: string): AdapterConfig {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw defect("adapter/config", "adapter_config.json is not JSON", {
      where: { file },
      found: cause instanceof Error ? cause.message : String(cause),
      advice: "download the file again",
      cause,
    });
  }
  return readConfigValues(content, file);
}

export function readConfigValues(content: unknown, file: string): AdapterConfig {
  const parsed = v.safeParse(Fields, content);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const { kind, expected, message, received } = issue;
    throw defect("adapter/config", "a field of adapter_config.json is not what PEFT writes", {
      where: { file, key: printable(v.getDotPath(issue) ?? "") },
      expected: kind === "schema" && expected !== null ? expected : message,
      found: received,
      advice: "mend the field, or save the adapter again",
    });
  }
  const fields = parsed.output;
  const type = fields.peft_type;
  if (type !== "LORA" && type !== "IA3" && type !== "TRAINABLE_TOKENS") throw refusedKind(type, file);
  return { type, base: fields.base_model_name_or_path, fields, values: content as Record<string, unknown> };
}

function refusedKind(type: string, file: string) {
  const known = Object.hasOwn(REFUSED, type) ? REFUSED[type] : undefined;
  return defect("adapter/kind", "this kind of adapter is not supported", {
    where: { file, key: "peft_type" },
    expected: "LORA, IA3 or TRAINABLE_TOKENS",
    found: known === undefined ? type : `${type}: ${known}`,
    advice: "merge the adapter with PEFT if it can, and give the whole model",
  });
}

/** Initialisations that moved the base away from what it was. */
const MOVES_BASE = /^(pissa|olora|corda|lora_ga|loftq)/;

/** Why a LoRA's change is not a function of the weights of the base alone. */
export function obstaclesOf({ type, values }: AdapterConfig): string[] {
  if (type !== "LORA") return [];
  const obstacles: string[] = [];
  const set = (key: string) => values[key] !== undefined && values[key] !== null && values[key] !== false;
  if (set("alora_invocation_tokens")) obstacles.push("it is activated by tokens of the input (aLoRA)");
  if (set("arrow_config")) obstacles.push("it routes between adapters by token (Arrow)");
  if (set("use_qalora")) obstacles.push("its inputs are averaged over groups (QA-LoRA)");
  if (set("use_bdlora")) obstacles.push("its factors are block-diagonal (BD-LoRA)");
  if (set("kasa_config"))
    obstacles.push("it cuts the base's singular values and has a diagonal between its factors (KaSA)");
  if (set("layer_replication"))
    obstacles.push("its layers are those of a base with repeated layers (layer_replication)");
  if (set("megatron_config")) obstacles.push("its factors are parts of a parallel model (Megatron)");
  const init = values["init_lora_weights"];
  if (typeof init === "string" && MOVES_BASE.test(init)) {
    obstacles.push(
      `its initialisation (${init}) changed the base; save it from PEFT with path_initial_model_for_weight_conversion`,
    );
  }
  return obstacles;
}

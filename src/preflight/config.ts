/** What the configs of models that are to be merged say differently. */
import { countOf } from "../report/units.js";
import { fewOf } from "./findings.js";
import type { Finding, Named } from "./findings.js";

type Config = Readonly<Record<string, unknown>>;

/** The same numbers of weights mean other networks. */
const HEADS = /^(?:num_attention_heads|num_key_value_heads|head_dim|n_head|num_heads)$/;
const SIZES =
  /^(?:hidden_size|intermediate_size|num_hidden_layers|d_model|d_ff|n_layer|n_embd|num_layers|num_local_experts|num_experts|moe_intermediate_size|vocab_size)$/;
/** Weights were trained for one value of these, and the result has one. */
const BEHAVIOUR =
  /^(?:rope_\w+|partial_rotary_factor|max_position_embeddings|original_max_position_embeddings|sliding_window|use_sliding_window|layer_types|hidden_act|hidden_activation|activation_function|\w*norm_eps|layer_norm_epsilon|\w*softcapping|query_pre_attn_scalar|attention_bias|attention_multiplier|embedding_multiplier|residual_multiplier|logits_scaling|position_embedding_type|scale_attn_\w+|num_experts_per_tok)$/;
const TOKENS = /^(?:bos|eos|pad|unk|sep|cls|mask|decoder_start|image|video|audio)_token_(?:id|index)$/;
/** Says nothing about the weights, or is looked at elsewhere. */
const IDLE =
  /^(?:_name_or_path|transformers_version|torch_dtype|dtype|use_cache|id2label|label2id|finetuning_task|problem_type|auto_map|num_labels|return_dict|output_\w+|initializer_range|\w*dropout\w*|\w*_pdrop)$/;

/** @param all the donor first. @param hasTokenizer the recipe makes one vocabulary of several. */
export function configFindings(all: readonly Named[], hasTokenizer: boolean): Finding[] {
  const findings: Finding[] = [...quantised(all), ...withoutConfig(all)];
  const read = all.flatMap(({ name, checkpoint: { config } }) => (config === null ? [] : [{ name, config }]));
  const [donor, ...others] = read;
  if (donor === undefined) return findings;
  const byKey = new Map<string, { name: string; value: unknown }[]>();
  for (const { name, config } of others) {
    const differing = differences(donor.config, config, "");
    const family = differing.find(([key]) => key === "model_type");
    // Between two architectures nothing else is worth telling.
    for (const [key, value] of family === undefined ? differing : [family]) {
      byKey.set(key, [...(byKey.get(key) ?? []), { name, value }]);
    }
  }
  const idle: string[] = [];
  for (const [key, values] of byKey) {
    const own = valueAt(donor.config, key);
    const said = values.map(({ name, value }) => `${shown(value)} in ${name}`);
    const what = `${key} is ${shown(own)} in ${donor.name}, but ${fewOf(said)}`;
    const last = key.slice(key.lastIndexOf(".") + 1);
    // What is not written is mostly the default that the other writes out.
    const isDefault = (own ?? null) === null || values.every(({ value }) => value === null);
    const finding = HEADS.test(last) && isDefault ? null : findingOf(last, what, donor.name, hasTokenizer);
    if (finding === null) idle.push(key);
    else findings.push(...finding);
  }
  if (idle.length > 0) {
    findings.push({
      ...{
        level: "note",
        topic: "config",
        what: `${countOf(idle.length, "other setting")} of the configs differ: ${fewOf(idle, 6)}`,
      },
      advice: `compare the config.json files if one of these matters; the result has that of ${donor.name}`,
    });
  }
  return findings;
}

/** @returns `null` for what goes into the list of other settings. */
function findingOf(key: string, what: string, donor: string, hasTokenizer: boolean): Finding[] | null {
  const config = { topic: "config", what } as const;
  if (IDLE.test(key) || (key === "vocab_size" && hasTokenizer)) return [];
  if (key === "model_type") {
    return [{ ...config, level: "warning", advice: "merge models of one architecture, fine-tuned from one base" }];
  }
  if (key === "architectures") {
    return [
      {
        ...config,
        level: "note",
        advice: `exclude heads that not all models have; the result is called what ${donor} is`,
      },
    ];
  }
  if (key === "tie_word_embeddings") {
    return [
      {
        ...config,
        level: "warning",
        advice: "check that the output head of the result is the one you want; the plan says what is merged",
      },
    ];
  }
  if (HEADS.test(key)) {
    return [
      {
        ...config,
        level: "problem",
        advice: "do not merge them entry by entry: the same places in their weights mean different things",
      },
    ];
  }
  if (SIZES.test(key)) {
    return [
      {
        ...config,
        level: "warning",
        advice: "merge models of one size; where only layers differ in number, use slices",
      },
    ];
  }
  if (BEHAVIOUR.test(key)) {
    return [
      {
        ...config,
        level: "warning",
        advice: `the result has the value of ${donor}: leave the others out, or change the result's config.json if theirs is right`,
      },
    ];
  }
  if (TOKENS.test(key)) {
    return [
      {
        ...config,
        level: hasTokenizer ? "note" : "warning",
        advice: `the result has the value of ${donor}: check where its texts end, or write tokenizer: into the recipe`,
      },
    ];
  }
  return null;
}

function quantised(all: readonly Named[]): Finding[] {
  return all.flatMap(({ name, checkpoint: { config } }): Finding[] => {
    if (config?.["quantization_config"] === undefined || config["quantization_config"] === null) return [];
    return [
      {
        ...{ level: "problem", topic: "config", what: `${name} holds quantised weights (quantization_config)` },
        advice: "dequantise it first, or take the weights that it was made from",
      },
    ];
  });
}

function withoutConfig(all: readonly Named[]): Finding[] {
  const lacking = all.filter(({ checkpoint }) => checkpoint.config === null).map(({ name }) => name);
  if (lacking.length === 0) return [];
  return [
    {
      ...{
        level: "note",
        topic: "config",
        what: `${fewOf(lacking)} ${lacking.length === 1 ? "has" : "have"} no config.json`,
      },
      advice: "check by hand that the architectures agree",
    },
  ];
}

/** Paths of keys whose values differ, with the other's value; parts such as text_config are looked into. */
function differences(a: Config, b: Config, path: string): [string, unknown][] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key): [string, unknown][] => {
    const at = `${path}${key}`;
    const [mine, theirs] = [a[key] ?? null, b[key] ?? null];
    if (JSON.stringify(mine) === JSON.stringify(theirs) || key === "quantization_config") return [];
    if (isConfig(mine) && isConfig(theirs) && key.endsWith("config")) return differences(mine, theirs, `${at}.`);
    return [[at, theirs]];
  });
}

function valueAt(config: Config, path: string): unknown {
  let value: unknown = config;
  for (const key of path.split(".")) value = isConfig(value) ? value[key] : undefined;
  return value;
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function isConfig(value: unknown): value is Config {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

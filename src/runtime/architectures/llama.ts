/**
 * Llama (H. Touvron et al., "LLaMA", 2023) and the language models built like it: Mistral (sliding windows), Qwen2 (biases
 * on queries, keys and values), Qwen3 (queries and keys normed head by head). RMS norm before each half of a block, rotary
 * positions, groups of heads that share keys, a gated MLP.
 */

import { attention, rope } from "../operations/attention.js";
import { activate, add, multiply } from "../operations/entries.js";
import { rmsNorm } from "../operations/norm.js";
import { take } from "../operations/rows.js";
import type { Config } from "../config.js";
import type { Tensor } from "../tape.js";
import type { Architecture, Definition, Interpreter, TextTensors } from "./architecture.js";
import { linearsOf, textOf, wantedRows } from "./parts.js";
import { rotaryFrequencies, rotaryTable } from "./rotary.js";

/** How the members of the family differ. */
interface Variant {
  /** Biases on queries, keys and values, and on the attention's output. */
  readonly biases: (config: Config) => { readonly qkv: boolean; readonly output: boolean };
  readonly headNorms: boolean;
  /** Window of a layer; 0 for none. */
  readonly window: (config: Config, layer: number) => number;
}

const oneFlag = (config: Config) => {
  const bias = config.flag("attention_bias", false);
  return { qkv: bias, output: bias };
};

/** Windows are named per layer, or switched on for all layers above `max_window_layers`. */
function qwenWindow(config: Config, layer: number): number {
  if (!config.flag("use_sliding_window", false) || !config.has("sliding_window")) return 0;
  const types = config.texts("layer_types");
  const slides =
    types.length > 0 ? types[layer] === "sliding_attention" : layer >= config.number("max_window_layers", 28);
  return slides ? config.count("sliding_window") : 0;
}

const VARIANTS: Readonly<Record<string, Variant>> = {
  LlamaForCausalLM: { biases: oneFlag, headNorms: false, window: () => 0 },
  MistralForCausalLM: {
    biases: () => ({ qkv: false, output: false }),
    headNorms: false,
    window: (config) => (config.has("sliding_window") ? config.count("sliding_window") : 0),
  },
  Qwen2ForCausalLM: { biases: () => ({ qkv: true, output: false }), headNorms: false, window: qwenWindow },
  Qwen3ForCausalLM: { biases: oneFlag, headNorms: true, window: qwenWindow },
};

export const llama: Architecture = {
  names: Object.keys(VARIANTS),
  define(config) {
    const variant = VARIANTS[config.texts("architectures").find((name) => Object.hasOwn(VARIANTS, name))!]!;
    return defineLlama(config, variant);
  },
};

function defineLlama(config: Config, variant: Variant): Definition {
  const width = config.count("hidden_size");
  const heads = config.count("num_attention_heads");
  const keyHeads = config.count("num_key_value_heads", heads);
  const size = config.count("head_dim", Math.floor(width / heads));
  const layers = config.count("num_hidden_layers");
  const inner = config.count("intermediate_size");
  const vocabulary = config.count("vocab_size");
  const eps = config.number("rms_norm_eps", 1e-6);
  const kind = config.activation("hidden_act", "silu");
  const tied = config.flag("tie_word_embeddings", false);
  const mlpBias = config.flag("mlp_bias", false);
  const { qkv, output } = variant.biases(config);
  if (heads % keyHeads !== 0) throw config.wrong("num_key_value_heads", `a divisor of ${heads} heads`);
  const frequencies = rotaryFrequencies(config, size);

  const block = (net: Interpreter, x: Tensor, layer: number, table: Tensor, { count, length }: TextTensors): Tensor => {
    const { tape } = net;
    const at = `model.layers.${layer}`;
    const project = linearsOf(net, `${at}.`);
    const before = rmsNorm(tape, `${at}.input_layernorm`, x, eps);
    const turned = (letter: "q" | "k", count: number) => {
      let states = project(`self_attn.${letter}_proj`, count * size, before, { bias: qkv });
      if (variant.headNorms) {
        const single = tape.reshaped(states, states.rows * count, size);
        const normed = rmsNorm(tape, `${at}.self_attn.${letter}_norm`, single, eps);
        states = tape.reshaped(normed, states.rows, states.columns);
      }
      return rope(tape, states, table, count);
    };
    const states = {
      q: turned("q", heads),
      k: turned("k", keyHeads),
      v: project("self_attn.v_proj", keyHeads * size, before, { bias: qkv }),
    };
    const shape = { batch: count, heads, keyHeads, queries: length, keys: length, size };
    const seen = { causal: true, window: variant.window(config, layer), lengths: null, bias: null };
    const context = attention(tape, shape, states, 1 / Math.sqrt(size), seen);
    const middle = add(tape, x, project("self_attn.o_proj", width, context, { bias: output }));
    const after = rmsNorm(tape, `${at}.post_attention_layernorm`, middle, eps);
    const gate = activate(tape, kind, project("mlp.gate_proj", inner, after, { bias: mlpBias }));
    const wide = multiply(tape, gate, project("mlp.up_proj", inner, after, { bias: mlpBias }));
    return add(tape, middle, project("mlp.down_proj", width, wide, { bias: mlpBias }));
  };

  return {
    input: { kind: "text", vocabulary, longest: Infinity, segments: 0, decoder: false },
    classes: vocabulary,
    rows: "positions",
    head: ["lm_head."],
    tokens: (length) => length,
    hidden: true,
    build(net, batch) {
      const { tape } = net;
      const text = textOf(batch);
      const embeddings = tape.parameter("model.embed_tokens.weight", [vocabulary, width]);
      const table = rotaryTable(tape, frequencies, text.length);
      let x = take(tape, text.ids, embeddings);
      for (let layer = 0; layer < layers; layer++) x = block(net, x, layer, table, text);
      let state: Tensor;
      if (net.hidden === undefined) state = rmsNorm(tape, "model.norm", wantedRows(tape, x, text), eps);
      else {
        const states = rmsNorm(tape, "model.norm", x, eps);
        net.hidden(states);
        state = wantedRows(tape, states, text);
      }
      const weight = tied ? { weight: "model.embed_tokens.weight" } : {};
      return linearsOf(net, "")("lm_head", vocabulary, state, { bias: false, ...weight });
    },
  };
}

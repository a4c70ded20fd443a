/**
 * GPT-2 (A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019), as `GPT2LMHeadModel`: learned
 * positions, layer norm before each half of a block, queries, keys and values from one layer, weights `[inputs, outputs]`.
 */

import { attention } from "../operations/attention.js";
import { activate, add, addRows, split } from "../operations/entries.js";
import { layerNorm } from "../operations/norm.js";
import { take } from "../operations/rows.js";
import type { Architecture } from "./architecture.js";
import { headSize, linearsOf, textOf, wantedRows } from "./parts.js";

export const gpt2: Architecture = {
  names: ["GPT2LMHeadModel"],
  define(config, tensors) {
    const width = config.count("n_embd");
    const heads = config.count("n_head");
    const layers = config.count("n_layer");
    const longest = config.count("n_positions");
    const vocabulary = config.count("vocab_size");
    const inner = config.count("n_inner", 4 * width);
    const eps = config.number("layer_norm_epsilon", 1e-5);
    const kind = config.activation("activation_function", "gelu_new");
    const tied = config.flag("tie_word_embeddings", true);
    const size = headSize(config, width, heads, "n_head");
    const scale = config.flag("scale_attn_weights", true) ? 1 / Math.sqrt(size) : 1;
    const byLayer = config.flag("scale_attn_by_inverse_layer_idx", false);
    // The first checkpoints on the Hub were saved without the prefix.
    const prefix = tensors.has("wte.weight") ? "" : "transformer.";

    return {
      input: { kind: "text", vocabulary, longest, segments: 0, decoder: false },
      classes: vocabulary,
      rows: "positions",
      head: ["lm_head."],
      tokens: (length) => length,
      build(net, batch) {
        const { tape } = net;
        const text = textOf(batch);
        const { count, length } = text;
        const embeddings = tape.parameter(`${prefix}wte.weight`, [vocabulary, width]);
        const places = tape.parameter(`${prefix}wpe.weight`, [longest, width]);
        let x = addRows(tape, take(tape, text.ids, embeddings), places, length);
        for (let layer = 0; layer < layers; layer++) {
          const at = `${prefix}h.${layer}.`;
          const project = linearsOf(net, at);
          const before = layerNorm(tape, `${at}ln_1`, x, eps);
          const [q, k, v] = split(tape, project("attn.c_attn", 3 * width, before, { transposed: true }), 3);
          const shape = { batch: count, heads, keyHeads: heads, queries: length, keys: length, size };
          const seen = { causal: true, window: 0, lengths: null, bias: null };
          const layerScale = byLayer ? scale / (layer + 1) : scale;
          const context = attention(tape, shape, { q: q!, k: k!, v: v! }, layerScale, seen);
          x = add(tape, x, project("attn.c_proj", width, context, { transposed: true }));
          const after = layerNorm(tape, `${at}ln_2`, x, eps);
          const wide = activate(tape, kind, project("mlp.c_fc", inner, after, { transposed: true }));
          x = add(tape, x, project("mlp.c_proj", width, wide, { transposed: true }));
        }
        const state = layerNorm(tape, `${prefix}ln_f`, wantedRows(tape, x, text), eps);
        const weight = tied ? { weight: `${prefix}wte.weight` } : {};
        return linearsOf(net, "")("lm_head", vocabulary, state, { bias: false, ...weight });
      },
    };
  },
};

/**
 * T5 (C. Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 2020), as
 * `T5ForConditionalGeneration`: encoder and decoder with RMS norm before each part, biases learned per bucket of distances
 * in place of positions, scores that are not scaled.
 */

import type { Config } from "../config.js";
import type { Activation } from "../kernels/activation.js";
import { attention } from "../operations/attention.js";
import type { AttentionMask } from "../operations/attention.js";
import { activate, add, multiply } from "../operations/entries.js";
import { rmsNorm } from "../operations/norm.js";
import { spread, take } from "../operations/rows.js";
import type { Tape, Tensor } from "../tape.js";
import type { Architecture, Interpreter } from "./architecture.js";
import { linearsOf, OPEN, textOf, wantedRows } from "./parts.js";

interface Sizes {
  readonly width: number;
  readonly heads: number;
  readonly size: number;
  readonly inner: number;
  readonly eps: number;
  readonly gated: boolean;
  readonly kind: Activation;
  readonly buckets: number;
  readonly farthest: number;
}

export const t5: Architecture = {
  names: ["T5ForConditionalGeneration", "MT5ForConditionalGeneration"],
  define(config, tensors) {
    const sizes = readSizes(config);
    const { width, eps } = sizes;
    const layers = config.count("num_layers");
    const decoderLayers = config.count("num_decoder_layers", layers);
    const vocabulary = config.count("vocab_size");
    // Newer configs always say that embeddings are tied; whether they are is seen by what is stored.
    const scaled = config.flag("scale_decoder_outputs", config.flag("tie_word_embeddings", true));
    const weight = tensors.has("lm_head.weight") ? "lm_head.weight" : "shared.weight";
    const scale = scaled ? 1 / Math.sqrt(config.count("d_model")) : 1;

    return {
      input: { kind: "text", vocabulary, longest: Infinity, segments: 0, decoder: true },
      classes: vocabulary,
      rows: "positions",
      head: ["lm_head."],
      tokens: (length) => length,
      build(net, batch) {
        const { tape } = net;
        const text = textOf(batch);
        const { count, length, lengths } = text;
        const decoder = text.decoder!;
        const shared = tape.parameter("shared.weight", [vocabulary, width]);

        let x = take(tape, text.ids, shared);
        const near: AttentionMask = { ...OPEN, lengths, bias: distances(tape, "encoder", length, sizes) };
        for (let layer = 0; layer < layers; layer++) {
          const at = `encoder.block.${layer}.layer.`;
          x = attend(net, `${at}0`, "SelfAttention", { x, from: null, count }, near, sizes);
          x = feedForward(net, `${at}1`, x, sizes);
        }
        const memory = rmsNorm(tape, "encoder.final_layer_norm", x, eps);

        let y = take(tape, decoder.ids, shared);
        const past: AttentionMask = { ...OPEN, causal: true, bias: distances(tape, "decoder", decoder.length, sizes) };
        for (let layer = 0; layer < decoderLayers; layer++) {
          const at = `decoder.block.${layer}.layer.`;
          y = attend(net, `${at}0`, "SelfAttention", { x: y, from: null, count }, past, sizes);
          y = attend(net, `${at}1`, "EncDecAttention", { x: y, from: memory, count }, { ...OPEN, lengths }, sizes);
          y = feedForward(net, `${at}2`, y, sizes);
        }
        const state = rmsNorm(tape, "decoder.final_layer_norm", wantedRows(tape, y, text), eps);
        return linearsOf(net, "")("lm_head", vocabulary, state, { bias: false, weight, scale });
      },
    };
  },
};

function readSizes(config: Config): Sizes {
  const form = config.text("feed_forward_proj", "relu");
  const gated = form.startsWith("gated-");
  return {
    width: config.count("d_model"),
    heads: config.count("num_heads"),
    size: config.count("d_kv"),
    inner: config.count("d_ff"),
    eps: config.number("layer_norm_epsilon", 1e-6),
    gated,
    // "gated-gelu" has always meant the approximation by tanh.
    kind: form === "gated-gelu" ? "gelu_tanh" : activationOf(config, form.replace(/^gated-/, "")),
    buckets: config.count("relative_attention_num_buckets", 32),
    farthest: config.count("relative_attention_max_distance", 128),
  };
}

function activationOf(config: Config, name: string): Activation {
  if (name === "relu" || name === "silu" || name === "gelu") return name;
  throw config.wrong("feed_forward_proj", "relu, gelu, silu, gated-gelu, gated-silu or gated-relu");
}

/** The biases of a stack, learned in its first block and used in all. */
function distances(tape: Tape, stack: "encoder" | "decoder", length: number, sizes: Sizes): Tensor {
  const { heads, buckets } = sizes;
  const name = `${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`;
  const index = Int32Array.from({ length: length * length }, (_, at) => {
    const distance = (at % length) - Math.floor(at / length);
    return bucketOf(distance, stack === "encoder", sizes);
  });
  const table = tape.parameter(name, [buckets, heads]);
  return spread(tape, tape.input(`${stack} buckets`, length, length, index), table);
}

/** Buckets are exact for near keys and logarithmic up to `farthest`; half of them for each side where both are seen. */
function bucketOf(distance: number, bothSides: boolean, { buckets, farthest }: Sizes): number {
  const count = bothSides ? Math.floor(buckets / 2) : buckets;
  const side = bothSides && distance > 0 ? count : 0;
  const far = bothSides ? Math.abs(distance) : Math.max(0, -distance);
  const exact = Math.floor(count / 2);
  if (far < exact) return side + far;
  const share = Math.log(far / exact) / Math.log(farthest / exact);
  return side + Math.min(count - 1, exact + Math.floor(share * (count - exact)));
}

/** One attention and its residual; keys and values come from `from`, or from x itself. */
function attend(
  net: Interpreter,
  at: string,
  name: string,
  { x, from, count }: { readonly x: Tensor; readonly from: Tensor | null; readonly count: number },
  mask: AttentionMask,
  { heads, size, width, eps }: Sizes,
): Tensor {
  const { tape } = net;
  const project = linearsOf(net, `${at}.${name}.`);
  const normed = rmsNorm(tape, `${at}.layer_norm`, x, eps);
  const source = from ?? normed;
  const states = {
    q: project("q", heads * size, normed, { bias: false }),
    k: project("k", heads * size, source, { bias: false }),
    v: project("v", heads * size, source, { bias: false }),
  };
  const shape = { batch: count, heads, keyHeads: heads, queries: x.rows / count, keys: source.rows / count, size };
  return add(tape, x, project("o", width, attention(tape, shape, states, 1, mask), { bias: false }));
}

function feedForward(net: Interpreter, at: string, x: Tensor, { inner, width, eps, gated, kind }: Sizes): Tensor {
  const { tape } = net;
  const project = linearsOf(net, `${at}.DenseReluDense.`);
  const normed = rmsNorm(tape, `${at}.layer_norm`, x, eps);
  const bent = activate(tape, kind, project(gated ? "wi_0" : "wi", inner, normed, { bias: false }));
  const wide = gated ? multiply(tape, bent, project("wi_1", inner, normed, { bias: false })) : bent;
  return add(tape, x, project("wo", width, wide, { bias: false }));
}

/**
 * Vision Transformer for image classification (A. Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021), as
 * `ViTForImageClassification`: pre-norm blocks over patches and a class token, whose last state the classifier reads.
 */

import { attention } from "../operations/attention.js";
import { activate, add, addRows } from "../operations/entries.js";
import { layerNorm } from "../operations/norm.js";
import { patches, prepend, take } from "../operations/rows.js";
import type { Tensor } from "../tape.js";
import type { Architecture } from "./architecture.js";
import { firstRows, headSize, imagesOf, linearsOf, OPEN } from "./parts.js";

export const vit: Architecture = {
  names: ["ViTForImageClassification"],
  define(config, tensors) {
    const width = config.count("hidden_size");
    const heads = config.count("num_attention_heads");
    const layers = config.count("num_hidden_layers");
    const inner = config.count("intermediate_size");
    const image = config.count("image_size");
    const patch = config.count("patch_size");
    const channels = config.count("num_channels", 3);
    const eps = config.number("layer_norm_eps", 1e-12);
    const kind = config.activation("hidden_act", "gelu");
    const bias = config.flag("qkv_bias", true);
    const classes = tensors.shape("classifier.weight")[0]!;
    if (image % patch !== 0) throw config.wrong("patch_size", `a divisor of image_size ${image}`);
    const size = headSize(config, width, heads, "num_attention_heads");
    const squares = (image / patch) ** 2;
    const length = squares + 1;

    return {
      input: { kind: "images", channels, height: image, width: image },
      classes,
      rows: "examples",
      head: ["classifier."],
      tokens: () => length,
      hidden: true,
      build(net, batch) {
        const { tape, linear } = net;
        const { count, pixels } = imagesOf(batch);
        const embedding = {
          name: "vit.embeddings.patch_embeddings.projection",
          inputs: channels * patch * patch,
          outputs: width,
          bias: true,
          shape: [width, channels, patch, patch],
        };
        const pieces = patches(tape, pixels, { count, channels, height: image, width: image }, patch);
        const token = tape.parameter("vit.embeddings.cls_token", [1, 1, width]);
        const places = tape.parameter("vit.embeddings.position_embeddings", [1, length, width]);
        const first = firstRows(tape, count, length);
        let x = addRows(tape, prepend(tape, token, linear(tape, embedding, pieces), count), places, length);
        for (let layer = 0; layer < layers; layer++) {
          const at = `vit.encoder.layer.${layer}`;
          const project = linearsOf(net, `${at}.`);
          const before = layerNorm(tape, `${at}.layernorm_before`, x, eps);
          // Behind the last layer's keys and values only the class token is read.
          const lone = layer === layers - 1 && !net.whole;
          const queries = lone ? 1 : length;
          const shape = { batch: count, heads, keyHeads: heads, queries, keys: length, size };
          const qkv = {
            q: project("attention.attention.query", width, lone ? take(tape, first, before) : before, { bias }),
            k: project("attention.attention.key", width, before, { bias }),
            v: project("attention.attention.value", width, before, { bias }),
          };
          const context = attention(tape, shape, qkv, 1 / Math.sqrt(size), OPEN);
          x = add(tape, lone ? take(tape, first, x) : x, project("attention.output.dense", width, context));
          const after = layerNorm(tape, `${at}.layernorm_after`, x, eps);
          const wide = activate(tape, kind, project("intermediate.dense", inner, after));
          x = add(tape, x, project("output.dense", width, wide));
        }
        let state: Tensor;
        if (net.hidden === undefined) {
          state = layerNorm(tape, "vit.layernorm", net.whole ? take(tape, first, x) : x, eps);
        } else {
          const states = layerNorm(tape, "vit.layernorm", x, eps);
          net.hidden(states);
          state = take(tape, first, states);
        }
        return linear(tape, { name: "classifier", inputs: width, outputs: classes, bias: true }, state);
      },
    };
  },
};

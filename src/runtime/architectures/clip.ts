/**
 * The image half of CLIP (A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
 * 2021). Without a head the logits are the projected image embeddings. A zero-shot head is a matrix `classifier.weight`
 * `[classes, projection]` of text embeddings, with CLIP's logit scale multiplied in: logits are its products with the image
 * embedding of length one.
 */

import { attention } from "../operations/attention.js";
import { activate, add, addRows } from "../operations/entries.js";
import { layerNorm, rmsNorm } from "../operations/norm.js";
import { patches, prepend, take } from "../operations/rows.js";
import type { Architecture } from "./architecture.js";
import { firstRows, headSize, imagesOf, linearsOf, OPEN } from "./parts.js";

export const clip: Architecture = {
  names: ["CLIPVisionModelWithProjection", "CLIPModel"],
  define(whole, tensors) {
    const config = whole.has("vision_config") ? whole.part("vision_config") : whole;
    const width = config.count("hidden_size");
    const heads = config.count("num_attention_heads");
    const layers = config.count("num_hidden_layers");
    const inner = config.count("intermediate_size");
    const image = config.count("image_size");
    const patch = config.count("patch_size");
    const channels = config.count("num_channels", 3);
    const eps = config.number("layer_norm_eps", 1e-5);
    const kind = config.activation("hidden_act", "quick_gelu");
    const projection = tensors.shape("visual_projection.weight")[0]!;
    const zeroShot = tensors.has("classifier.weight");
    const classes = zeroShot ? tensors.shape("classifier.weight")[0]! : projection;
    const size = headSize(config, width, heads, "num_attention_heads");
    const length = Math.floor(image / patch) ** 2 + 1;

    return {
      input: { kind: "images", channels, height: image, width: image },
      classes,
      rows: "examples",
      head: ["classifier."],
      tokens: () => length,
      build(net, batch) {
        const { tape } = net;
        const { count, pixels } = imagesOf(batch);
        const root = "vision_model.";
        const pieces = patches(tape, pixels, { count, channels, height: image, width: image }, patch);
        const shape = [width, channels, patch, patch];
        const embedded = linearsOf(net, root)("embeddings.patch_embedding", width, pieces, { bias: false, shape });
        const first = firstRows(tape, count, length);
        const token = tape.parameter(`${root}embeddings.class_embedding`, [width]);
        const places = tape.parameter(`${root}embeddings.position_embedding.weight`, [length, width]);
        const placed = addRows(tape, prepend(tape, token, embedded, count), places, length);
        let x = layerNorm(tape, `${root}pre_layrnorm`, placed, eps);
        for (let layer = 0; layer < layers; layer++) {
          const at = `${root}encoder.layers.${layer}.`;
          const project = linearsOf(net, at);
          const before = layerNorm(tape, `${at}layer_norm1`, x, eps);
          // Behind the last layer's keys and values only the class token is read.
          const lone = layer === layers - 1 && !net.whole;
          const states = {
            q: project("self_attn.q_proj", width, lone ? take(tape, first, before) : before),
            k: project("self_attn.k_proj", width, before),
            v: project("self_attn.v_proj", width, before),
          };
          const queries = lone ? 1 : length;
          const sizes = { batch: count, heads, keyHeads: heads, queries, keys: length, size };
          const context = attention(tape, sizes, states, 1 / Math.sqrt(size), OPEN);
          x = add(tape, lone ? take(tape, first, x) : x, project("self_attn.out_proj", width, context));
          const after = layerNorm(tape, `${at}layer_norm2`, x, eps);
          x = add(tape, x, project("mlp.fc2", width, activate(tape, kind, project("mlp.fc1", inner, after))));
        }
        const state = layerNorm(tape, `${root}post_layernorm`, net.whole ? take(tape, first, x) : x, eps);
        const head = linearsOf(net, "");
        const embedding = head("visual_projection", projection, state, { bias: false });
        if (!zeroShot) return embedding;
        // Length one is a root mean square of 1 / √projection.
        const scale = 1 / Math.sqrt(projection);
        return head("classifier", classes, rmsNorm(tape, null, embedding, 1e-12), { bias: false, scale });
      },
    };
  },
};

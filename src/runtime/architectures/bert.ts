/**
 * BERT (J. Devlin et al., NAACL 2019) and RoBERTa (Y. Liu et al., 2019) for sequence classification: learned positions and
 * segments, layer norm after each half of a block, a classifier on the first token's state. RoBERTa counts positions from
 * behind its padding id and has a head of two layers in place of BERT's pooler and classifier.
 */

import { attention } from "../operations/attention.js";
import { activate, add, addRows } from "../operations/entries.js";
import { layerNorm } from "../operations/norm.js";
import { take } from "../operations/rows.js";
import type { Config } from "../config.js";
import type { Tensor } from "../tape.js";
import type { Architecture, Definition, Interpreter, TextTensors } from "./architecture.js";
import { firstRows, headSize, linearsOf, OPEN, textOf } from "./parts.js";

interface Variant {
  readonly prefix: "bert" | "roberta";
  /** Rows of the position table before the first token's. */
  readonly skipped: (config: Config) => number;
  /** Names of the classifier's last layer, and of the one before it. */
  readonly classifier: string;
  readonly pooler: string;
}

const BERT: Variant = { prefix: "bert", skipped: () => 0, classifier: "classifier", pooler: "bert.pooler.dense" };
const ROBERTA: Variant = {
  prefix: "roberta",
  skipped: (config) => config.number("pad_token_id", 1) + 1,
  classifier: "classifier.out_proj",
  pooler: "classifier.dense",
};

export const bert: Architecture = {
  names: ["BertForSequenceClassification"],
  define: (config, tensors) => defineBert(config, tensors.shape("classifier.weight")[0]!, BERT),
};

export const roberta: Architecture = {
  names: ["RobertaForSequenceClassification"],
  define: (config, tensors) => defineBert(config, tensors.shape("classifier.out_proj.weight")[0]!, ROBERTA),
};

function defineBert(config: Config, classes: number, variant: Variant): Definition {
  const width = config.count("hidden_size");
  const heads = config.count("num_attention_heads");
  const layers = config.count("num_hidden_layers");
  const inner = config.count("intermediate_size");
  const vocabulary = config.count("vocab_size");
  const positions = config.count("max_position_embeddings");
  const segments = config.count("type_vocab_size", 2);
  const eps = config.number("layer_norm_eps", 1e-12);
  const kind = config.activation("hidden_act", "gelu");
  const size = headSize(config, width, heads, "num_attention_heads");
  const skipped = variant.skipped(config);
  const { prefix } = variant;

  const embed = ({ tape }: Interpreter, { ids, segments: kinds, length }: TextTensors): Tensor => {
    const at = `${prefix}.embeddings`;
    const words = tape.parameter(`${at}.word_embeddings.weight`, [vocabulary, width]);
    const places = tape.parameter(`${at}.position_embeddings.weight`, [positions, width]);
    const table = tape.parameter(`${at}.token_type_embeddings.weight`, [segments, width]);
    const placed = addRows(tape, take(tape, ids, words), { ...places, first: skipped * width }, length);
    const x = kinds === null ? addRows(tape, placed, table, 1) : add(tape, placed, take(tape, kinds, table));
    return layerNorm(tape, `${at}.LayerNorm`, x, eps);
  };

  const block = (net: Interpreter, x: Tensor, layer: number, { count, length, lengths }: TextTensors): Tensor => {
    const { tape } = net;
    const at = `${prefix}.encoder.layer.${layer}.`;
    const project = linearsOf(net, at);
    const states = {
      q: project("attention.self.query", width, x),
      k: project("attention.self.key", width, x),
      v: project("attention.self.value", width, x),
    };
    const shape = { batch: count, heads, keyHeads: heads, queries: length, keys: length, size };
    const context = attention(tape, shape, states, 1 / Math.sqrt(size), { ...OPEN, lengths });
    const half = add(tape, project("attention.output.dense", width, context), x);
    const middle = layerNorm(tape, `${at}attention.output.LayerNorm`, half, eps);
    const wide = activate(tape, kind, project("intermediate.dense", inner, middle));
    return layerNorm(tape, `${at}output.LayerNorm`, add(tape, project("output.dense", width, wide), middle), eps);
  };

  return {
    input: { kind: "text", vocabulary, longest: positions - skipped, segments, decoder: false },
    classes,
    rows: "examples",
    head: ["classifier."],
    tokens: (length) => length,
    build(net, batch) {
      const { tape } = net;
      const text = textOf(batch);
      let x = embed(net, text);
      for (let layer = 0; layer < layers; layer++) x = block(net, x, layer, text);
      const first = take(tape, firstRows(tape, text.count, text.length), x);
      const head = linearsOf(net, "");
      return head(variant.classifier, classes, activate(tape, "tanh", head(variant.pooler, width, first)));
    },
  };
}

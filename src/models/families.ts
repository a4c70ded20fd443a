/**
 * What tensor names and config.json say about a network: which tensors are one and the same, which layer a tensor
 * belongs to, which belong to the vocabulary or to a classification head. By names alone, so that a family nobody has
 * heard of still merges; it is then only not known to tie anything its config does not mention.
 */

/** Tensors that a network shares. One of them is merged; the aliases get the same values. */
export interface TiedGroup {
  readonly primary: string;
  readonly aliases: readonly string[];
}

/** `tie_word_embeddings` of a family whose config.json does not mention it; the defaults of transformers. */
const TIED_UNLESS_SAID_OTHERWISE: ReadonlySet<string> = new Set([
  "albert",
  "bart",
  "bert",
  "bloom",
  "camembert",
  "cohere",
  "cohere2",
  "deberta",
  "deberta-v2",
  "distilbert",
  "electra",
  "falcon",
  "gemma",
  "gemma2",
  "gemma3",
  "gemma3_text",
  "gpt2",
  "gpt_bigcode",
  "gpt_neo",
  "m2m_100",
  "mamba",
  "marian",
  "mbart",
  "mobilebert",
  "modernbert",
  "mpnet",
  "mpt",
  "opt",
  "pegasus",
  "roberta",
  "starcoder2",
  "t5",
  "whisper",
  "xlm-roberta",
]);

type Tie = readonly [primary: string, ...aliases: string[]];

/** Shared in every network that has these names, whatever the config says. */
const ALWAYS_TIED: readonly Tie[] = [
  // T5; then BART and its relatives.
  ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
  ["model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"],
  // The bias of a masked language model's output is registered twice.
  ["cls.predictions.bias", "cls.predictions.decoder.bias"],
  ["predictions.bias", "predictions.decoder.bias"],
  ["lm_head.bias", "lm_head.decoder.bias"],
];

/** Shared where `tie_word_embeddings` is true: the input embedding and the output. */
const TIED_BY_FLAG: readonly Tie[] = [
  ["model.embed_tokens.weight", "lm_head.weight"],
  ["model.language_model.embed_tokens.weight", "lm_head.weight"],
  ["model.text_model.embed_tokens.weight", "lm_head.weight"],
  ["model.decoder.embed_tokens.weight", "lm_head.weight"],
  ["model.decoder.embed_tokens.weight", "proj_out.weight"],
  ["model.shared.weight", "lm_head.weight"],
  ["shared.weight", "lm_head.weight"],
  ["transformer.wte.weight", "lm_head.weight"],
  ["transformer.word_embeddings.weight", "lm_head.weight"],
  ["gpt_neox.embed_in.weight", "embed_out.weight"],
  ["backbone.embeddings.weight", "lm_head.weight"],
  ["backbone.embedding.weight", "lm_head.weight"],
  ["model.tok_embeddings.weight", "output.weight"],
  ["bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"],
  ["deberta.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"],
  ["mobilebert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"],
  ["albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"],
  ["roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"],
  ["mpnet.embeddings.word_embeddings.weight", "lm_head.decoder.weight"],
  ["distilbert.embeddings.word_embeddings.weight", "vocab_projector.weight"],
  ["electra.embeddings.word_embeddings.weight", "generator_lm_head.weight"],
  ["model.embeddings.tok_embeddings.weight", "decoder.weight"],
];

type Config = Readonly<Record<string, unknown>>;

/**
 * The groups of tensors among `names` that a network with this config shares. Only names that are there appear. Copies
 * whose original is not stored are not grouped: some networks (Marian with two vocabularies) have them as separate
 * tensors, and merging equal tensors one by one gives equal results.
 */
export function tiedGroups(config: Config | null, names: Iterable<string>): readonly TiedGroup[] {
  const there = new Set(names);
  const rules = embeddingsAreTied(config) ? [...ALWAYS_TIED, ...TIED_BY_FLAG] : ALWAYS_TIED;
  let groups: ReadonlySet<string>[] = [];
  for (const prefix of prefixesOf(there)) {
    for (const rule of rules) {
      const [primary, ...aliases] = rule.map((name) => prefix + name);
      const members = [primary!, ...aliases.filter((name) => there.has(name))];
      if (!there.has(primary!) || members.length === 1) continue;
      // T5's output joins the group of its embeddings.
      const joined = groups.filter((group) => members.some((name) => group.has(name)));
      groups = groups.filter((group) => !joined.includes(group));
      groups.push(new Set([...joined, members].flatMap((part) => [...part])));
    }
  }
  return groups
    .map(([...members]) => ({ primary: members[0]!, aliases: members.slice(1) }))
    .sort((a, b) => (a.primary < b.primary ? -1 : 1));
}

/** Networks that contain a language model prefix its names, e.g. `language_model.model.embed_tokens.weight`. */
function prefixesOf(names: ReadonlySet<string>): readonly string[] {
  const prefixes = new Set([""]);
  for (const name of names) {
    for (const end of EMBEDDINGS) if (name.endsWith(`.${end}`)) prefixes.add(name.slice(0, -end.length));
  }
  return [...prefixes].sort();
}

const EMBEDDINGS: readonly string[] = [...ALWAYS_TIED, ...TIED_BY_FLAG].map(([primary]) => primary);

/** The network's own word counts; then that of the language model inside it; then the family's default. */
export function embeddingsAreTied(config: Config | null): boolean {
  if (config === null) return false;
  const parts = [config, config["text_config"]].filter(isConfig);
  for (const { tie_word_embeddings: said } of parts) if (typeof said === "boolean") return said;
  return parts.some(({ model_type: family }) => typeof family === "string" && TIED_UNLESS_SAID_OTHERWISE.has(family));
}

function isConfig(value: unknown): value is Config {
  return typeof value === "object" && value !== null;
}

/**
 * Index of the layer a tensor belongs to, or `null` outside the layers: the first number behind a list of layers or
 * blocks (`model.layers.3.mlp…`, `transformer.h.3…`, `encoder.block.3.layer.0…`).
 */
export function layerOf(name: string): number | null {
  const match = LAYER.exec(name);
  return match === null ? null : Number(match[1]);
}

const LAYER = /(?:^|[._])(?:layers?|h|blocks?|resblocks)\.(\d{1,6})(?=\.|$)/;

/** The beginning of a tensor's name up to the index of its layer: layers of different stacks differ in it. */
export function layerPathOf(name: string): string | null {
  const match = LAYER.exec(name);
  return match === null ? null : name.slice(0, match.index + match[0].length);
}

/**
 * The partition of a network that a tensor belongs to: its layer; outside the layers the embeddings
 * (`vit.embeddings`, `model.embed_tokens`), or the tensor's own module (`vit.layernorm`).
 */
export function layerPartitionOf(name: string): string {
  const layer = layerPathOf(name);
  if (layer !== null) return layer;
  const parts = name.split(".");
  const embedding = parts.findIndex((part) => part.includes("embed"));
  return parts.slice(0, embedding < 0 ? Math.max(1, parts.length - 1) : embedding + 1).join(".");
}

/**
 * `vocabulary`: one row per token, so its first dimension changes with the tokenizer. `head`: belongs to a task, not to
 * the backbone. `null`: neither.
 */
export type TensorRole = "vocabulary" | "head" | null;

const VOCABULARY: readonly RegExp[] = [
  /(?:^|\.)(?:embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|embed_out|vocab_projector|generator_lm_head)\.(?:weight|bias)$/,
  /(?:^|\.)shared\.weight$/,
  /(?:^|\.)lm_head\.(?:decoder\.)?(?:weight|bias)$/,
  /(?:^|\.)predictions\.(?:decoder\.)?bias$/,
  /(?:^|\.)predictions\.decoder\.weight$/,
  /^backbone\.embeddings?\.weight$/,
  /^(?:proj_out|output|decoder)\.(?:weight|bias)$/,
];

const HEAD: readonly RegExp[] = [
  /(?:^|\.)(?:classifier|pre_classifier|classification_head|qa_outputs|seq_relationship)\./,
  // Short names mean a head only at the root.
  /^(?:model\.)?(?:score|head|heads|head_dist|fc|logits_proj|cls_classifier|distillation_classifier)\./,
];

export function roleOf(name: string): TensorRole {
  if (VOCABULARY.some((pattern) => pattern.test(name))) return "vocabulary";
  return HEAD.some((pattern) => pattern.test(name)) ? "head" : null;
}

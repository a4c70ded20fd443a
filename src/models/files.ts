/** What a file in a checkpoint folder is, by its name. */

/** Where transformers keeps the chat templates of a tokenizer that has several. */
export const TEMPLATE_FOLDER = "additional_chat_templates";

/**
 * Files that travel with the weights. Weights, indexes and config.json are handled on their own; README, hidden files
 * and Python code never travel (a config with `auto_map` needs the code from its original place).
 */
const SIDE_FILES: readonly RegExp[] = [
  // Tokenizers.
  /^tokenizer[\w.-]*\.(json|txt|model)$/,
  /^(special_tokens_map|added_tokens|normalizer|tekken)\.json$/,
  /^(source_|target_)?vocab(ulary)?\.(json|txt)$/,
  /^(merges|dict)\.txt$/,
  /^bpe\.codes$/,
  /^[\w.-]+\.(model|spm|tiktoken)$/,
  // Generation and chat.
  /^generation_config\.json$/,
  /^[\w.-]*chat_template[\w.-]*\.(jinja|json)$/,
  /^additional_chat_templates\/[\w.-]+\.jinja$/,
  // Images, video, sound.
  /^[\w-]*processor_config\.json$/,
  /^[\w-]*(image|video|audio|feature)_?(processor|extractor)[\w-]*\.json$/,
  // Sentence embeddings.
  /^modules\.json$/,
  /^(config_)?sentence_[\w-]+\.json$/,
];

/** Names of side files to ask a server for that cannot list a folder. */
export const USUAL_SIDE_FILES: readonly string[] = [
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
  "merges.txt",
  "preprocessor_config.json",
  "processor_config.json",
  "sentencepiece.bpe.model",
  "special_tokens_map.json",
  "spiece.model",
  "tekken.json",
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "video_preprocessor_config.json",
  "vocab.json",
  "vocab.txt",
];

export function isSideFile(name: string): boolean {
  return !name.startsWith(".") && SIDE_FILES.some((pattern) => pattern.test(name));
}

/** Formats that can run code when they are opened (PyTorch's own files and bare pickles), and their indexes. */
export function isPickle(name: string): boolean {
  return /\.(bin|pt|pth|ckpt|pkl|pickle)$|\.bin\.index\.json$/i.test(name);
}

export const ADAPTER_FILE = "adapter_model.safetensors";

/** Reads what `shardName` writes. */
export function shardNumber(name: string): { stem: string; shard: number; of: number } | null {
  const match = /^(.+)-(\d{5})-of-(\d{5})\.safetensors$/.exec(name);
  return match === null ? null : { stem: match[1]!, shard: Number(match[2]), of: Number(match[3]) };
}

/**
 * The name of a model in messages and reports: the last part of its path, without `.safetensors`. In addresses and
 * caches of the Hub the last part is a revision, so the repository's name is taken.
 */
export function modelName(label: string): string {
  const parts = label
    .replace(/^(https?:\/\/[^?#]*)[?#].*$/, "$1")
    .replace(/^(https?:\/\/.+)\/resolve\/[^/]+\/?$/, "$1")
    .split(/[\\/]+/)
    .filter((part) => part !== "" && part !== ".");
  const snapshot = parts.at(-2) === "snapshots" ? parts.at(-3) : undefined;
  const last = (snapshot?.startsWith("models--") ? snapshot : parts.at(-1)) ?? "model";
  const repository = /^models--(?:.*--)?(.+)$/.exec(last);
  return repository?.[1] ?? last.replace(/\.safetensors$/, "");
}

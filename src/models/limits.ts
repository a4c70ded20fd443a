/** The most that is read of a checkpoint's small files, in bytes; anything larger is not what its name says. */
export const LIMITS = {
  /** config.json. */
  config: 4 << 20,
  /** model.safetensors.index.json; about a million tensors. */
  index: 128 << 20,
  /** A tokenizer or another file that travels with the weights. */
  sideFile: 256 << 20,
} as const;

/** Objects and lists inside each other in config.json. */
export const CONFIG_DEPTH_LIMIT = 64;

/**
 * config.json of a result that was put together from layers: the number of layers, and every list with one entry per
 * layer, each entry from the model that the layer comes from.
 */
import { setValue } from "../models/config_text.js";
import type { Checkpoint } from "../models/model.js";
import type { OpenInputs } from "./types.js";
import type { LayerOrigin, WantedTensors } from "./wanted.js";

/** What families call their number of layers. */
const COUNTS: ReadonlySet<string> = new Set([
  "num_hidden_layers",
  "n_layer",
  "n_layers",
  "num_layers",
  "num_decoder_layers",
  "encoder_layers",
  "decoder_layers",
  "depth",
]);
/** Lists that are as long as there are layers by chance only. */
const NO_LAYERS = /token|architectures|image|language|label/i;
/** Numbers by which a config says which layers differ; how to change them depends on what was meant. */
const RULES =
  /^(?:max_window_layers|sliding_window_pattern|full_attention_interval|attn_layer_(?:period|offset)|expert_layer_(?:period|offset)|first_k_dense_replace|mlp_only_layers|decoder_sparse_step|no_rope_layer_interval|moe_layer_freq|cross_attention_layers|num_kv_shared_layers)$/;

type Config = Readonly<Record<string, unknown>>;

export interface LayerConfig {
  readonly text: string;
  readonly warnings: readonly string[];
}

/**
 * @param donor whose config it is; all others' are read for the entries of lists.
 * @param listsToo false: the number of layers alone.
 */
export function layerConfig(
  donor: Checkpoint,
  text: string,
  { layers }: WantedTensors,
  open: OpenInputs,
  listsToo: boolean,
): LayerConfig {
  let changed = text;
  const warnings: string[] = [];
  for (const { prefix, origins } of layers) {
    const path = sectionOf(donor.config!, prefix);
    const section = valueAt(donor.config!, path);
    const counts = countsIn(section, prefix);
    const before = counts.length === 0 ? null : section[counts[0]!];
    for (const key of counts) changed = setValue(changed, [...path, key], String(origins.length)) ?? changed;
    if (typeof before !== "number") {
      warnings.push(`config.json does not say how many layers there are; the result has ${origins.length}`);
      continue;
    }
    if (!listsToo) continue;
    for (const [key, value] of Object.entries(section)) {
      if (RULES.test(key) && !isPerLayer(key, value, before)) {
        warnings.push(`config.json: ${key} speaks of layers by their number, which the slices change; check it`);
      }
      if (!isPerLayer(key, value, before)) continue;
      const entries = origins.map((origin) => entryOf(origin, key, path, open) ?? value[origin.layer] ?? value.at(-1));
      changed = setValue(changed, [...path, key], JSON.stringify(entries)) ?? changed;
    }
  }
  return { text: changed, warnings };
}

/** Of a network with an encoder and a decoder, the one that the module is. */
function countsIn(section: Config, prefix: string): string[] {
  const all = Object.keys(section).filter((key) => COUNTS.has(key));
  const ofDecoder = all.filter((key) => key.includes("decoder"));
  if (ofDecoder.length === 0) return all;
  if (prefix.includes("decoder")) return ofDecoder;
  return all.filter((key) => !ofDecoder.includes(key));
}

function isPerLayer(key: string, value: unknown, layers: number): value is readonly unknown[] {
  return Array.isArray(value) && value.length === layers && !NO_LAYERS.test(key);
}

/** What the config of the layer's own model has at the layer's own place. */
function entryOf({ model, layer }: LayerOrigin, key: string, path: readonly string[], open: OpenInputs): unknown {
  const checkpoint = model === -1 ? open.base! : open.models[model]!;
  if (checkpoint.config === null) return undefined;
  const value = valueAt(checkpoint.config, path)[key];
  return Array.isArray(value) ? value[layer] : undefined;
}

/** The part of a config that describes a module: the one named like it, for a language model `text_config`. */
function sectionOf(config: Config, prefix: string): readonly string[] {
  const words = prefix.split(".").filter((word) => word !== "" && word !== "model");
  const named = words.flatMap((word) => [`${word.replace(/_(?:model|tower|decoder)$/, "")}_config`, `${word}_config`]);
  const candidates = [...named, ...(/vision|visual|audio/.test(prefix) ? ["vision_config"] : ["text_config"])];
  const found = candidates.find((key) => isConfig(config[key]));
  return found === undefined || hasCount(config) ? [] : [found];
}

function hasCount(config: Config): boolean {
  return Object.keys(config).some((key) => COUNTS.has(key));
}

function valueAt(config: Config, path: readonly string[]): Config {
  return path.reduce<Config>((part, key) => (isConfig(part[key]) ? part[key] : {}), config);
}

function isConfig(value: unknown): value is Config {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * A base with adapters as a checkpoint: its tensors, those that an adapter changes being computed where they are read. All
 * adapters change the same base; their changes are added, each times its weight, so that a fold is linear in the weights
 * and does not depend on the order.
 */
import { configValues } from "../models/checkpoint.js";
import { setValue } from "../models/config_text.js";
import { embeddingsAreTied, tiedGroups } from "../models/families.js";
import type { Checkpoint, Shard, StoredTensor } from "../models/model.js";
import { xxh64 } from "../numbers/checksum.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { FoldedLayout, FoldedPart, FoldedTensor, FoldedValues } from "../sources/folded.js";
import type { ByteSource } from "../sources/source.js";
import type { Adapter, AdapterTensor } from "./adapter.js";
import { changesOf } from "./changes.js";
import type { Change } from "./changes.js";
import { defect } from "./defect.js";
import { foldedSource } from "./folded_source.js";
import type { Applied } from "./kinds/kind.js";
import { BaseNames } from "./target.js";

export interface WeightedAdapter {
  readonly adapter: Adapter;
  /** Multiplies its change; negative ones take it away. */
  readonly weight: number;
  /** Takes out what a fold with this weight put in. Default false. */
  readonly undo?: boolean;
}

/**
 * @param label what the user wrote for the whole.
 * @throws adapter/kind for what cannot be folded, adapter/base for a base that cannot be added to, plan/missing-tensor,
 * plan/shape.
 */
export function foldedCheckpoint(label: string, base: Checkpoint, adapters: readonly WeightedAdapter[]): Checkpoint {
  refuseQuantised(base, adapters[0]!.adapter);
  for (const { adapter, undo } of adapters) {
    refuseObstacles(adapter);
    if (undo) refuseLost(adapter);
  }
  const files = new FileList();
  const applied = adapters.map(({ adapter, weight, undo = false }): Applied => {
    const values = (tensor: AdapterTensor, module: string): FoldedValues => ({
      ...files.part(adapter.source, tensor.offset, tensor.dtype, entriesOf(tensor.shape)),
      ...{ key: tensor.key, adapter: adapter.label, module },
    });
    // What was added is subtracted; what multiplied divides (kinds/ia3.ts).
    return { adapter, weight: undo && adapter.config.type === "LORA" ? -weight : weight, undo, values };
  });
  const names = new BaseNames(base.tensors.keys());
  const changes = changesOf(base, names, applied);
  const untied = untie(base, changes);
  const tensors = [...changes.values()].sort(
    (a, b) => placeOf(a, base) - placeOf(b, base) || (a.name < b.name ? -1 : 1),
  );
  const laidOut = layOut(tensors, base, files);
  const made = madeShard(label, laidOut, tensors, files.sources);
  return checkpointOf(label, base, adapters, { made, tensors, untied });
}

/** Sources that are read, each once. */
class FileList {
  readonly sources: ByteSource[] = [];

  part(source: ByteSource, offset: number, dtype: FloatDtype, entries: number): FoldedPart {
    let file = this.sources.indexOf(source);
    if (file < 0) file = this.sources.push(source) - 1;
    return { file, offset, dtype, entries };
  }
}

/** Tensors stay in the order of the base's files; new ones come last. */
function placeOf({ stored }: Change, { shards }: Checkpoint): number {
  if (stored === null) return Number.MAX_SAFE_INTEGER;
  let before = 0;
  for (const { header } of shards.slice(0, stored.shard)) before += header.fileSize;
  return before + stored.offset;
}

function layOut(changes: readonly Change[], { shards }: Checkpoint, files: FileList): FoldedTensor[] {
  let offset = 0;
  return changes.map(({ name, stored, seen, terms, shape }) => {
    const base =
      stored === null
        ? null
        : files.part(shards[stored.shard]!.source, stored.offset, stored.dtype as FloatDtype, entriesOf(shape));
    const tensor = { name, offset, ...seen, base, terms };
    offset += entriesOf(shape) * 4;
    return tensor;
  });
}

/** What is computed, as one file that nobody stored. */
function madeShard(
  label: string,
  tensors: readonly FoldedTensor[],
  changes: readonly Change[],
  sources: readonly ByteSource[],
): Shard {
  const files = sources.map((source) => ({ label: source.label, address: source.address, stamp: source.stamp }));
  const layout: FoldedLayout = { files, tensors };
  const size = changes.reduce((sum, { shape }) => sum + entriesOf(shape) * 4, 0);
  const versions = files.map(({ stamp }) => stamp.version);
  const version = versions.includes("") ? "" : hashOf(versions.join(" "));
  return {
    name: label,
    source: foldedSource(layout, sources, { label, stamp: { size, version } }),
    header: {
      tensors: changes.map(({ name, shape }, index) => {
        return { name, dtype: "F32", shape, offset: tensors[index]!.offset, length: entriesOf(shape) * 4 };
      }),
      metadata: {},
      dataStart: 0,
      fileSize: size,
      // Terms with their weights and the places of what they read.
      hash: hashOf(JSON.stringify(tensors)),
    },
  };
}

function hashOf(text: string): string {
  return xxh64(new TextEncoder().encode(text));
}

function checkpointOf(
  label: string,
  base: Checkpoint,
  adapters: readonly WeightedAdapter[],
  { made, tensors, untied }: { readonly made: Shard; readonly tensors: readonly Change[]; readonly untied: Untied },
): Checkpoint {
  const replaced = new Set(tensors.map(({ name }) => name));
  const kept = base.shards.map((shard): Shard => {
    const { header } = shard;
    return { ...shard, header: { ...header, tensors: header.tensors.filter(({ name }) => !replaced.has(name)) } };
  });
  const shards = [...kept, made];
  const all = new Map<string, StoredTensor>(base.tensors);
  for (const tensor of untied.lent) all.set(tensor.name, tensor);
  for (const [index, entry] of made.header.tensors.entries()) {
    all.set(entry.name, { ...entry, shard: kept.length, finalDtype: tensors[index]!.finalDtype });
  }
  const notes = adapters.flatMap(({ adapter }) => adapter.notes.map((note) => `${adapter.label}: ${note}`));
  return {
    label,
    name: [base.name, ...adapters.map(({ adapter }) => adapter.name)].join("+"),
    // What lies where the base lies is the base, not this.
    location: "",
    shards,
    tensors: all,
    config: untied.configText === null ? base.config : configValues(untied.configText),
    configText: untied.configText ?? base.configText,
    sideFiles: base.sideFiles,
    notes: [...base.notes, ...notes, ...untied.notes],
    async close() {
      await base.close();
      for (const { adapter } of adapters) await adapter.close();
    },
  };
}

interface Untied {
  /** Tensors of the base that get a name of their own. */
  readonly lent: readonly StoredTensor[];
  /** `null`: as it was. */
  readonly configText: string | null;
  readonly notes: readonly string[];
}

/**
 * Tied tensors of which only some change are tied no longer: an adapter of an embedding leaves the head alone in its own
 * forward pass, and the other way round. Where all change alike they stay one.
 */
function untie(base: Checkpoint, changes: Map<string, Change>): Untied {
  const lent: StoredTensor[] = [];
  let isUntied = false;
  for (const { primary, aliases } of tiedGroups(base.config, new Set([...base.tensors.keys(), ...changes.keys()]))) {
    const group = [primary, ...aliases];
    const touched = group.filter((name) => changes.has(name));
    const stored = group.map((name) => base.tensors.get(name)).find((tensor) => tensor !== undefined);
    if (touched.length === 0 || stored === undefined) continue;
    if (touched.every((name) => changes.get(name)!.staysTied)) {
      joinTied(changes, touched, stored.name);
      continue;
    }
    isUntied = true;
    for (const name of group) {
      if (!changes.has(name) && !base.tensors.has(name)) lent.push({ ...stored, name });
    }
  }
  const isTied = embeddingsAreTied(base.config);
  const head = isTied && !isUntied ? headOf(base, changes) : null;
  if (head !== null) {
    isUntied = true;
    lent.push(head);
  }
  if (!isUntied || base.configText === null || !isTied) return { lent, configText: null, notes: [] };
  const inner = base.config!["text_config"];
  const isInner = typeof inner === "object" && inner !== null && "tie_word_embeddings" in inner;
  let text = base.configText;
  if (isInner) text = setValue(text, ["text_config", "tie_word_embeddings"], "false") ?? text;
  text = setValue(text, ["tie_word_embeddings"], "false") ?? text;
  const note =
    "an adapter changes only one of the tied tensors of embedding and head; the result has both, and tie_word_embeddings " +
    "is false";
  return { lent, configText: text, notes: [note] };
}

/** Of tensors that change alike the one that the base stores is written. */
function joinTied(changes: Map<string, Change>, touched: readonly string[], stored: string): void {
  const change = changes.get(touched.includes(stored) ? stored : touched[0]!)!;
  for (const name of touched) changes.delete(name);
  changes.set(stored, { ...change, name: stored });
}

/** A head that is tied by the config alone and stored nowhere, where only its embedding changes. */
function headOf({ config, tensors }: Checkpoint, changes: ReadonlyMap<string, Change>): StoredTensor | null {
  const name = "lm_head.weight";
  const [network]: unknown[] = Array.isArray(config?.["architectures"]) ? config["architectures"] : [];
  const hasHead = typeof network === "string" && /CausalLM|LMHead|ConditionalGeneration/.test(network);
  const embedding = [...changes.values()].find((change) => EMBEDDING.test(change.name));
  if (!hasHead || embedding === undefined || embedding.staysTied || tensors.has(name) || changes.has(name)) return null;
  return embedding.stored === null ? null : { ...embedding.stored, name };
}

const EMBEDDING = /(?:^|\.)(?:embed_tokens|wte|word_embeddings)\.weight$/;

/** Adding to rounded codes and rounding again gives another model than the adapter was trained for. */
function refuseQuantised(base: Checkpoint, { label }: Adapter): void {
  const quantisation: unknown = base.config?.["quantization_config"];
  if (quantisation === undefined || quantisation === null) return;
  const method: unknown = (quantisation as Record<string, unknown>)["quant_method"];
  throw defect("adapter/base", "the base is quantised: a change cannot be added to its codes", {
    where: { file: base.label, key: "quantization_config" },
    expected: "weights in BF16, F16 or F32",
    found: typeof method === "string" ? `quant_method ${method}` : "a quantization_config",
    advice:
      `fold ${label} into the base as it was before it was quantised, then quantise the result: ` +
      "rounding again would lose the change",
  });
}

/** What a fold replaced, or scaled to a length of its own, is not in its result any more. */
function refuseLost({ label, lora, tokens, whole }: Adapter): void {
  const dora = [...lora.values()].find(({ magnitude }) => magnitude !== null);
  const lost =
    dora !== undefined
      ? `the lengths of the base's rows, which DoRA replaced (${dora.path})`
      : tokens.size + whole.size > 0
        ? `values that the adapter replaced (${[...tokens.keys(), ...whole.keys()][0]!})`
        : null;
  if (lost === null) return;
  throw defect("adapter/kind", "the adapter cannot be taken out of a folded model", {
    where: { file: label },
    expected: "LoRA without DoRA, or (IA)3: changes that can be undone",
    found: `lost in the fold: ${lost}`,
    advice: "keep the base",
  });
}

function refuseObstacles({ label, obstacles }: Adapter): void {
  const [reason] = obstacles;
  if (reason === undefined) return;
  throw defect("adapter/kind", "the adapter cannot be added to a base exactly", {
    where: { file: label },
    expected: "a change that is a function of the base's weights alone",
    found: reason,
  });
}

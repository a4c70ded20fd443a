/** Reads a folder as PEFT writes it: adapter_config.json and adapter_model.safetensors. */
import { readHeader } from "../formats/safetensors/header.js";
import { someOf } from "../formats/safetensors/text.js";
import type { TensorEntry } from "../formats/safetensors/types.js";
import { ADAPTER_FILE, modelName } from "../models/files.js";
import type { FolderAccess } from "../models/folder.js";
import { LIMITS } from "../models/limits.js";
import { isFloat } from "../numbers/dtypes.js";
import type { Adapter, AdapterTensor, Ia3Module, LoraLayout, LoraModule, TokensModule } from "./adapter.js";
import { CONFIG_FILE, obstaclesOf, parseConfig } from "./config.js";
import type { AdapterConfig } from "./config.js";
import { defect } from "./defect.js";
import { readKey } from "./keys.js";
import type { Part } from "./keys.js";
import { patternMatcher } from "./pattern.js";
import type { PatternMatch } from "./pattern.js";

/** @param label the folder as the user wrote it. @throws adapter/config, adapter/kind, adapter/tensor */
export async function readPeft(label: string, access: FolderAccess): Promise<Adapter> {
  const text = new TextDecoder().decode(await access.readWhole(CONFIG_FILE, LIMITS.config));
  const config = parseConfig(text, `${label}/${CONFIG_FILE}`);
  const source = await access.open(ADAPTER_FILE);
  try {
    const header = await readHeader(source);
    return {
      ...{ label, name: modelName(label), location: access.location, format: "peft", naming: "dotted", config },
      ...{ source, header, ...modulesOf(label, config, header.tensors.map(asNamed)), obstacles: obstaclesOf(config) },
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A tensor of a file, and what it is called in PEFT's files. */
export interface NamedEntry {
  readonly entry: TensorEntry;
  readonly name: string;
}

function asNamed(entry: TensorEntry): NamedEntry {
  return { entry, name: entry.name };
}

type Modules = Pick<Adapter, "lora" | "ia3" | "tokens" | "whole" | "notes">;
type Parts = Partial<Record<Part, AdapterTensor>>;

/** What tensors under a config mean. @param label of the adapter, for messages. */
export function modulesOf(label: string, config: AdapterConfig, entries: readonly NamedEntry[]): Modules {
  const parts = new Map<string, Parts>();
  const whole = new Map<string, AdapterTensor>();
  for (const { entry, name } of entries) {
    const key = readKey(name);
    if (key === null) throw unknownTensor(label, config, entry);
    const tensor = floatTensor(label, entry);
    const own = key.part === "whole" ? null : (parts.get(key.path) ?? {});
    const twin = own === null ? whole.get(key.path) : own[key.part];
    if (twin !== undefined) {
      throw defect("adapter/tensor", "an adapter's file holds a module's tensor twice", {
        where: { file: label, tensor: tensor.key, key: key.path },
        found: `${twin.key} and ${tensor.key}`,
        advice: "save one adapter to a folder of its own",
      });
    }
    if (own === null) whole.set(key.path, tensor);
    else parts.set(key.path, { ...own, [key.part]: tensor });
  }
  const reader = new ModuleReader(label, config);
  const sorted = [...parts].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [path, own] of sorted) reader.read(path, own);
  if (parts.size === 0 && whole.size === 0) {
    throw defect("adapter/tensor", "the adapter holds no tensors", {
      where: { file: label },
      advice: "save it again; a training with sharded parameters must gather them first",
    });
  }
  const { lora, ia3, tokens, notes } = reader;
  return { lora, ia3, tokens, whole, notes };
}

function floatTensor(label: string, { name, dtype, shape, offset, length }: TensorEntry): AdapterTensor {
  if (isFloat(dtype)) return { key: name, dtype, shape, offset, length };
  throw defect("adapter/tensor", "a tensor of an adapter is not of floating point", {
    where: { file: label, tensor: name },
    expected: "F64, F32, F16, BF16 or an F8 format",
    found: dtype,
    advice: "save the adapter in a floating-point format",
  });
}

function unknownTensor(label: string, { type }: AdapterConfig, { name }: TensorEntry) {
  return defect("adapter/tensor", "an adapter holds a tensor of an unknown kind", {
    where: { file: label, tensor: name },
    expected: `the tensors of an adapter of type ${type}`,
    found: name,
    advice: "nothing is dropped silently: remove the tensor from the file if it means nothing",
  });
}

/** One adapter's modules, checked as they are read. */
class ModuleReader {
  readonly lora = new Map<string, LoraModule>();
  readonly ia3 = new Map<string, Ia3Module>();
  readonly tokens = new Map<string, TokensModule>();
  readonly notes: string[] = [];
  readonly #match: PatternMatch;

  constructor(
    readonly label: string,
    readonly config: AdapterConfig,
  ) {
    this.#match = patternMatcher(`${label}/${CONFIG_FILE}`);
  }

  read(path: string, parts: Parts): void {
    const { type } = this.config;
    if (parts.tokens !== undefined) this.tokens.set(path, this.#tokens(path, parts.tokens));
    if (parts.ia3 !== undefined) {
      if (type !== "IA3") throw this.#foreign(path, parts.ia3);
      this.ia3.set(path, this.#ia3(path, parts.ia3));
    }
    const isEmbedding = parts["embedding-a"] !== undefined || parts["embedding-b"] !== undefined;
    const a = isEmbedding ? parts["embedding-a"] : parts.a;
    const b = isEmbedding ? parts["embedding-b"] : parts.b;
    const some = a ?? b ?? parts.bias ?? parts.magnitude;
    if (some === undefined) return;
    if (type !== "LORA") throw this.#foreign(path, some);
    if (a === undefined || b === undefined) throw this.#half(path, some, a === undefined ? "A" : "B");
    this.lora.set(path, this.#lora(path, isEmbedding, a, b, parts));
  }

  #lora(path: string, isEmbedding: boolean, a: AdapterTensor, b: AdapterTensor, parts: Parts): LoraModule {
    const { fields } = this.config;
    const plain = path.replaceAll(".base_layer", "");
    const rank = this.#match(fields.rank_pattern ?? {}, plain) ?? fields.r;
    const alpha = this.#match(fields.alpha_pattern ?? {}, plain) ?? fields.lora_alpha;
    const parameters = (fields.target_parameters ?? []).filter((name) => isBelow(plain, name)).map(lastName);
    const layout: LoraLayout = isEmbedding
      ? "embedding"
      : parameters.length > 0
        ? "experts"
        : a.shape.length > 2
          ? "conv"
          : "linear";
    const experts = layout === "experts" ? (a.shape[0] ?? 0) / rank : 1;
    this.#checkShapes(path, layout, a, b, rank);
    const out = b.shape[0]!;
    const magnitude = parts.magnitude ?? null;
    if (fields.use_dora && magnitude === null) throw this.#half(path, a, "the magnitude of DoRA");
    for (const vector of [parts.bias, magnitude]) if (vector != null) this.#checkVector(path, vector, out);
    if (alpha === 0) this.notes.push(`alpha is 0 in ${path}: the adapter changes nothing there`);
    return {
      ...{ path, layout, a, b, bias: parts.bias ?? null, magnitude, rank, alpha },
      scaling: fields.use_rslora ? alpha / Math.sqrt(rank) : alpha / rank,
      ...{ experts, parameters, fanInFanOut: fields.fan_in_fan_out && layout === "linear" },
    };
  }

  /** The ranks that the shapes say must be those that the config says. */
  #checkShapes(path: string, layout: LoraLayout, a: AdapterTensor, b: AdapterTensor, rank: number): void {
    const wrongShape = a.shape.length < 2 || b.shape.length !== a.shape.length || [...a.shape, ...b.shape].includes(0);
    const ones = b.shape.slice(2).every((size) => size === 1);
    if (wrongShape || !ones || (layout !== "conv" && a.shape.length !== 2)) {
      throw defect("adapter/tensor", "a factor of a LoRA has an impossible shape", {
        where: { file: this.label, tensor: b.key, key: path },
        expected: "two matrices that share a rank of at least 1",
        found: `[${a.shape.join(", ")}] and [${b.shape.join(", ")}]`,
        advice: "save the adapter again; a training with sharded parameters must gather them first",
      });
    }
    const [ofA, ofB] = [a.shape[0]!, b.shape[1]!];
    const fits = layout === "experts" ? ofA === ofB && ofA % rank === 0 : ofA === rank && ofB === rank;
    if (fits) return;
    throw defect("adapter/tensor", "the rank of a LoRA disagrees with its config", {
      where: { file: this.label, tensor: (ofA === rank ? b : a).key, key: path },
      expected: `rank ${rank}, as ${CONFIG_FILE} says (r, rank_pattern)`,
      found: `[${a.shape.join(", ")}] and [${b.shape.join(", ")}]`,
      advice: "use the config that belongs to these tensors; a lost rank_pattern must be put back",
    });
  }

  #checkVector(path: string, { key, shape }: AdapterTensor, out: number): void {
    // A convolution's magnitude is saved as (1, out, 1, 1).
    if (shape.filter((size) => size !== 1).length <= 1 && shape.reduce((all, size) => all * size, 1) === out) return;
    throw defect("adapter/tensor", "a vector of a LoRA does not fit its module", {
      where: { file: this.label, tensor: key, key: path },
      expected: `${out} entries`,
      found: `[${shape.join(", ")}]`,
    });
  }

  #ia3(path: string, scale: AdapterTensor): Ia3Module {
    const { fields } = this.config;
    if (scale.shape.filter((size) => size !== 1).length > 1) {
      throw defect("adapter/tensor", "the vector of an (IA)3 adapter is no vector", {
        where: { file: this.label, tensor: scale.key, key: path },
        expected: "(out, 1), or (1, in) where the module is feed-forward",
        found: `[${scale.shape.join(", ")}]`,
      });
    }
    const { feedforward_modules: named } = fields;
    const feedForward =
      typeof named === "string"
        ? this.#match({ [named]: true }, path) === true
        : (named ?? []).some((name) => isAt(path, name));
    return { path, scale, feedForward, fanInFanOut: fields.fan_in_fan_out };
  }

  #tokens(path: string, rows: AdapterTensor): TokensModule {
    const { fields, type } = this.config;
    const said = type === "TRAINABLE_TOKENS" ? fields.token_indices : fields.trainable_token_indices;
    const indices = Array.isArray(said)
      ? said
      : (Object.entries(said ?? {}).find(([name]) => isAt(path, name))?.[1] ?? []);
    if (rows.shape.length !== 2 || rows.shape[0] !== indices.length || new Set(indices).size !== indices.length) {
      throw defect("adapter/tensor", "the trained tokens disagree with the config", {
        where: { file: this.label, tensor: rows.key, key: path },
        expected: `${indices.length} rows, each of a token of its own, as ${CONFIG_FILE} says`,
        found: `[${rows.shape.join(", ")}]`,
      });
    }
    return { path, indices, rows };
  }

  #half(path: string, { key }: AdapterTensor, missing: string) {
    return defect("adapter/tensor", `a LoRA has no ${missing}`, {
      where: { file: this.label, tensor: key, key: path },
      expected: `the other tensors of ${path}`,
      advice: "download the adapter again, or save it again",
    });
  }

  #foreign(path: string, { key }: AdapterTensor) {
    return defect("adapter/tensor", "a tensor is of another kind of adapter than the config says", {
      where: { file: this.label, tensor: key, key: path },
      expected: `tensors of an adapter of type ${this.config.type}`,
      advice: `use the ${CONFIG_FILE} that belongs to these tensors`,
    });
  }
}

/** Whether a module's path is or ends with a name. */
function isAt(path: string, name: string): boolean {
  return path === name || path.endsWith(`.${name}`);
}

/** Whether a parameter, named by the end of its path, belongs to a module. */
function isBelow(module: string, parameter: string): boolean {
  const parent = parameter.slice(0, Math.max(0, parameter.lastIndexOf(".")));
  return parent !== "" && (isAt(module, parent) || isAt(parent, module));
}

function lastName(parameter: string): string {
  return parameter.slice(parameter.lastIndexOf(".") + 1);
}

/** A folder that has no adapter of its own may have named ones below: PEFT saves those in folders of their names. */
export function noAdapter(label: string, names: readonly string[]) {
  return defect("adapter/config", "there is no adapter here", {
    where: { file: label },
    expected: `${CONFIG_FILE} and ${ADAPTER_FILE}, or a .safetensors file of kohya's layout`,
    found: names.length === 0 ? "no files" : someOf(names),
    advice: names.includes("adapter_model.bin")
      ? "adapter_model.bin is a pickle, which can run code and is never opened: save the adapter as safetensors"
      : "check the path; PEFT saves an adapter with a name in a folder of that name",
  });
}

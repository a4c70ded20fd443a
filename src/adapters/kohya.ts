/**
 * kohya's layout, which ComfyUI reads too: one file with `MODULE.lora_down.weight` (A), `MODULE.lora_up.weight` (B),
 * `MODULE.alpha` (a scalar; absent: the rank) and `MODULE.dora_scale`. Modules are paths joined with underscores behind
 * the name of the network (`lora_unet_…`, `lora_te_…`), or paths with dots (`diffusion_model.…`).
 *
 * The change is alpha / rank · up · down. What PEFT's config says beyond that travels in the file's metadata, so that a
 * file written here comes back as it was.
 * Source: kohya-ss/sd-scripts, networks/lora.py; ComfyUI, comfy/lora.py (both read as descriptions of the layout).
 */
import { readHeader } from "../formats/safetensors/header.js";
import { readTensor } from "../formats/safetensors/read.js";
import type { SafetensorsHeader, TensorEntry } from "../formats/safetensors/types.js";
import { modelName } from "../models/files.js";
import type { FolderAccess } from "../models/folder.js";
import { widen } from "../numbers/convert.js";
import { isFloat } from "../numbers/dtypes.js";
import type { ByteSource } from "../sources/source.js";
import type { Adapter, LoraModule } from "./adapter.js";
import { obstaclesOf, parseConfig, readConfigValues } from "./config.js";
import type { AdapterConfig } from "./config.js";
import { defect } from "./defect.js";
import { copiedTensor, draftTensor, loraConfig } from "./draft.js";
import type { DraftTensor } from "./draft.js";
import { modulesOf } from "./read_peft.js";
import type { NamedEntry } from "./read_peft.js";
import { safetensorsOf } from "./write.js";

/** Metadata keys in which a file written here keeps what the layout has no place for. */
const CONFIG_KEY = "mergewright_adapter_config";
const PATHS_KEY = "mergewright_module_paths";

type Role = "a" | "b" | "alpha" | "dora";

const ROLES: readonly (readonly [RegExp, Role])[] = [
  [/^(.+)\.(?:lora_down|lora\.down|lora_A)\.weight$/, "a"],
  [/^(.+)\.(?:lora_up|lora\.up|lora_B)\.weight$/, "b"],
  [/^(.+)\.alpha$/, "alpha"],
  [/^(.+)\.dora_scale$/, "dora"],
];

/** Kinds of LyCORIS and others in the same layout, by a part of their keys. */
const FOREIGN: readonly (readonly [RegExp, string])[] = [
  [/\.lora_mid\.weight$/, "a Tucker decomposition (LoCon with lora_mid)"],
  [/\.hada_/, "a Hadamard product (LoHa)"],
  [/\.lokr_/, "a Kronecker product (LoKr)"],
  [/\.(?:oft_|boft_)/, "a rotation (OFT)"],
  [/\.(?:diff|diff_b|w_norm|b_norm)$/, "a full difference of weights"],
  [/\.(?:on_input|a1|b1)\b/, "a layout of LyCORIS that is not read"],
];

/** Names of networks in front of a flattened path. */
const NETWORK = /^lora_(?:unet|te\d*|transformer|prior(?:_unet)?|llama|[a-z]+\d*(?=_))_?/;

/** @param name of the file in the folder. */
export async function readKohya(label: string, access: FolderAccess, name: string): Promise<Adapter> {
  const source = await access.open(name);
  try {
    const header = await readHeader(source);
    const modules = gather(label, header);
    const paths = pathsOf(label, header, [...modules.keys()]);
    const config = await configOf(label, header, modules, paths, source);
    const entries = [...modules].flatMap(([module, parts]): NamedEntry[] => {
      const path = paths.get(module)!;
      const named = (entry: TensorEntry | undefined, part: string) =>
        entry === undefined ? [] : [{ entry, name: `${path}.${part}` }];
      return [
        ...named(parts.a, "lora_A.weight"),
        ...named(parts.b, "lora_B.weight"),
        ...named(parts.dora, "lora_magnitude_vector"),
      ];
    });
    const flattened = [...paths].some(([module, path]) => module === path && !path.includes("."));
    return {
      ...{ label, name: modelName(label), location: access.location, format: "kohya", config, source, header },
      naming: flattened ? "flattened" : "dotted",
      ...modulesOf(label, config, entries),
      obstacles: obstaclesOf(config),
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Whether a file's tensors are of this layout. */
export function isKohya({ tensors }: SafetensorsHeader): boolean {
  return tensors.some(({ name }) => ROLES.some(([pattern, role]) => role !== "alpha" && pattern.test(name)));
}

type Parts = Partial<Record<Role, TensorEntry>>;

function gather(label: string, { tensors }: SafetensorsHeader): Map<string, Parts> {
  const modules = new Map<string, Parts>();
  for (const entry of tensors) {
    const foreign = FOREIGN.find(([pattern]) => pattern.test(entry.name));
    const role = ROLES.find(([pattern]) => pattern.test(entry.name));
    if (foreign !== undefined || role === undefined) {
      throw defect("adapter/kind", "a tensor is no part of a LoRA", {
        where: { file: label, tensor: entry.name },
        expected: "lora_down, lora_up, alpha or dora_scale",
        found: foreign?.[1] ?? entry.name,
        advice: "this kind of adapter is not supported; nothing of it is dropped silently",
      });
    }
    const module = role[0].exec(entry.name)![1]!;
    modules.set(module, { ...modules.get(module), [role[1]]: entry });
  }
  return new Map([...modules].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Path by module; a module without a known path keeps its name. */
function pathsOf(label: string, { metadata }: SafetensorsHeader, modules: readonly string[]): Map<string, string> {
  const text = metadata[PATHS_KEY];
  const known = text === undefined ? null : parseObject(text);
  return new Map(
    modules.map((module) => {
      const path = known?.[module] ?? module;
      if (typeof path === "string" && path !== "") return [module, path];
      throw defect("adapter/config", "the paths in a file's metadata are damaged", {
        where: { file: label, key: PATHS_KEY },
        expected: "a path for each module",
        found: module,
      });
    }),
  );
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const content: unknown = JSON.parse(text);
    return typeof content === "object" && content !== null ? (content as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** The config that a file written here remembers, else one that follows from ranks and alphas. */
async function configOf(
  label: string,
  { metadata }: SafetensorsHeader,
  modules: ReadonlyMap<string, Parts>,
  paths: ReadonlyMap<string, string>,
  source: ByteSource,
): Promise<AdapterConfig> {
  const known = metadata[CONFIG_KEY];
  if (known !== undefined) return parseConfig(known, label);
  const shapes: { path: string; rank: number; alpha: number }[] = [];
  for (const [module, { a, alpha }] of modules) {
    const rank = a?.shape[0];
    if (rank === undefined || rank < 1) continue;
    shapes.push({
      path: paths.get(module)!,
      rank,
      alpha: alpha === undefined ? rank : await readScalar(label, source, alpha),
    });
  }
  const useDora = [...modules.values()].some(({ dora }) => dora !== undefined);
  return readConfigValues(loraConfig(shapes, { use_dora: useDora }), label);
}

async function readScalar(label: string, source: ByteSource, entry: TensorEntry): Promise<number> {
  const { name, dtype, shape } = entry;
  const bytes = await readTensor(source, entry);
  const isOne = shape.reduce((all, size) => all * size, 1) === 1;
  const view = new DataView(bytes.buffer);
  if (isOne && dtype === "F64") return view.getFloat64(0, true);
  if (isOne && dtype === "I64") return Number(view.getBigInt64(0, true));
  if (isOne && isFloat(dtype)) {
    const value = new Float32Array(1);
    widen(dtype, bytes, value);
    if (Number.isFinite(value[0])) return value[0]!;
  }
  throw defect("adapter/tensor", "the alpha of a module is no number", {
    where: { file: label, tensor: name },
    expected: "one finite number",
    found: `${dtype} [${shape.join(", ")}]`,
  });
}

/** Drops the name of the network from a flattened path. */
export function withoutNetwork(path: string): string {
  return path.replace(NETWORK, "");
}

export interface KohyaOptions {
  /** Put before every module. Default `lora_unet`. */
  readonly prefix?: string;
}

/** What of an adapter kohya's layout has no place for; empty where it has all. */
export function unwritable({ config, lora, ia3, tokens, whole, obstacles }: Adapter): string[] {
  const reasons = [...obstacles];
  const of = (what: string, paths: Iterable<string>) => {
    const [first] = paths;
    if (first !== undefined) reasons.push(`${what} (${first})`);
  };
  if (config.type !== "LORA") reasons.push(`an adapter of type ${config.type}: the layout holds LoRAs only`);
  of("(IA)3 vectors", config.type === "LORA" ? ia3.keys() : []);
  of("trained tokens", tokens.keys());
  of("whole tensors", whole.keys());
  const modules = [...lora.values()];
  const some = (which: (module: LoraModule) => boolean) => modules.filter(which).map(({ path }) => path);
  of(
    "a LoRA of an embedding",
    some(({ layout }) => layout === "embedding"),
  );
  of(
    "a LoRA of experts",
    some(({ layout }) => layout === "experts"),
  );
  of(
    "biases of a LoRA",
    some(({ bias }) => bias !== null),
  );
  of(
    "a weight stored in x out (fan_in_fan_out)",
    some(({ fanInFanOut }) => fanInFanOut),
  );
  return reasons;
}

/** @throws adapter/kind naming what the layout cannot hold. */
export async function kohyaFile(adapter: Adapter, { prefix = "lora_unet" }: KohyaOptions = {}): Promise<Uint8Array> {
  const [reason] = unwritable(adapter);
  if (reason !== undefined) {
    throw defect("adapter/kind", "the adapter cannot be written in kohya's layout", {
      where: { file: adapter.label },
      expected: "LoRAs of linear layers and convolutions, with or without DoRA",
      found: reason,
      advice: "keep the adapter in PEFT's layout, or fold it into its base",
    });
  }
  const tensors: DraftTensor[] = [];
  const paths: Record<string, string> = {};
  for (const module of adapter.lora.values()) {
    const name = adapter.naming === "flattened" ? module.path : `${prefix}_${module.path.replaceAll(".", "_")}`;
    if (Object.hasOwn(paths, name)) throw sameName(adapter, name, module.path, paths[name]!);
    paths[name] = module.path;
    tensors.push(
      await copiedTensor(adapter, module.a, `${name}.lora_down.weight`),
      await copiedTensor(adapter, module.b, `${name}.lora_up.weight`),
      alphaTensor(`${name}.alpha`, module.scaling * module.rank),
    );
    if (module.magnitude !== null) {
      const scale = await copiedTensor(adapter, module.magnitude, `${name}.dora_scale`);
      const [out] = module.b.shape;
      tensors.push({ ...scale, shape: [out!, ...module.a.shape.slice(1).map(() => 1)] });
    }
  }
  const { fields, values } = adapter.config;
  return safetensorsOf(tensors, {
    ss_network_module: "networks.lora",
    ss_network_dim: String(fields.r),
    ss_network_alpha: String(fields.lora_alpha),
    [CONFIG_KEY]: JSON.stringify(values),
    [PATHS_KEY]: JSON.stringify(paths),
  });
}

/** F32, as kohya's tools write it, unless that would round it. */
function alphaTensor(key: string, alpha: number): DraftTensor {
  if (Math.fround(alpha) === alpha) return draftTensor(key, [], Float32Array.of(alpha));
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, alpha, true);
  return { key, dtype: "F64", shape: [], bytes };
}

function sameName({ label }: Adapter, name: string, one: string, other: string) {
  return defect("adapter/kind", "two modules have the same name in kohya's layout", {
    where: { file: label, tensor: name },
    found: `${other} and ${one}`,
    advice: "keep the adapter in PEFT's layout",
  });
}

/** An adapter in another layout: PEFT's folder or kohya's file, without loss, or refused with the reason. */
import type { Adapter } from "./adapter.js";
import { defect } from "./defect.js";
import { copiedTensor, peftKey } from "./draft.js";
import type { AdapterDraft, DraftTensor } from "./draft.js";
import { kohyaFile } from "./kohya.js";
import type { KohyaOptions } from "./kohya.js";
import type { BaseNames } from "./target.js";
import { encode, originText, peftFiles } from "./write.js";
import type { AdapterFiles, AdapterOrigin } from "./write.js";

export type AdapterFormat = Adapter["format"];

export interface ConvertOptions extends KohyaOptions {
  readonly to: AdapterFormat;
  /** Names of the base's tensors; needed to undo paths that are joined with underscores. */
  readonly names?: BaseNames | null;
}

/** Name of the weights in a folder with a file of kohya's layout. */
export const KOHYA_FILE = "lora.safetensors";

/** @throws adapter/kind, adapter/base naming what cannot be represented. */
export async function convertAdapter(adapter: Adapter, options: ConvertOptions): Promise<AdapterFiles> {
  const { to, names = null, prefix } = options;
  const origin: AdapterOrigin = {
    action: "adapter convert",
    summary: `Converted from ${adapter.format === "kohya" ? "kohya's" : "PEFT's"} layout; no value was changed.`,
    inputs: [{ label: adapter.label, header: adapter.header.hash }],
    details: { from: adapter.format, to, ...(prefix !== undefined && { prefix }) },
  };
  if (to === "peft") return peftFiles(await peftDraft(adapter, names), origin);
  const file = await kohyaFile(adapter, options);
  return new Map([
    [KOHYA_FILE, file],
    ["mergewright.json", encode(originText([], origin))],
  ]);
}

/** The adapter as PEFT writes it. @param names see ConvertOptions. */
export async function peftDraft(adapter: Adapter, names: BaseNames | null = null): Promise<AdapterDraft> {
  const { config, naming, header } = adapter;
  if (adapter.format === "peft") {
    const kept = header.tensors.map(({ name }) => name);
    const all = allTensors(adapter);
    const tensors = await Promise.all(kept.map((key) => copiedTensor(adapter, all.get(key)!, key)));
    return { config: config.values, tensors };
  }
  const pathOf = (path: string) => {
    if (naming === "dotted" && names === null) return path;
    const found = names?.find(path, naming) ?? null;
    if (found !== null) return found;
    throw defect("adapter/base", "the file joins paths with underscores, which does not say what module is meant", {
      where: { file: adapter.label, key: path },
      expected: names === null ? "a base to find the modules in" : "a tensor of the base with this name",
      advice: "give the base that the adapter was made for (--base)",
    });
  };
  const tensors: DraftTensor[] = [];
  const renamed: Record<string, string> = {};
  for (const module of adapter.lora.values()) {
    const path = pathOf(module.path);
    renamed[module.path] = path;
    tensors.push(
      await copiedTensor(adapter, module.a, peftKey(path, "lora_A.weight")),
      await copiedTensor(adapter, module.b, peftKey(path, "lora_B.weight")),
    );
    if (module.magnitude === null) continue;
    const magnitude = await copiedTensor(adapter, module.magnitude, peftKey(path, "lora_magnitude_vector"));
    const [out] = module.b.shape;
    tensors.push({
      ...magnitude,
      shape: module.layout === "conv" ? [1, out!, ...module.a.shape.slice(2).map(() => 1)] : [out!],
    });
  }
  return { config: renamedConfig(config.values, renamed), tensors };
}

function allTensors({ lora, ia3, tokens, whole }: Adapter) {
  const parts = [
    ...[...lora.values()].flatMap(({ a, b, bias, magnitude }) => [a, b, bias, magnitude]),
    ...[...ia3.values()].map(({ scale }) => scale),
    ...[...tokens.values()].map(({ rows }) => rows),
    ...whole.values(),
  ];
  return new Map(parts.flatMap((tensor) => (tensor === null ? [] : [[tensor.key, tensor] as const])));
}

/** Paths in the config of a file without one are those of its modules. */
function renamedConfig(values: Readonly<Record<string, unknown>>, paths: Readonly<Record<string, string>>) {
  if (Object.entries(paths).every(([from, to]) => from === to)) return values;
  const rename = (name: unknown) => (typeof name === "string" && Object.hasOwn(paths, name) ? paths[name] : name);
  const renameKeys = (pattern: unknown) =>
    Object.fromEntries(Object.entries(pattern ?? {}).map(([key, value]) => [rename(key) as string, value as unknown]));
  const modules: unknown = values["target_modules"];
  return {
    ...values,
    target_modules: Array.isArray(modules) ? modules.map(rename) : modules,
    rank_pattern: renameKeys(values["rank_pattern"]),
    alpha_pattern: renameKeys(values["alpha_pattern"]),
  };
}

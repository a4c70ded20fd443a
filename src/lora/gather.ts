/** The modules of several adapters side by side, checked to be of one and the same network. */
import type { Adapter, LoraModule } from "../adapters/adapter.js";
import { defect } from "../adapters/defect.js";
import type { BaseNames } from "../adapters/target.js";

/** A module of the network, and what the adapters have of it. */
export interface SharedModule {
  /** In the network; the result's. */
  readonly path: string;
  /** Per adapter in recipe order; `null` where it does not touch the module. */
  readonly parts: readonly (LoraModule | null)[];
  /** The first that is there. */
  readonly first: LoraModule;
}

/** @param names of the base's tensors, where a base is given. @throws adapter/kind, adapter/base, adapter/tensor */
export function sharedModules(adapters: readonly Adapter[], names: BaseNames | null): SharedModule[] {
  const byPath = new Map<string, (LoraModule | null)[]>();
  for (const [index, adapter] of adapters.entries()) {
    for (const module of adapter.lora.values()) {
      const path = pathOf(adapter, module.path, names);
      const parts = byPath.get(path) ?? adapters.map(() => null);
      parts[index] = module;
      byPath.set(path, parts);
    }
  }
  refuseTwoFormsOfExperts(adapters);
  return [...byPath]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, parts]) => {
      const owner = parts.findIndex((part) => part !== null);
      const first = parts[owner]!;
      for (const [index, part] of parts.entries()) {
        if (part !== null) checkAlike(path, { adapter: adapters[owner]!, module: first }, adapters[index]!, part);
      }
      return { path, parts, first };
    });
}

/** Experts in one parameter and one by one are the same weights under two names, which would be added up unseen. */
function refuseTwoFormsOfExperts(adapters: readonly Adapter[]): void {
  const fused = adapters.flatMap(({ label, lora }) =>
    [...lora.values()].flatMap(({ layout, path }) =>
      layout === "experts" ? [{ label, path: path.replaceAll(".base_layer", "") }] : [],
    ),
  );
  if (fused.length === 0) return;
  for (const { label, lora } of adapters) {
    for (const { path, b } of lora.values()) {
      const [, container] = /^(.*\.experts)\.\d+\./.exec(path) ?? [];
      const twin = container === undefined ? undefined : fused.find((one) => one.path === container);
      if (twin === undefined) continue;
      throw defect("adapter/base", "one adapter has its experts in one parameter, another one by one", {
        where: { file: label, tensor: b.key, key: path },
        expected: `experts as ${twin.label} has them, in ${twin.path}`,
        advice: "fold them into the base together instead: mergewright adapter fold BASE ADAPTERS -o OUT",
      });
    }
  }
}

/** Paths that are joined with underscores are looked up in the base. */
export function pathOf(
  { label, naming }: Pick<Adapter, "label" | "naming">,
  path: string,
  names: BaseNames | null,
): string {
  if (naming === "dotted") return path;
  const found = names?.find(path, naming) ?? null;
  if (found !== null) return found;
  throw defect("adapter/base", "the file joins paths with underscores, which does not say what module is meant", {
    where: { file: label, key: path },
    expected: names === null ? "a base to find the modules in" : "a tensor of the base with this name",
    advice: "give the base that the adapter was made for (--base)",
  });
}

/** Of a module's update as factors are read: outputs (tokens of an embedding), inputs with the kernel, and its kind. */
export function sizeOf({ layout, a, b, experts, rank }: LoraModule): { kind: string; out: number; in: number } {
  if (layout === "embedding") return { kind: layout, out: a.shape[1]!, in: b.shape[0]! };
  const kernel = a.shape.slice(2);
  const kind = layout === "experts" ? `${experts} experts` : [layout, ...kernel].join(" ");
  const width = a.shape.reduce((all, size) => all * size, 1) / (rank * experts);
  return { kind, out: b.shape[0]!, in: width };
}

function checkAlike(path: string, known: { adapter: Adapter; module: LoraModule }, adapter: Adapter, part: LoraModule) {
  const [wanted, found] = [sizeOf(known.module), sizeOf(part)];
  const tell = ({ kind, out, in: width }: ReturnType<typeof sizeOf>) => `${out} x ${width}, ${kind}`;
  if (tell(wanted) === tell(found)) return;
  throw defect("adapter/base", "two adapters are of different networks", {
    where: { file: adapter.label, tensor: part.b.key, key: path },
    expected: `${tell(wanted)}, as in ${known.adapter.label}`,
    found: tell(found),
    advice: "merge adapters that were trained on the same base",
  });
}

/**
 * Whether the adapters can be merged with each other at all.
 * @param anyBase lets them name different bases.
 * @throws adapter/kind, adapter/base
 */
export function checkTogether(adapters: readonly Adapter[], anyBase: boolean): void {
  for (const { label, obstacles, config } of adapters) {
    if (obstacles.length > 0) {
      throw defect("adapter/kind", "an adapter's change does not follow from its file and the base", {
        where: { file: label },
        found: obstacles.join("; "),
        advice: "fold it with the library that trained it, then extract a LoRA: mergewright adapter extract",
      });
    }
    if (config.type !== adapters[0]!.config.type) {
      throw defect("adapter/kind", "adapters of different kinds cannot be merged into one", {
        where: { file: label, key: "peft_type" },
        expected: `${adapters[0]!.config.type}, as in ${adapters[0]!.label}`,
        found: config.type,
        advice: "fold them into the base instead: mergewright adapter fold BASE ADAPTERS -o OUT",
      });
    }
  }
  const named = adapters.filter(({ config }) => config.base !== null && config.base !== "");
  const wrong = named.find(({ config }) => lastPart(config.base!) !== lastPart(named[0]!.config.base!));
  if (anyBase || wrong === undefined) return;
  throw defect("adapter/base", "the adapters say that they were trained on different bases", {
    where: { file: wrong.label, key: "base_model_name_or_path" },
    expected: `${named[0]!.config.base}, as in ${named[0]!.label}`,
    found: wrong.config.base!,
    advice: "if it is the same model under another name, say so with --any-base",
  });
}

function lastPart(path: string): string {
  return path
    .replace(/[/\\]+$/, "")
    .split(/[/\\]/)
    .at(-1)!;
}

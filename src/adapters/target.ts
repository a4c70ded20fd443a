/**
 * Finds what a module of an adapter is called in a base. Checkpoints drop or add the name of the inner network in front
 * (`h.0.attn` for `transformer.h.0.attn`), and kohya's files join paths with underscores.
 */
import type { Naming } from "./adapter.js";
import { withoutNetwork } from "./kohya.js";

/** More than any network puts in front. */
const MOST_PARTS = 3;

export class BaseNames {
  readonly #names: ReadonlySet<string>;
  /** Of weights, without `.weight`, joined with underscores. */
  #flat: Map<string, string[]> | null = null;

  constructor(names: Iterable<string>) {
    this.#names = new Set(names);
  }

  /**
   * The module's path in the base, so that path + `.weight` is a tensor of it.
   * @param part the tensor that must be there.
   * @returns `null` where there is none, or where several could be meant.
   */
  find(path: string, naming: Naming, part = "weight"): string | null {
    if (naming === "flattened") return this.#findFlat(path);
    const has = (candidate: string) => this.#names.has(`${candidate}.${part}`);
    if (has(path)) return path;
    const parts = path.split(".");
    for (let dropped = 1; dropped <= Math.min(MOST_PARTS, parts.length - 1); dropped++) {
      const shorter = parts.slice(dropped).join(".");
      if (has(shorter)) return shorter;
    }
    const end = `.${path}.${part}`;
    const longer = [...this.#names].filter((name) => name.endsWith(end));
    return longer.length === 1 ? longer[0]!.slice(0, -part.length - 1) : null;
  }

  #findFlat(path: string): string | null {
    this.#flat ??= this.#flatten();
    const wanted = [path, withoutNetwork(path)];
    for (const name of wanted) {
      const found = this.#flat.get(name) ?? [];
      if (found.length === 1) return found[0]!;
    }
    return null;
  }

  /** By flattened path, and by that without up to three leading names. */
  #flatten(): Map<string, string[]> {
    const flat = new Map<string, string[]>();
    for (const name of this.#names) {
      if (!name.endsWith(".weight")) continue;
      const path = name.slice(0, -".weight".length);
      const parts = path.split(".");
      for (let dropped = 0; dropped <= Math.min(MOST_PARTS, parts.length - 1); dropped++) {
        const key = parts.slice(dropped).join("_");
        flat.set(key, [...(flat.get(key) ?? []), path]);
      }
    }
    return flat;
  }
}

/**
 * Where a tensor stands in the walk through a network, by names alone: the first number in a name is the layer
 * (`model.layers.3.mlp.w`, `transformer.h.3.attn.w`), what stands before it names the stack of layers, and what has no
 * layer lies before all of them (embeddings) or behind them (final norms, heads).
 */

/** A tensor of a layer: `<stack>.<index>.<rest>`. */
export interface LayerPlace {
  /** Everything before the index, without the dot: `model.layers`. */
  readonly stack: string;
  readonly index: number;
  /** Everything behind the index, without the dot; "" for a tensor that is a layer itself. */
  readonly rest: string;
}

/** Names that lists of layers have in the families known; other numbered lists are layers only where none is there. */
const LIST_OF_LAYERS = /(?:^|[._])(?:layers?|h|blocks?|resblocks|blk|stages?)$/i;
/** What feeds the layers. An output embedding has `out` in its name, or `head`. */
const BEFORE =
  /embed|wte|wpe|shared|patch|token_type|class_token|cls_token|positional|pos_|ln_pre|pre_?layr?norm|conv1/i;
const BEHIND = /embed_out|lm_head|(?:^|\.)head/i;

/** The first number in a name, whatever it counts; `null` where there is none. */
export function layerPlaceOf(name: string): LayerPlace | null {
  const match = /^(.*?)\.(\d{1,6})(?:\.(.*))?$/s.exec(name);
  return match === null ? null : { stack: match[1]!, index: Number(match[2]), rest: match[3] ?? "" };
}

export function nameInLayer({ stack, rest }: LayerPlace, index: number): string {
  return rest === "" ? `${stack}.${index}` : `${stack}.${index}.${rest}`;
}

/** The layers of one checkpoint. */
export class Layers {
  /** Number of layers per stack, in the order of the names; only stacks that are layers. */
  readonly counts: ReadonlyMap<string, number>;

  /** @param names of all tensors of a checkpoint. */
  constructor(names: Iterable<string>) {
    const counts = new Map<string, number>();
    const tensors = new Map<string, number>();
    for (const name of names) {
      const place = layerPlaceOf(name);
      if (place === null) continue;
      counts.set(place.stack, Math.max(counts.get(place.stack) ?? 0, place.index + 1));
      tensors.set(place.stack, (tensors.get(place.stack) ?? 0) + 1);
    }
    const known = [...counts.keys()].filter((stack) => LIST_OF_LAYERS.test(stack));
    const largest = [...tensors].sort((a, b) => b[1] - a[1])[0]?.[0];
    const kept = known.length > 0 ? known : largest === undefined ? [] : [largest];
    this.counts = new Map(kept.map((stack) => [stack, counts.get(stack)!]));
  }

  /** The layer that a tensor belongs to, or `null` outside the layers. */
  placeOf(name: string): LayerPlace | null {
    const place = layerPlaceOf(name);
    return place !== null && this.counts.has(place.stack) ? place : null;
  }

  /**
   * How far through its stack a tensor's layer is: 0 for the first, 1 for the last and for the only one; `null` outside
   * the layers.
   */
  depthOf(name: string): number | null {
    const place = this.placeOf(name);
    return place === null ? null : depth(place.index, this.counts.get(place.stack)!);
  }
}

/** 0 for the first of `count` layers, 1 for the last and for the only one. */
export function depth(index: number, count: number): number {
  return count <= 1 ? 1 : index / (count - 1);
}

/** Whether a tensor outside the layers feeds them; the others come behind them. */
export function isBeforeLayers(name: string): boolean {
  return BEFORE.test(name) && !BEHIND.test(name);
}

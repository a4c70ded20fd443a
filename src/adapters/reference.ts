/**
 * References to a base with adapters, wherever a model can be named:
 *
 *     BASE+ADAPTER                 the adapter folded into the base
 *     BASE+ADAPTER+0.5*OTHER       several, with weights; negative ones take a change away
 *     FOLDED+undo*ADAPTER          an adapter taken out again; undo*0.5*ADAPTER where it had a weight
 *
 * mergekit writes the first form. In front of an adapter with an address, or behind a base with one, only a `+` before
 * another address or a path that begins with / ./ ../ or ~ separates, since addresses may hold one.
 */
import type { Checkpoint } from "../models/model.js";
import type { Adapter } from "./adapter.js";
import { foldedCheckpoint } from "./folded.js";
import type { WeightedAdapter } from "./folded.js";

export interface Reference {
  readonly base: string;
  readonly adapters: readonly AdapterReference[];
}

export interface AdapterReference {
  readonly label: string;
  readonly weight: number;
  /** Takes out what a fold with this weight put in. */
  readonly undo: boolean;
}

const WEIGHTED = /^(undo\*)?(?:(-?(?:\d+\.?\d*|\.\d+)(?:[eE]-?\d+)?)\*)?(.+)$/;
const IN_ADDRESSES = /\+(?=(?:undo\*)?(?:[-\d.eE]+\*)?(?:https?:\/\/|\.{0,2}\/|~))/;

/** @returns `null` for the name of one model. */
export function parseReference(label: string): Reference | null {
  const parts = label.split(/^\w+:\/\//.test(label) || label.includes("://") ? IN_ADDRESSES : "+");
  const [base, ...adapters] = parts as [string, ...string[]];
  if (adapters.length === 0 || parts.includes("")) return null;
  return {
    base,
    adapters: adapters.map((part) => {
      const [, undo, weight, own] = WEIGHTED.exec(part)!;
      return { label: own!, weight: Number(weight ?? 1), undo: undo !== undefined };
    }),
  };
}

/** What `parseReference` reads. */
export function formatReference({ base, adapters }: Reference): string {
  const written = ({ label, weight, undo }: AdapterReference) =>
    `${undo ? "undo*" : ""}${weight === 1 ? "" : `${weight}*`}${label}`;
  return [base, ...adapters.map(written)].join("+");
}

/** How a platform opens the parts. */
export interface ReferencePlatform {
  readonly openBase: (label: string) => Promise<Checkpoint>;
  readonly openAdapter: (label: string) => Promise<Adapter>;
}

/** @param label the whole, as the user wrote it. @throws what opening and `foldedCheckpoint` throw. */
export async function openReference(
  label: string,
  { base, adapters }: Reference,
  { openBase, openAdapter }: ReferencePlatform,
): Promise<Checkpoint> {
  const opened: { close(): void | Promise<void> }[] = [];
  try {
    const checkpoint = await openBase(base);
    opened.push(checkpoint);
    const weighted: WeightedAdapter[] = [];
    for (const { label: own, weight, undo } of adapters) {
      const adapter = await openAdapter(own);
      opened.push(adapter);
      weighted.push({ adapter, weight, undo });
    }
    return foldedCheckpoint(label, checkpoint, weighted);
  } catch (error) {
    for (const one of opened) await one.close();
    throw error;
  }
}

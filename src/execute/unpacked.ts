/** A method that packs one model's change, as the weights that a task of its artifact has. */
import type { Arguments, Method, Tile, TileMethod } from "../methods/method.js";

const { abs, fround } = Math;

/** The method as what combines an inner merge: theta_0 plus what would be stored; any other method as it is. */
export function withoutArtifact(method: Method): Method {
  if (method.grain !== "tile" || method.packing === undefined) return method;
  const { limit } = method.packing;
  return {
    ...method,
    combine: (tile, args) => addStored(method, tile, args, limit(args)),
    kernel: () => null,
  };
}

/** An entry that is not stored stays the base's, down to the sign of a zero. */
function addStored(method: TileMethod, tile: Tile, args: Arguments, limit: number | null): void {
  const { count, base, inputs, out } = tile;
  method.combine(tile, args);
  const change = inputs[0]!;
  for (let p = 0; p < count; p++) {
    const isStored = limit !== null && !(abs(change[p]!) <= limit);
    out[p] = isStored ? fround(base[p]! + out[p]!) : base[p]!;
  }
}

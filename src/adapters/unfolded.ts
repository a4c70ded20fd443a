/** How well an adapter was taken out of a folded model, measured over every entry that it had changed. */
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { narrow, widen } from "../numbers/convert.js";
import { DTYPE_BYTES, entriesOf, FLOAT_BITS } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { ByteSource } from "../sources/source.js";

export interface UnfoldError {
  /** Tensors and entries that the adapter had changed. */
  readonly tensors: number;
  readonly entries: number;
  /**
   * Half a unit in the last place of the largest folded entry: no recovered entry is further from the base's than this and
   * the rounding of its own format.
   */
  readonly bound: number;
  /** Folded again and rounded to the folded model's format: entries that differ from it, and by how much at most. */
  readonly again: { readonly differing: number; readonly largest: number };
  /** Beside the base, where it was given: entries that differ from it, the largest and the root mean square difference. */
  readonly base: { readonly differing: number; readonly largest: number; readonly rms: number } | null;
}

export interface UnfoldParts {
  readonly folded: Checkpoint;
  readonly recovered: Checkpoint;
  /** `recovered` with the adapters. */
  readonly refolded: Checkpoint;
  readonly base: Checkpoint | null;
}

const RUN = 65_536;

export async function measureUnfolded({ folded, recovered, refolded, base }: UnfoldParts): Promise<UnfoldError> {
  const changed = refolded.shards.at(-1)!.header.tensors;
  let entries = 0;
  let [bound, differing, largest] = [0, 0, 0];
  const beside = { differing: 0, largest: 0, squares: 0 };
  for (const { name, shape } of changed) {
    const all = entriesOf(shape);
    const stored = folded.tensors.get(name)!;
    const half = 2 ** -(FLOAT_BITS[stored.dtype as FloatDtype].mantissa + 1);
    entries += all;
    for (let first = 0; first < all; first += RUN) {
      const count = Math.min(RUN, all - first);
      const then = await readRun(folded, stored, first, count);
      const again = rounded(
        await readRun(refolded, refolded.tensors.get(name)!, first, count),
        stored.dtype as FloatDtype,
      );
      for (let p = 0; p < count; p++) {
        bound = Math.max(bound, Math.abs(then[p]!) * half);
        if (Object.is(then[p], again[p]) || then[p] === again[p]) continue;
        differing++;
        largest = Math.max(largest, Math.abs(then[p]! - again[p]!));
      }
      const own = base?.tensors.get(name);
      if (base === null || own === undefined) continue;
      const [was, is] = [
        await readRun(base, own, first, count),
        await readRun(recovered, recovered.tensors.get(name)!, first, count),
      ];
      for (let p = 0; p < count; p++) {
        const apart = Math.abs(was[p]! - is[p]!);
        if (apart === 0) continue;
        beside.differing++;
        beside.largest = Math.max(beside.largest, apart);
        beside.squares += apart * apart;
      }
    }
  }
  const { squares, ...rest } = beside;
  return {
    ...{ tensors: changed.length, entries, bound, again: { differing, largest } },
    base: base === null ? null : { ...rest, rms: Math.sqrt(squares / Math.max(1, entries)) },
  };
}

async function readRun(
  { shards }: { readonly shards: readonly { readonly source: ByteSource }[] },
  { dtype, offset, shard }: StoredTensor,
  first: number,
  count: number,
): Promise<Float32Array> {
  const width = DTYPE_BYTES[dtype];
  const bytes = new Uint8Array(count * width);
  await shards[shard]!.source.read(offset + first * width, bytes);
  const values = new Float32Array(count);
  widen(dtype as FloatDtype, bytes, values);
  return values;
}

function rounded(values: Float32Array, dtype: FloatDtype): Float32Array {
  const bytes = new Uint8Array(values.length * DTYPE_BYTES[dtype]);
  narrow(dtype, values, bytes);
  const out = new Float32Array(values.length);
  widen(dtype, bytes, out);
  return out;
}

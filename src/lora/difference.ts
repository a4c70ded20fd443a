/** The change of one weight between two models, as an update of low rank; one matrix of each is in memory. */
import type { Algebra, Matrix } from "../algebra/algebra.js";
import { readTensor } from "../formats/safetensors/read.js";
import { widen } from "../numbers/convert.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { ByteSource } from "../sources/source.js";
import { defect } from "../adapters/defect.js";
import { frobenius, truncate } from "./recompress.js";
import type { Cutoff, Recompressed } from "./recompress.js";
import { kneeCutoff } from "./knee.js";

/** Where a tensor's bytes are. */
export interface TensorPlace {
  /** Index into `DifferenceWork.sources`. */
  readonly source: number;
  readonly offset: number;
  readonly length: number;
  readonly dtype: FloatDtype;
}

export interface DifferenceWork<S> {
  readonly sources: readonly { readonly label: string; readonly source: S }[];
  /** The tensor's name. */
  readonly name: string;
  readonly model: TensorPlace;
  readonly base: TensorPlace;
  /** As a matrix, row-major: convolutions are flattened behind their first dimension. */
  readonly rows: number;
  readonly columns: number;
  readonly cutoff: Cutoff;
  /** The rank is where the spectrum falls to the level of noise; `cutoff.rank` is the most. */
  readonly knee: boolean;
}

export interface Difference {
  readonly kind: "difference";
  /** Rank 0, without entries, where nothing changed. */
  readonly update: Recompressed;
}

export async function workOnDifference(algebra: Algebra, work: DifferenceWork<ByteSource>): Promise<Difference> {
  const { rows, columns, cutoff, knee } = work;
  const data = await read(work, work.model);
  const base = await read(work, work.base);
  for (let i = 0; i < data.length; i++) data[i] = data[i]! - base[i]!;
  const change: Matrix = { rows, columns, data };
  if (frobenius(data) === 0) return { kind: "difference", update: nothing(rows, columns) };
  return { kind: "difference", update: truncate(algebra, change, knee ? kneeCutoff(algebra, change, cutoff) : cutoff) };
}

async function read({ sources, name, rows, columns }: DifferenceWork<ByteSource>, place: TensorPlace) {
  const values = new Float32Array(rows * columns);
  const { label, source } = sources[place.source]!;
  widen(place.dtype, await readTensor(source, place), values);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return values;
  throw defect("values/non-finite", "a model holds a value that is no number", {
    where: { file: label, tensor: name },
    expected: "finite numbers",
    found: `${values[bad]} at entry ${bad}`,
    advice: "leave the tensor out (--exclude), or use another checkpoint",
  });
}

function nothing(rows: number, columns: number): Recompressed {
  const empty = new Float32Array(0);
  return { a: { rows: 0, columns, data: empty }, b: { rows, columns: 0, data: empty }, error: 0, norm: 0 };
}

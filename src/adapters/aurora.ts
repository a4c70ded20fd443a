/**
 * Aurora's mode approximation (Wang et al., NeurIPS 2023, arXiv 2305.08381) as a LoRA, without loss. Its checkpoints hold,
 * shared by all layers, U (`CP_U.weight`, R x d), V (`CP_V.weight`, d x R) and a core C (`CP_C`, R x R x R); each layer has
 * mode matrices P. M = C·P, the last index of C contracted, has one R x R matrix M_j per mode, and the adapter adds
 *
 *   attention, mode j:  V(U(x) M_j),  so ΔW = V M_jᵀ U            (q, k, v, proj of the image half; q, k, v of the text half)
 *   fc1, d -> 4d:       rows c·d … of ΔW = V F1_cᵀ U,     F1 = modes 0 … 3 of M read as R x 4R, cut into four R x R
 *   fc2, 4d -> d:       columns c·d … of ΔW = V F2_c U,   F2 = modes 4 … 7 likewise
 *
 * The code reshapes [b, j] to 4b + j and reads that back as chunk (4b + j) div R, place (4b + j) mod R, which mixes modes
 * and places; it is done literally here. All of these have rank R: A = U and B = the stacked V M_jᵀ, for fc2 the other way
 * round. The gated query transform (`CP_scale…`, `CP_shift…`) changes hidden states, no weight, and is left out with a note.
 */
import { readHeader } from "../formats/safetensors/header.js";
import { readTensor } from "../formats/safetensors/read.js";
import type { TensorEntry } from "../formats/safetensors/types.js";
import { ADAPTER_FILE } from "../models/files.js";
import type { FolderAccess } from "../models/folder.js";
import { memoryFolder } from "../models/folder.js";
import { widen } from "../numbers/convert.js";
import { entriesOf, isFloat } from "../numbers/dtypes.js";
import { joined } from "../numbers/joined.js";
import { memorySource } from "../sources/memory.js";
import type { ByteSource, SourceStamp } from "../sources/source.js";
import type { Adapter } from "./adapter.js";
import { CONFIG_FILE } from "./config.js";
import { defect } from "./defect.js";
import { draftTensor, loraConfig, peftKey } from "./draft.js";
import type { DraftTensor } from "./draft.js";
import { readPeft } from "./read_peft.js";
import { encode, safetensorsOf } from "./write.js";

const SHARED = ["CP_U.weight", "CP_V.weight", "CP_C"] as const;

/** Modes that belong to a parameter, and the modules behind them. */
const MODES: readonly (readonly [
  RegExp,
  modes: number,
  (path: string, shared: Shared, modes: readonly Square[]) => NewModule[],
])[] = [
  [/^(.*\.attn)\.CP_attention$/, 4, imageAttention],
  [/^(.*\.mlp)\.mlp_CP$/, 8, imageMlp],
  [/^(.*\.self)\.q_CP$/, 1, (path, shared, modes) => [attention(`${path}.query`, shared, modes)]],
  [/^(.*\.self)\.k_CP$/, 1, (path, shared, modes) => [attention(`${path}.key`, shared, modes)]],
  [/^(.*\.self)\.v_CP$/, 1, (path, shared, modes) => [attention(`${path}.value`, shared, modes)]],
];
/** Of the averaged copies that training keeps. */
const MOMENTUM = /^[^.]+_m\./;

/** Row-major; `rank` x `width` and `width` x `rank`. */
interface Shared {
  readonly u: Float32Array;
  readonly v: Float32Array;
  readonly rank: number;
  readonly width: number;
}

/** R x R, f64, row-major. */
type Square = Float64Array;

interface NewModule {
  readonly path: string;
  /** R x in. */
  readonly a: Float32Array;
  /** out x R. */
  readonly b: Float32Array;
}

/** @returns `null` where the file is no checkpoint of Aurora's. */
export async function readAurora(label: string, access: FolderAccess, file: string): Promise<Adapter | null> {
  const source = await access.open(file);
  try {
    const made = await densified(label, source);
    if (made === null) return null;
    const { modules, rank, weights, notes } = made;
    const files = memoryFolder({
      [CONFIG_FILE]: encode(JSON.stringify(loraConfig(modules.map(({ path }) => ({ path, rank, alpha: rank }))))),
      [ADAPTER_FILE]: weights,
    });
    const adapter = await readPeft(label, files);
    const { address, stamp } = source;
    const computed: ByteSource = {
      ...adapter.source,
      stamp: { size: weights.length, version: stamp.version },
      address: address === null ? null : { kind: "aurora", file: { label: source.label, address, stamp } },
    };
    return { ...adapter, source: computed, location: access.location, notes: [...adapter.notes, ...notes] };
  } finally {
    await source.close();
  }
}

/** The factors again, in another thread. @param source the checkpoint; closed when they are made. */
export async function auroraSource(source: ByteSource, stamp: SourceStamp): Promise<ByteSource> {
  try {
    const { weights } = (await densified(source.label, source))!;
    return { ...memorySource(weights, source.label), stamp };
  } finally {
    await source.close();
  }
}

interface Densified {
  readonly modules: readonly NewModule[];
  readonly rank: number;
  /** A safetensors file with the factors, named as PEFT's are. */
  readonly weights: Uint8Array<ArrayBuffer>;
  readonly notes: readonly string[];
}

async function densified(label: string, source: ByteSource): Promise<Densified | null> {
  const { tensors, hash } = await readHeader(source);
  const entries = new Map(tensors.map((entry) => [entry.name, entry]));
  if (SHARED.some((name) => !entries.has(name))) return null;
  const { modules, notes } = await modulesOf(label, source, entries);
  const rank = modules[0]!.a.length / (entries.get("CP_U.weight")!.shape[1] ?? 1);
  const own = modules.flatMap((module) => tensorsOf(module, rank));
  return { modules, rank, weights: safetensorsOf(own, { aurora: hash }), notes };
}

function tensorsOf({ path, a, b }: NewModule, rank: number): DraftTensor[] {
  return [
    draftTensor(peftKey(path, "lora_A.weight"), [rank, a.length / rank], a),
    draftTensor(peftKey(path, "lora_B.weight"), [b.length / rank, rank], b),
  ];
}

async function modulesOf(label: string, source: ByteSource, entries: ReadonlyMap<string, TensorEntry>) {
  const [u, v, core] = await Promise.all(SHARED.map((name) => readMatrix(label, source, entries.get(name)!)));
  const [rank, width] = entries.get("CP_U.weight")!.shape as [number, number];
  const shapes = SHARED.map((name) => entries.get(name)!.shape.join(" x "));
  const wanted = [`${rank} x ${width}`, `${width} x ${rank}`, `${rank} x ${rank} x ${rank}`];
  if (shapes.join() !== wanted.join()) {
    throw defect("adapter/tensor", "the shared factors of an Aurora checkpoint do not fit each other", {
      where: { file: label, tensor: SHARED.join(", ") },
      expected: wanted.join(", "),
      found: shapes.join(", "),
    });
  }
  const shared: Shared = { u: u!, v: v!, rank, width };
  const modules: NewModule[] = [];
  const gates: string[] = [];
  let others = 0;
  for (const entry of [...entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if ((SHARED as readonly string[]).includes(entry.name)) continue;
    const kind = MOMENTUM.test(entry.name) ? undefined : MODES.find(([pattern]) => pattern.test(entry.name));
    if (kind === undefined) {
      if (/\.CP_(?:scale|shift)/.test(entry.name) && !MOMENTUM.test(entry.name)) gates.push(entry.name);
      else others++;
      continue;
    }
    const [pattern, count, make] = kind;
    if (entry.shape.join() !== `${rank},${count}`) {
      throw defect("adapter/tensor", "a mode matrix of an Aurora checkpoint has the wrong shape", {
        where: { file: label, tensor: entry.name },
        expected: `[${rank}, ${count}]`,
        found: `[${entry.shape.join(", ")}]`,
      });
    }
    const modes = contract(core!, await readMatrix(label, source, entry), rank, count);
    modules.push(...make(pattern.exec(entry.name)![1]!, shared, modes));
  }
  if (modules.length === 0) {
    throw defect("adapter/tensor", "an Aurora checkpoint has no mode matrices", {
      where: { file: label },
      expected: "tensors such as blocks.0.attn.CP_attention",
    });
  }
  return { modules, notes: notesOn(gates, others) };
}

function notesOn(gates: readonly string[], others: number): string[] {
  return [
    ...(gates.length === 0
      ? []
      : [
          `left out: ${gates.length} of the gated query transform, which changes hidden states and no weight (${gates[0]} …)`,
        ]),
    ...(others === 0 ? [] : [`left out: ${others} that are not the adapter's`]),
  ];
}

async function readMatrix(label: string, source: ByteSource, entry: TensorEntry): Promise<Float32Array> {
  const { name, dtype, shape } = entry;
  const values = new Float32Array(entriesOf(shape));
  if (isFloat(dtype)) {
    widen(dtype, await readTensor(source, entry), values);
    if (values.every((value) => Number.isFinite(value))) return values;
  }
  throw defect("values/non-finite", "a factor of an Aurora checkpoint holds what is no number", {
    where: { file: label, tensor: name },
    expected: "finite numbers in floating point",
  });
}

/** M_j[a, b] = Σ_k C[a, b, k] P[k, j]. */
function contract(core: Float32Array, p: Float32Array, rank: number, count: number): Square[] {
  return Array.from({ length: count }, (_, mode) => {
    const square = new Float64Array(rank * rank);
    for (let at = 0; at < square.length; at++) {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += core[at * rank + k]! * p[k * count + mode]!;
      square[at] = sum;
    }
    return square;
  });
}

/** V·Mᵀ, width x R. */
function spread({ v, rank, width }: Shared, m: Square): Float32Array {
  const out = new Float32Array(width * rank);
  for (let row = 0; row < width; row++) {
    for (let a = 0; a < rank; a++) {
      let sum = 0;
      for (let b = 0; b < rank; b++) sum += v[row * rank + b]! * m[a * rank + b]!;
      out[row * rank + a] = sum;
    }
  }
  return out;
}

function attention(path: string, shared: Shared, modes: readonly Square[]): NewModule {
  return {
    path,
    a: shared.u,
    b: joined(
      Float32Array,
      modes.map((mode) => spread(shared, mode)),
    ),
  };
}

function imageAttention(path: string, shared: Shared, modes: readonly Square[]): NewModule[] {
  return [attention(`${path}.qkv`, shared, modes.slice(0, 3)), attention(`${path}.proj`, shared, modes.slice(3))];
}

function imageMlp(path: string, shared: Shared, modes: readonly Square[]): NewModule[] {
  const { u, v, rank, width } = shared;
  const [one, two] = [chunks(modes.slice(0, 4), rank), chunks(modes.slice(4), rank)];
  // fc2 takes its input in four parts: ΔW = V [F2_0 U, …], so the parts stand beside each other in A.
  const a = new Float32Array(rank * 4 * width);
  for (const [chunk, f] of two.entries()) {
    for (let row = 0; row < rank; row++) {
      for (let column = 0; column < width; column++) {
        let sum = 0;
        for (let k = 0; k < rank; k++) sum += f[row * rank + k]! * u[k * width + column]!;
        a[row * 4 * width + chunk * width + column] = sum;
      }
    }
  }
  return [attention(`${path}.fc1`, shared, one), { path: `${path}.fc2`, a, b: v }];
}

/** Four modes [a, b, j] read as R x 4R and cut into four R x R: column 4b + j goes to chunk div R, place mod R. */
function chunks(modes: readonly Square[], rank: number): Square[] {
  const cut = modes.map(() => new Float64Array(rank * rank));
  for (const [j, mode] of modes.entries()) {
    for (let a = 0; a < rank; a++) {
      for (let b = 0; b < rank; b++) {
        const column = modes.length * b + j;
        cut[Math.floor(column / rank)]![a * rank + (column % rank)] = mode[a * rank + b]!;
      }
    }
  }
  return cut;
}

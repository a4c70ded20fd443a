/** An artifact's experts as weights of a network that chooses between them: what all tasks add, stacked tensor by tensor. */
import { checkPart, partDefect } from "../artifacts/check.js";
import { defect } from "../artifacts/defect.js";
import type { Artifact } from "../artifacts/open.js";
import type { FactorParts, StoredPart, TensorParts, VectorParts } from "../artifacts/parts.js";
import { widen } from "../numbers/convert.js";
import { DTYPE_BYTES, entriesOf } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { WeightSource } from "../runtime/network.js";
import type { ExpertStacks, TokenExperts, TokenLayer } from "../runtime/routing.js";

/** A weight that nobody stored under its name. */
interface Stack {
  readonly shape: readonly number[];
  readonly read: () => Promise<Float32Array>;
}

export interface OpenedExperts {
  /** In recipe order. */
  readonly tasks: readonly string[];
  readonly stacks: ExpertStacks | null;
  readonly tokens: TokenExperts | null;
  /** The weights of the shared model with the stacks. */
  readonly withStacks: (weights: WeightSource) => WeightSource;
}

/**
 * Finds the experts of an artifact; their bytes are read, and checked against the record, when a network loads them.
 * @throws artifact/task where the artifact has no experts.
 */
export async function openExperts(artifact: Artifact): Promise<OpenedExperts> {
  const { routing } = artifact.manifest;
  if (routing === null) {
    throw defect("artifact/task", "the artifact has no experts that an input could choose", {
      where: { file: artifact.label },
      expected: "an artifact of twin or smile",
      found: `one of ${artifact.manifest.method}`,
      advice: "choose --routing oracle, which gives every task its own model",
    });
  }
  const all = await Promise.all(artifact.tasks.map(async (task) => (await artifact.openTask(task)).tensors));
  const stacks = new Map<string, Stack>();
  const found = routing.by === "inputs" ? inputStacks(all, stacks) : null;
  const tokens = routing.by === "tokens" ? await tokenStacks(artifact, all, routing.top, stacks) : null;
  return {
    tasks: artifact.tasks,
    stacks: found,
    tokens,
    withStacks: (weights) => ({
      ...weights,
      names: [...weights.names, ...stacks.keys()],
      shape: (name) => stacks.get(name)?.shape ?? weights.shape(name),
      tensor: (name) => stacks.get(name)?.read() ?? weights.tensor(name),
    }),
  };
}

/** Per name what each task adds to it; `null` where it adds nothing. */
function byName(all: readonly (readonly TensorParts[])[]): Map<string, (TensorParts | null)[]> {
  const names = new Map<string, (TensorParts | null)[]>();
  for (const [task, tensors] of all.entries()) {
    for (const tensor of tensors) {
      const own = names.get(tensor.name) ?? all.map(() => null);
      own[task] = tensor;
      names.set(tensor.name, own);
    }
  }
  return names;
}

const factorsOf = (tensor: TensorParts | null): FactorParts | null =>
  tensor?.terms[0]?.kind === "factors" ? tensor.terms[0] : null;
const rankOf = (term: FactorParts | null) => term?.values.stored.shape[0] ?? 0;

function inputStacks(all: readonly (readonly TensorParts[])[], stacks: Map<string, Stack>): ExpertStacks {
  const whole = new Map<string, string>();
  const factored = new Map<string, { left: string; right: string; ranks: number[] }>();
  for (const [name, tensors] of byName(all)) {
    const { shape, entries } = tensors.find((tensor) => tensor !== null)!;
    const [rows = 0, columns = 0] = shape;
    if (tensors.some((tensor) => factorsOf(tensor) !== null)) {
      const ranks = tensors.map((tensor) => rankOf(factorsOf(tensor)));
      const place = { left: `experts.left ${name}`, right: `experts.right ${name}`, ranks };
      const total = ranks.reduce((sum, rank) => sum + rank, 0);
      stacks.set(place.left, { shape: [total, rows], read: () => leftStack(tensors, rows) });
      stacks.set(place.right, { shape: [total, columns], read: () => rightStack(tensors, columns) });
      factored.set(name, place);
    } else {
      whole.set(name, `experts.whole ${name}`);
      stacks.set(`experts.whole ${name}`, { shape: [all.length, entries], read: () => wholeStack(tensors, entries) });
    }
  }
  return { count: all.length, whole, factored };
}

async function tokenStacks(
  artifact: Artifact,
  all: readonly (readonly TensorParts[])[],
  top: number,
  stacks: Map<string, Stack>,
): Promise<TokenExperts> {
  const gates = await Promise.all(artifact.manifest.tasks.map(({ gates: folder }) => gatesIn(artifact, folder)));
  const names = byName(all);
  const layers = new Map<string, TokenLayer>();
  const experts = all.length;
  for (const [name, tensors] of names) {
    const gateRank = Math.max(...gates.map((own) => own.get(name)?.stored.shape[0] ?? 0));
    if (gateRank === 0) continue;
    const { shape } = tensors.find((tensor) => tensor !== null)!;
    const [outputs = 0, inputs = 0] = shape;
    const rank = Math.max(...tensors.map((tensor) => rankOf(factorsOf(tensor))));
    const biases = names.get(`${name.slice(0, -".weight".length)}.bias`);
    const at = (part: string) => `experts.${part} ${name}`;
    const gateParts = gates.map((own) => own.get(name) ?? null);
    stacks.set(at("gates"), { shape: [experts * gateRank, inputs], read: () => padded(gateParts, gateRank * inputs) });
    if (rank > 0) {
      stacks.set(at("left"), { shape: [experts * rank, outputs], read: () => leftStack(tensors, outputs, rank) });
      stacks.set(at("right"), { shape: [experts * rank, inputs], read: () => rightStack(tensors, inputs, rank) });
    } else {
      stacks.set(at("left"), { shape: [experts * outputs, inputs], read: () => wholeStack(tensors, outputs * inputs) });
    }
    if (biases !== undefined)
      stacks.set(at("bias"), { shape: [experts, outputs], read: () => wholeStack(biases, outputs) });
    layers.set(name, {
      ...{ experts, top: Math.min(top, experts), gates: at("gates"), gateRank, rank, left: at("left") },
      right: rank > 0 ? at("right") : null,
      bias: biases === undefined ? null : at("bias"),
    });
  }
  return layers;
}

/** The gates of one task, by tensor. */
async function gatesIn(artifact: Artifact, folder: string | null): Promise<ReadonlyMap<string, StoredPart>> {
  if (folder === null) return new Map();
  return new Map((await artifact.partsOf(folder)).map((part) => [part.stored.name, part]));
}

async function readPart(part: StoredPart): Promise<Float32Array> {
  const found = await checkPart(part);
  if (found !== null) throw partDefect(part, found, false);
  const bytes = await bytesOf(part);
  const values = new Float32Array(entriesOf(part.stored.shape));
  widen(part.stored.dtype as FloatDtype, bytes, values);
  return values;
}

async function bytesOf({ checkpoint, stored }: StoredPart): Promise<Uint8Array> {
  const bytes = new Uint8Array(entriesOf(stored.shape) * DTYPE_BYTES[stored.dtype]);
  await checkpoint.shards[stored.shard]!.source.read(stored.offset, bytes);
  return bytes;
}

async function padded(parts: readonly (StoredPart | null)[], each: number): Promise<Float32Array> {
  const stack = new Float32Array(parts.length * each);
  for (const [task, part] of parts.entries()) if (part !== null) stack.set(await readPart(part), task * each);
  return stack;
}

/** (U S)^T of every task, one below the other. @param rank so many rows each; default: each its own. */
export async function leftStack(
  tensors: readonly (TensorParts | null)[],
  rows: number,
  rank?: number,
): Promise<Float32Array> {
  const ranks = tensors.map((tensor) => rank ?? rankOf(factorsOf(tensor)));
  const stack = new Float32Array(ranks.reduce((sum, one) => sum + one, 0) * rows);
  let first = 0;
  for (const [task, tensor] of tensors.entries()) {
    const term = factorsOf(tensor);
    if (term !== null) {
      const [u, s] = [await readPart(term.left), await readPart(term.values)];
      for (let k = 0; k < s.length; k++) {
        for (let row = 0; row < rows; row++) {
          stack[(first + k) * rows + row] = term.scale * (u[row * s.length + k]! * s[k]!);
        }
      }
    }
    first += ranks[task]!;
  }
  return stack;
}

/** The first rows of V^T of every task, as `leftStack`. */
export async function rightStack(
  tensors: readonly (TensorParts | null)[],
  columns: number,
  rank?: number,
): Promise<Float32Array> {
  const ranks = tensors.map((tensor) => rank ?? rankOf(factorsOf(tensor)));
  const stack = new Float32Array(ranks.reduce((sum, one) => sum + one, 0) * columns);
  let first = 0;
  for (const [task, tensor] of tensors.entries()) {
    const term = factorsOf(tensor);
    if (term !== null) {
      const right = await readPart(term.right);
      stack.set(right.subarray(0, rankOf(term) * columns), first * columns);
    }
    first += ranks[task]!;
  }
  return stack;
}

async function wholeStack(tensors: readonly (TensorParts | null)[], entries: number): Promise<Float32Array> {
  const stack = new Float32Array(tensors.length * entries);
  for (const [task, tensor] of tensors.entries()) {
    const [term] = tensor?.terms ?? [];
    if (term?.kind === "vector") stack.set(await wholeVector(term, entries), task * entries);
  }
  return stack;
}

/** What a task adds to a whole tensor, scaled; what is packed is unpacked. */
export async function wholeVector({ scale, vector, mask }: VectorParts, entries: number): Promise<Float32Array> {
  const stored = await readPart(vector);
  const scaled = scale === 1 ? stored : stored.map((value) => scale * value);
  if (mask === null) return scaled;
  const found = await checkPart(mask);
  if (found !== null) throw partDefect(mask, found, false);
  const bits = await bytesOf(mask);
  const isPacked = stored.length !== entries;
  const values = new Float32Array(entries);
  let next = 0;
  for (let p = 0; p < entries; p++) {
    if (((bits[p >>> 3]! >>> (p & 7)) & 1) !== 0) values[p] = scaled[isPacked ? next++ : p]!;
  }
  return values;
}

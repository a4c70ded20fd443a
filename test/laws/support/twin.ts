/** Runs a kernel and the definition it is the twin of on the same stored entries, and compares them bit by bit. */

import assert from "node:assert/strict";
import * as fc from "fast-check";
import { contextBytes, KernelContext } from "../../../src/kernels/context.js";
import type { KernelDtype } from "../../../src/kernels/convert/binding.js";
import { createMemory, loadKernels } from "../../../src/kernels/load.js";
import type {
  Arguments,
  Combination,
  MethodDeclaration,
  ParameterValue,
  Settings,
} from "../../../src/methods/method.js";
import { change, narrow, widen } from "../../../src/numbers/convert.js";
import { DTYPE_BYTES } from "../../../src/numbers/dtypes.js";
import { bytesOf, dice, patterns } from "./random.js";

export const FORMATS: readonly KernelDtype[] = ["BF16", "F16", "F32"];
/** Every format read with every format written. */
export const PAIRS = FORMATS.flatMap((from) => FORMATS.map((to) => [from, to] as const));

const MOST_STREAMS = 10;
const MOST_ENTRIES = 4096;
const CONTEXT = 65_536;
const STREAMS = CONTEXT + 4096;
const STREAM_BYTES = MOST_ENTRIES * 4 + 256;
const OUT = STREAMS + MOST_STREAMS * STREAM_BYTES;
const SCRATCH = OUT + STREAM_BYTES;
const STREAM = SCRATCH + 8192;
const SUMS = STREAM + 4 * MOST_ENTRIES + 64;
const GUARD = 64;

const settings = [true, false].map((shared) => {
  const memory = createMemory(SUMS + MOST_STREAMS * STREAM_BYTES, shared);
  return { memory, kernels: loadKernels(memory), context: new KernelContext(memory, CONTEXT, MOST_STREAMS) };
});

export interface TwinCase {
  readonly method: Combination & Pick<MethodDeclaration, "inputs" | "counters">;
  readonly args: Arguments;
  /** Name of the kernel without its formats. */
  readonly kernel: string;
  readonly from: KernelDtype;
  readonly to: KernelDtype;
  /** As stored, in format `from`; a multiple of eight entries each. */
  readonly base: Uint8Array;
  readonly models: readonly Uint8Array[];
  /** Per entry the measure of its row, where rows are measured. */
  readonly rows?: Float32Array;
  /** Per model its collected sums, where the method has any. */
  readonly sums?: readonly Float32Array[];
  /** How many of the last entries are padding, which takes no part in counters; less than eight. Default none. */
  readonly padding?: number;
  readonly shared: boolean;
  /** Bytes by which every address is off a multiple of 64; even. */
  readonly offset: number;
}

/** Puts stored streams into kernel memory, each at its address. @returns their entries as f32. */
export function putStreams(
  memory: WebAssembly.Memory,
  format: KernelDtype,
  streams: readonly Uint8Array[],
  addressOf: (stream: number) => number,
): Float32Array[] {
  for (const [index, bytes] of streams.entries()) {
    new Uint8Array(memory.buffer, addressOf(index), bytes.length).set(bytes);
  }
  return widened(format, streams);
}

/** Stored streams as f32. */
export function widened(format: KernelDtype, streams: readonly Uint8Array[]): Float32Array[] {
  return streams.map((bytes) => {
    const values = new Float32Array(bytes.length / DTYPE_BYTES[format]);
    widen(format, bytes, values);
    return values;
  });
}

/** The definition's results in f32, and its counters. */
export function define({ method, args, from, base, models, rows, sums = [] }: TwinCase) {
  const count = base.length / DTYPE_BYTES[from];
  const extra = Object.fromEntries(sums.map((values, row) => [`statistics.${row}`, values]));
  const floats = widened(from, models);
  const [wide] = widened(from, [base]) as [Float32Array];
  if (method.inputs === "changes") for (const values of floats) change(values, wide, values);
  const counters: Record<string, number> = Object.fromEntries(Object.keys(method.counters).map((name) => [name, 0]));
  const out = new Float32Array(count);
  method.combine({ count, base: wide, inputs: floats, extra, ...(rows && { rows }), out, counters }, args);
  return { out, counters, changes: floats };
}

/** @returns whether all results are finite, as the kernel said, too. */
export function checkTwin(twin: TwinCase): boolean {
  const { method, args, kernel, from, to, base, models, offset } = twin;
  assert.equal(method.kernel(args), kernel);
  const count = base.length / DTYPE_BYTES[from];
  const { out } = define(twin);
  const real = (bytes: Uint8Array) => bytes.subarray(0, (count - (twin.padding ?? 0)) * DTYPE_BYTES[from]);
  const { counters } = define({ ...twin, base: real(base), models: models.map(real) });
  const expected = new Uint8Array(count * DTYPE_BYTES[to]);
  const nonFinite = narrow(to, out, expected);

  const { memory, kernels, context } = settings[twin.shared ? 0 : 1]!;
  const at = (address: number, length: number) => new Uint8Array(memory.buffer, address, length);
  const addresses = [...models, base].map((bytes, index) => {
    const address = STREAMS + index * STREAM_BYTES + offset;
    at(address, bytes.length).set(bytes);
    return address;
  });
  const subtract = addresses.pop()!;
  const target = OUT + offset;
  at(CONTEXT, contextBytes(MOST_STREAMS)).fill(0);
  context.setRows(models.length);
  Object.values(args.scalars).forEach((value, index) => context.setScalar(index, value));
  Object.values(args.columns).forEach((values, column) =>
    values.forEach((value, row) => context.setColumn(row, column, value)),
  );
  addresses.forEach((address, row) => context.setPointer(row, address));
  const subtracted = method.inputs === "changes" ? subtract : 0;
  context.setTile(count, target, subtracted, subtract, SCRATCH);
  context.setEntries(count - (twin.padding ?? 0));
  context.setStream(STREAM);
  twin.sums?.forEach((values, row) => {
    const address = SUMS + row * STREAM_BYTES + offset;
    at(address, 4 * count).set(bytesOf(values));
    context.setSums(row, address);
  });
  if (args.table !== undefined) context.setTable(memory, SCRATCH, models.length, args.table);
  if (twin.rows !== undefined) new Float32Array(memory.buffer, STREAM, count).set(twin.rows);
  const general = kernels.get(kernel, `_${from}_${to}`);
  // The one written out for this number of models, where there is one, computes finite results only.
  for (const run of new Set([general, kernels.get(kernel, `_${from}_${to}`, models.length)])) {
    at(target, expected.length + GUARD).fill(0x5a);
    context.clearCounters(models.length);
    const finite = run(context.address);
    assert.equal(finite, nonFinite === 0 ? 1 : 0, "whether every result is finite");
    const found = at(target, expected.length).slice();
    if (finite === 1) {
      if (!Buffer.from(found).equals(expected)) fail(twin, found, expected);
    } else if (to === "F32" && run === general) {
      // What is not finite is computed again with this pair and rounded afterwards.
      assert.deepEqual(patterns(new Float32Array(found.buffer)), patterns(out));
    }
    if (finite === 1 || (to === "F32" && run === general)) {
      const names = Object.keys(method.counters);
      assert.deepEqual(Object.fromEntries(names.map((name, index) => [name, context.counter(index)])), counters);
    }
    assert.ok(
      at(target + expected.length, GUARD).every((byte) => byte === 0x5a),
      "wrote beyond the end",
    );
  }
  return nonFinite === 0;
}

function fail({ to, args, models, base, from }: TwinCase, found: Uint8Array, expected: Uint8Array): never {
  const size = DTYPE_BYTES[to];
  const at = Math.floor(found.findIndex((byte, index) => byte !== expected[index]) / size);
  const show = (bytes: Uint8Array, width: number) =>
    Buffer.from(bytes.slice(at * width, (at + 1) * width))
      .reverse()
      .toString("hex");
  const entries = [...models, base].map((bytes) => show(bytes, DTYPE_BYTES[from]));
  assert.fail(
    `entry ${at}: found ${show(found, size)}, expected ${show(expected, size)}; ${from} ${entries.join(" ")} ${JSON.stringify(args)}`,
  );
}

/** How the entries of a case are drawn; each kind finds other mistakes. */
export type Kind = "ordinary" | "colliding" | "finite" | "any";
export const KINDS: readonly Kind[] = ["ordinary", "colliding", "finite", "any"];

/** Stored entries of `streams` streams, the last one the base. */
export function drawStreams(
  kind: Kind,
  format: KernelDtype,
  streams: number,
  count: number,
  seed: number,
): Uint8Array[] {
  const roll = dice(seed);
  const wide = format === "F32";
  const infinity = wide ? 0x7f800000 : format === "BF16" ? 0x7f80 : 0x7c00;
  const signBit = wide ? 0x80000000 : 0x8000;
  const pattern = (below: number) => (roll(2) === 0 ? signBit : 0) + roll(below);
  const special = [0, 1, 2, infinity - 1, infinity >>> 1, (infinity >>> 1) + 1];
  const pool = [0, 0.25, 0.25, 0.5, 1, 3, 2 ** -14, 0.1];
  const draw: Readonly<Record<Kind, () => number>> = {
    ordinary: () => encode(format, (roll(2 ** 20) / 2 ** 19 - 1) * 0.05),
    colliding: () => encode(format, pool[roll(pool.length)]! * (roll(2) === 0 ? 1 : -1)),
    finite: () => (roll(4) === 0 ? (roll(2) === 0 ? signBit : 0) + special[roll(special.length)]! : pattern(infinity)),
    any: () => (roll(8) === 0 ? pattern(signBit) : encode(format, roll(9) - 4)),
  };
  return Array.from({ length: streams }, (_, stream) => {
    // Against a base of zeros, equal models have equal changes that cancel exactly.
    const isZero = kind === "colliding" && stream === streams - 1 && roll(2) === 0;
    const entries = Array.from({ length: count }, () => (isZero ? 0 : draw[kind]()));
    return bytesOf(wide ? Uint32Array.from(entries) : Uint16Array.from(entries));
  });
}

const scratch = new Uint8Array(4);

function encode(format: KernelDtype, value: number): number {
  const bytes = scratch.subarray(0, DTYPE_BYTES[format]);
  narrow(format, Float32Array.of(value), bytes);
  return bytes.length === 2 ? bytes[0]! + bytes[1]! * 256 : new DataView(scratch.buffer).getUint32(0, true);
}

/** What every twin test varies. */
export const anyCase = fc.record({
  kind: fc.constantFrom(...KINDS),
  models: fc.integer({ min: 1, max: 9 }),
  count: fc
    .oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 12 }) }, fc.integer({ min: 1, max: 128 }))
    .map((n) => 8 * n),
  seed: fc.integer(),
  shared: fc.boolean(),
  offset: fc.integer({ min: 0, max: 31 }).map((n) => 2 * n),
});

export const strength = fc.oneof(
  fc.constantFrom(1, 1, -1, 0, 0.5, 0.3, 2, -0.75, 1e30, 1e-30, -0),
  fc.double({ min: -2, max: 2, noNaN: true }),
);

/** Settings as the planner makes them: every parameter's default, then what is given, then each model's own. */
export function settingsOf(
  method: Pick<MethodDeclaration, "parameters">,
  given: Readonly<Record<string, ParameterValue>>,
  models: readonly Readonly<Record<string, ParameterValue>>[],
): Settings {
  const defaults = Object.entries(method.parameters).map(([name, { default: value }]) => [name, value]);
  const global = { ...Object.fromEntries(defaults), ...given };
  return { global, models: models.map((model) => ({ ...global, ...model })) };
}

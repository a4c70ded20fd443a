/** Merging adapters in full space is folding each into the base and merging whole weights, whatever method does it. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import fc from "fast-check";
import type { Adapter } from "../../src/adapters/adapter.js";
import { loraConfig } from "../../src/adapters/draft.js";
import { foldedCheckpoint } from "../../src/adapters/folded.js";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { memoryFolder } from "../../src/models/folder.js";
import type { Checkpoint } from "../../src/models/model.js";
import { weightsOf } from "../../src/runtime/weights.js";
import { numbersOf, openFiles, peftFolder, safetensors, tensor } from "../adapters/support.js";
import { Folder, merge as mergeWeights, tensor as stored } from "../laws/support/family.js";
import { distance, merge, updateOf } from "./support.js";

const folder = new Folder();
after(() => folder.remove());

const [ROWS, COLUMNS] = [6, 9];
const PATHS = ["m.q", "m.k"];
const WEIGHTS = PATHS.map((path) => `${path}.weight`);
const weightOf = (path: string) => numbersOf(`W ${path}`, ROWS * COLUMNS);

function openBase(): Promise<Checkpoint> {
  const tensors = Object.fromEntries(
    PATHS.map((path) => [`${path}.weight`, { shape: [ROWS, COLUMNS], values: weightOf(path) }]),
  );
  return openCheckpoint("base", memoryFolder({ "model.safetensors": safetensors(tensors) }));
}

interface Spec {
  readonly seed: number;
  readonly rank: number;
  readonly both: boolean;
  readonly dora: boolean;
}

const spec: fc.Arbitrary<Spec> = fc.record({
  seed: fc.nat(1e6),
  rank: fc.integer({ min: 1, max: 3 }),
  both: fc.boolean(),
  dora: fc.boolean(),
});

/** Modules of 6 x 9; the second may be missing. */
function adapterOf({ seed, rank, both, dora }: Spec): Promise<Adapter> {
  const paths = both ? PATHS : PATHS.slice(0, 1);
  const tensors = paths.flatMap((path) => [
    [`${path}.lora_A.weight`, tensor(`${seed} ${path} a`, rank, COLUMNS)] as const,
    [`${path}.lora_B.weight`, tensor(`${seed} ${path} b`, ROWS, rank)] as const,
    ...(dora
      ? [
          [
            `${path}.lora_magnitude_vector`,
            { shape: [ROWS], values: numbersOf(`${seed} m`, ROWS).map((x) => x + 3) },
          ] as const,
        ]
      : []),
  ]);
  const config = loraConfig(
    paths.map((path) => ({ path, rank, alpha: 2 * rank })),
    { use_dora: dora },
  );
  return openFiles(peftFolder(config, Object.fromEntries(tensors)), `adapter ${seed}`);
}

interface Way {
  readonly method: string;
  readonly parameters?: Readonly<Record<string, number>>;
  readonly drop?: number;
}

const WAYS: readonly Way[] = [
  { method: "task_arithmetic", parameters: { lambda: 1 } },
  { method: "task_arithmetic", parameters: { lambda: 1 }, drop: 0.5 },
  { method: "ties", parameters: { density: 0.5 } },
  { method: "ties", parameters: { density: 0.5 }, drop: 0.3 },
  { method: "pcb", parameters: { ratio: 0.4 } },
  { method: "breadcrumbs", parameters: { density: 0.6 } },
  { method: "consensus" },
];

const asFlags = ({ parameters = {} }: Way) => Object.entries(parameters).map(([name, value]) => `${name}=${value}`);

/** Changes of the base by module, from whole weights into which each adapter was folded. */
async function onWeights(
  adapters: readonly Adapter[],
  { method, parameters = {}, drop }: Way,
): Promise<Float32Array[]> {
  const base = await openBase();
  const write = async (name: string, checkpoint: Checkpoint) => {
    const weights = weightsOf(checkpoint);
    const tensors = await Promise.all(
      WEIGHTS.map(async (key) => stored(key, await weights.tensor(key), "F32", [ROWS, COLUMNS])),
    );
    return folder.write(name, tensors);
  };
  const models: string[] = [];
  for (const [index, adapter] of adapters.entries()) {
    models.push(await write(`a${index}`, foldedCheckpoint(`a${index}`, base, [{ adapter, weight: 1 }])));
  }
  // What no adapter touches takes no part in what is looked at over the whole model.
  const exclude = PATHS.filter((path) => !adapters.some(({ lora }) => lora.has(path))).map((path) => `${path}.weight`);
  const recipe = { method, parameters, base: await write("base", base), models, exclude, seed: 5 };
  const merged = await mergeWeights(
    { ...recipe, ...(drop !== undefined && { dare: { drop } }) },
    { out: folder.fresh() },
  );
  return PATHS.map((path) => {
    const start = weightOf(path);
    return merged.values(`${path}.weight`).map((value, p) => value - start[p]!);
  });
}

async function onAdapters(adapters: readonly Adapter[], way: Way): Promise<Float64Array[]> {
  const dare = way.drop === undefined ? {} : { dare: String(way.drop) };
  const asked = { method: way.method, parameters: asFlags(way), space: "full", rank: ROWS, seed: 5, ...dare } as const;
  const { adapter } = await merge(adapters, asked, await openBase());
  return Promise.all(PATHS.map(async (path) => (await updateOf(adapter, path))[0] ?? new Float64Array(ROWS * COLUMNS)));
}

describe("adapters merged in full space, DoRA among them", () => {
  for (const way of WAYS) {
    const name = `${way.method}${way.drop === undefined ? "" : " with DARE"}`;
    it(`${name}: is folding each and merging the weights`, async () => {
      const property = fc.asyncProperty(spec, spec, async (one, two) => {
        const adapters = [await adapterOf(one), await adapterOf({ ...two, seed: two.seed + 1e7 })];
        const away = distance(await onAdapters(adapters, way), await onWeights(adapters, way));
        assert.ok(away < 1e-5, `${away}`);
      });
      await fc.assert(property, { numRuns: 6 });
    });

    if (way.drop !== undefined) continue;
    it(`${name}: the order of the adapters is of no matter`, async () => {
      const property = fc.asyncProperty(spec, spec, async (one, two) => {
        const adapters = [await adapterOf(one), await adapterOf({ ...two, seed: two.seed + 1e7 })];
        const away = distance(await onAdapters(adapters.toReversed(), way), await onAdapters(adapters, way));
        assert.ok(away < 1e-5, `${away}`);
      });
      await fc.assert(property, { numRuns: 4 });
    });
  }
});

describe("DARE on one adapter", () => {
  it("leaves each entry of its change out, or divides it by the share that is kept", async () => {
    const property = fc.asyncProperty(spec, fc.constantFrom(0.2, 0.5, 0.8), async (one, drop) => {
      const adapter = await adapterOf(one);
      const plain = await onAdapters([adapter], { method: "task_arithmetic", parameters: { lambda: 1 } });
      const thinned = await onAdapters([adapter], { method: "task_arithmetic", parameters: { lambda: 1 }, drop });
      const most = Math.max(...plain.flatMap((values) => [...values].map(Math.abs)));
      for (const [module, values] of thinned.entries()) {
        for (const [p, value] of values.entries()) {
          const kept = plain[module]![p]! / (1 - drop);
          const off = Math.min(Math.abs(value), Math.abs(value - kept));
          assert.ok(off < (1e-5 * most) / (1 - drop), `${value} is neither 0 nor ${kept}`);
        }
      }
    });
    await fc.assert(property, { numRuns: 8 });
  });
});

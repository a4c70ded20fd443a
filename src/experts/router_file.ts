/** router/router.safetensors of an artifact: the trained router, and what it was trained for. */
import * as v from "valibot";
import type { Artifact, ArtifactPlatform } from "../artifacts/open.js";
import { MergewrightError } from "../errors.js";
import type { ErrorDetails } from "../errors.js";
import { layoutHeader } from "../formats/safetensors/index.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { xxh64 } from "../numbers/checksum.js";
import { narrow, widen } from "../numbers/convert.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { Router, RouterLayer } from "./router.js";

export const ROUTER_FOLDER = "router";
export const ROUTER_FILE = "model.safetensors";
const FORMAT = "mergewright router";
const VERSION = 1;

/** Of how many examples the router finds the task. */
const Score = v.object({ split: v.string(), right: v.array(v.number()), of: v.array(v.number()) });

const Said = v.object({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  kind: v.picklist(["logistic", "mlp"]),
  /** Of the shared model: `base.fingerprint` of the manifest. */
  shared: v.string(),
  tasks: v.pipe(v.array(v.string()), v.minLength(1)),
  seed: v.number(),
  /** XXH64 of all tensors, in the order of their names. */
  content: v.string(),
  scores: v.array(Score),
});

export type RouterScore = v.InferOutput<typeof Score>;
/** What is known of a router besides its weights. */
export type RouterRecord = Pick<v.InferOutput<typeof Said>, "kind" | "shared" | "tasks" | "seed" | "scores">;

function tensorsOf({ mean, scale, layers }: Router) {
  return [
    { name: "mean", shape: [mean.length], values: mean },
    { name: "scale", shape: [scale.length], values: scale },
    ...layers.flatMap(({ inputs, outputs, weight, bias }, index) => [
      { name: `layers.${index}.bias`, shape: [outputs], values: bias },
      { name: `layers.${index}.weight`, shape: [outputs, inputs], values: weight },
    ]),
  ];
}

/** The bytes of the file. */
export function routerBytes(router: Router, record: RouterRecord): Uint8Array<ArrayBuffer> {
  const tensors = tensorsOf(router).map(({ name, shape, values }) => {
    const bytes = new Uint8Array(values.length * 4);
    narrow("F32", values, bytes);
    return { name, shape, dtype: "F32" as const, bytes };
  });
  const content = contentOf(tensors);
  const said = JSON.stringify({ format: FORMAT, version: VERSION, ...record, content });
  const layout = layoutHeader(tensors, { format: "pt", router: said });
  const file = new Uint8Array(layout.fileSize);
  file.set(layout.header);
  for (const { name, offset } of layout.tensors)
    file.set(tensors.find((tensor) => tensor.name === name)!.bytes, offset);
  return file;
}

function contentOf(tensors: readonly { readonly name: string; readonly bytes: Uint8Array }[]): string {
  const hashes = tensors
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, bytes }) => `${name} ${xxh64(bytes)}`);
  return xxh64(new TextEncoder().encode(hashes.join("\n")));
}

/**
 * @throws artifact/router where there is none, where it is damaged or of another version, and where it was trained for
 * other tasks or over another shared model.
 */
export async function readRouter(
  artifact: Pick<Artifact, "label" | "tasks" | "manifest">,
  platform: Pick<ArtifactPlatform, "openFolder">,
): Promise<Router & RouterRecord> {
  const label = `${artifact.label}/${ROUTER_FOLDER}`;
  const open = async () => openCheckpoint(label, platform.openFolder(label));
  const checkpoint = await open().catch((cause: unknown) => {
    if (!(cause instanceof MergewrightError) || cause.code !== "checkpoint/missing-file") throw cause;
    throw defect(label, "the artifact has no router", {
      cause,
      advice: `train one: mergewright collect router ${artifact.label} --tasks TASKS --split train; or choose --routing oracle`,
    });
  });
  try {
    const [shard] = checkpoint.shards;
    const said = readSaid(label, shard!.header.metadata.router);
    const tensors = await Promise.all(
      [...checkpoint.tensors.values()].map(async ({ name, shape, dtype, offset, length }) => {
        const bytes = new Uint8Array(length);
        await shard!.source.read(offset, bytes);
        if (dtype !== "F32")
          throw defect(label, "the router is damaged", { expected: `F32 for ${name}`, found: dtype });
        const values = new Float32Array(entriesOf(shape));
        widen("F32", bytes, values);
        const at = values.findIndex((value) => !Number.isFinite(value));
        if (at >= 0) {
          const found = `${values[at]!} at entry ${at} of ${name}`;
          throw defect(label, "the router is damaged", { expected: "finite numbers", found });
        }
        return { name, shape, bytes, values };
      }),
    );
    const content = contentOf(tensors);
    if (content !== said.content) {
      throw defect(label, "the router is not as it was written", {
        expected: `XXH64 ${said.content}`,
        found: `XXH64 ${content}`,
      });
    }
    checkFits(label, said, artifact);
    return { ...said, ...built(label, said.tasks.length, tensors), kind: said.kind };
  } finally {
    await checkpoint.close();
  }
}

function readSaid(label: string, text: string | undefined): v.InferOutput<typeof Said> {
  let content: unknown;
  try {
    content = JSON.parse(text ?? "");
  } catch (cause) {
    throw defect(label, "the router's record cannot be read", { cause });
  }
  const head = v.safeParse(v.object({ version: v.number() }), content);
  if (head.success && head.output.version !== VERSION) {
    throw defect(label, "the router has another version than this program reads", {
      expected: `version ${VERSION}`,
      found: `version ${head.output.version}`,
    });
  }
  const parsed = v.safeParse(Said, content);
  if (parsed.success) return parsed.output;
  throw defect(label, "the router's record is damaged", { found: v.getDotPath(parsed.issues[0]) ?? "no record" });
}

function checkFits(
  label: string,
  { tasks, shared }: v.InferOutput<typeof Said>,
  artifact: Pick<Artifact, "tasks" | "manifest">,
): void {
  if (tasks.join("\n") !== artifact.tasks.join("\n")) {
    throw defect(label, "the router was trained for other tasks", {
      expected: artifact.tasks.join(", "),
      found: tasks.join(", "),
    });
  }
  const { fingerprint } = artifact.manifest.base;
  if (shared !== fingerprint) {
    throw defect(label, "the router was trained over another shared model", { expected: fingerprint, found: shared });
  }
}

type Read = { readonly name: string; readonly shape: readonly number[]; readonly values: Float32Array };

function built(label: string, tasks: number, tensors: readonly Read[]): Omit<Router, "kind"> {
  const get = (name: string): Read => {
    const found = tensors.find((tensor) => tensor.name === name);
    if (found === undefined)
      throw defect(label, "the router is damaged", { expected: `a tensor ${name}`, found: "none" });
    return found;
  };
  const layers: RouterLayer[] = [];
  while (tensors.some(({ name }) => name === `layers.${layers.length}.weight`)) {
    const { shape, values: weight } = get(`layers.${layers.length}.weight`);
    const [outputs = 0, inputs = 0] = shape;
    layers.push({ inputs, outputs, weight, bias: get(`layers.${layers.length}.bias`).values });
  }
  const [mean, scale] = [get("mean").values, get("scale").values];
  const widths = [mean.length, ...layers.map(({ outputs }) => outputs)];
  const fits =
    layers.length > 0 &&
    scale.length === mean.length &&
    layers.every(({ inputs, outputs, bias }, index) => inputs === widths[index] && bias.length === outputs) &&
    widths.at(-1) === tasks;
  if (fits) return { mean, scale, layers };
  throw defect(label, "the layers of the router do not fit together", { expected: `a way to ${tasks} tasks` });
}

function defect(label: string, summary: string, details: Partial<ErrorDetails>): MergewrightError {
  return new MergewrightError(summary, {
    kind: "request",
    code: "artifact/router",
    where: { file: label },
    advice: "train it again: mergewright collect router ARTIFACT --tasks TASKS --split train",
    ...details,
  });
}

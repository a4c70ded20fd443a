import { inspectModel } from "../../analyse/inspect.js";
import type { Inspection, InspectedTensor } from "../../analyse/inspect.js";
import { inspectArtifact } from "../../artifacts/inspect.js";
import type { ArtifactInspection } from "../../artifacts/inspect.js";
import { examplesOf } from "../../collected/statistics.js";
import type { StatisticsInfo } from "../../collected/statistics.js";
import { namesArtifact, nodePlatform } from "../../platform/node/platform.js";
import { countOf, countText, numberText, percentText, sizeText } from "../../report/units.js";
import { shellWord } from "../output.js";
import { whileReading } from "../reading.js";
import { bullets, facts, table } from "../table.js";
import type { Column } from "../table.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import { upscalingFacts } from "../upscaling.js";
import type { Given, Outcome } from "../verb.js";

export async function inspect(given: Given): Promise<Outcome> {
  const { positionals, flags, terminal } = given;
  if (namesArtifact(positionals[0]!)) {
    const inspection = await inspectArtifact(positionals[0]!, nodePlatform);
    return { exitCode: 0, json: inspection, text: () => describeArtifact(inspection, terminal) };
  }
  const norms = flags.norms ?? false;
  const inspection = await whileReading(given, (options) =>
    inspectModel(positionals[0]!, nodePlatform, { ...options, norms }),
  );
  return { exitCode: 0, json: inspection, text: () => describe(inspection, terminal) };
}

/** Of what a task has of its own. */
const PARTS = ["mask", "vector", "factors", "gates", "head"] as const;

function describeArtifact(
  { label, method, version, base, sharedBytes, tasks, bytes, upscaling }: ArtifactInspection,
  terminal: Terminal,
): string {
  const summary: (readonly [string, string])[] = [
    ["artifact", `${label}, of ${method}, version ${version}`],
    ["base", `${base.model}, fingerprint ${base.fingerprint} over ${countOf(base.tensors, "tensor")}`],
    ...(sharedBytes === null ? [] : [["shared", `${sizeText(sharedBytes)} for all tasks`] as const]),
    ["size", sizeText(bytes)],
    ...(upscaling === null ? [] : upscalingFacts(upscaling)),
  ];
  const right = { align: "right" } as const;
  const parts = PARTS.filter((part) => tasks.some(({ bytes: own }) => own[part] > 0));
  const columns: Column[] = ["task", "scale", "kept", "of", "density", ...parts].map((head, at) =>
    at === 0 ? { head } : { head, ...right },
  );
  const rows = tasks.map(({ name, scale, kept, entries, density, bytes: own }) => [
    name,
    numberText(scale),
    countText(kept),
    countText(entries),
    percentText(density),
    ...parts.map((part) => (own[part] === 0 ? "" : sizeText(own[part]))),
  ]);
  const next = `next: mergewright materialize ${harmless(shellWord(label))} --task TASK -o OUT`;
  return [facts(summary, terminal), table(columns, rows, terminal), next].join("\n\n");
}

function describe(inspection: Inspection, terminal: Terminal): string {
  const { notes } = inspection;
  return [
    facts(summaryOf(inspection), terminal),
    tensorTable(inspection, terminal),
    ...(notes.length === 0 ? [] : [`${terminal.out.yellow("notes:")}\n${bullets(notes, terminal)}`]),
  ].join("\n\n");
}

function summaryOf(inspection: Inspection): (readonly [string, string])[] {
  const { label, totals, dtypes, shards, layers, tied, statistics, config, sideFiles, norm } = inspection;
  const { tensors, entries, bytes } = totals;
  return [
    [statistics === null ? "model" : "file", label],
    ...(statistics === null ? [] : statisticsFacts(statistics)),
    ...kindOf(config),
    [
      "tensors",
      `${countText(tensors)} with ${countOf(entries, "parameter")}, ${sizeText(bytes)} in ${countOf(shards.length, "file")}`,
    ],
    [
      "formats",
      dtypes.map((one) => `${one.dtype} ${sizeText(one.bytes)} in ${countOf(one.tensors, "tensor")}`).join("; "),
    ],
    ...(layers === 0 ? [] : [["layers", countText(layers)] as const]),
    ...tied.map(({ primary, aliases }) => ["tied", `${aliases.join(", ")} to ${primary}`] as const),
    ...(norm === null ? [] : [["norm", numberText(norm)] as const]),
    ...(sideFiles.length === 0 ? [] : [["beside", sideFiles.map((file) => file.name).join(", ")] as const]),
  ];
}

function statisticsFacts(info: StatisticsInfo): (readonly [string, string])[] {
  const { kind, dialect, model, head, base, per, labels, seed, batch, sources, layers } = info;
  const identity = ({ name, hash }: StatisticsInfo["model"]) => `${name}, fingerprint ${hash}`;
  const runOf = ({ task, split, first, count, data }: StatisticsInfo["sources"][number]) =>
    `${task}, ${split}: ${countOf(count, "example")} from number ${countText(first)} on, sha256 ${data.slice(0, 16)}`;
  const known = kind === "importance" ? [] : Object.values(layers);
  const rows = known.map((layer) => layer.rows);
  const least = Math.min(...rows);
  const span =
    least === Math.max(...rows) ? countText(least) : `${countText(least)} to ${countText(Math.max(...rows))}`;
  return [
    ["statistics", `${kind}, dialect ${dialect}`],
    ["of", identity(model)],
    ...(base === null ? [] : [["change of", identity(base)] as const]),
    ...(per === null ? [] : [["per", per] as const]),
    ...(head === null ? [] : [["head of", identity(head)] as const]),
    ["examples", `${countText(examplesOf(info))}, ${batch === 1 ? "each by itself" : `in batches of ${batch}`}`],
    ["labels", `${labels}${seed === null ? "" : `, seed ${seed}`}`],
    ...sources.map((source) => ["data", runOf(source)] as const),
    ...(known.length === 0
      ? []
      : [["knows", `${countOf(known.length, "linear layer")} from ${span} rows each`] as const]),
  ];
}

/** What config.json calls the network. */
function kindOf(config: Inspection["config"]): (readonly [string, string])[] {
  const { model_type: type, architectures } = config ?? {};
  const words = [type, ...(Array.isArray(architectures) ? (architectures as unknown[]) : [])];
  const named = words.filter((word) => typeof word === "string");
  return named.length === 0 ? [] : [["network", named.join(", ")]];
}

function tensorTable({ tensors, norm }: Inspection, terminal: Terminal): string {
  const right = { align: "right" } as const;
  const columns: Column[] = [{ head: "tensor" }, { head: "format" }, { head: "shape" }, { head: "size", ...right }];
  if (norm !== null) {
    for (const head of ["norm", "mean", "smallest", "largest", "zeros", "non-finite"]) columns.push({ head, ...right });
  }
  const rows = tensors.map((tensor) => [
    tensor.name,
    tensor.dtype,
    `[${tensor.shape.join(", ")}]`,
    sizeText(tensor.bytes),
    ...(norm === null ? [] : figuresOf(tensor)),
  ]);
  return table(columns, rows, terminal);
}

function figuresOf({ figures }: InspectedTensor): string[] {
  if (figures === null) return ["", "", "", "", "", ""];
  const { norm, mean, min, max, zeros, nan, infinite } = figures;
  return [...[norm, mean, min, max].map(numberText), countText(zeros), countText(nan + infinite)];
}

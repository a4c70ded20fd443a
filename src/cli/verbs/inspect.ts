import { inspectModel } from "../../analyse/inspect.js";
import type { Inspection, InspectedTensor } from "../../analyse/inspect.js";
import { nodePlatform } from "../../platform/node/platform.js";
import { countOf, countText, numberText, sizeText } from "../../report/units.js";
import { whileReading } from "../reading.js";
import { bullets, facts, table } from "../table.js";
import type { Column } from "../table.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verbs.js";

export async function inspect(given: Given): Promise<Outcome> {
  const { positionals, flags, terminal } = given;
  const norms = flags.norms ?? false;
  const inspection = await whileReading(given, (options) =>
    inspectModel(positionals[0]!, nodePlatform, { ...options, norms }),
  );
  return { exitCode: 0, json: inspection, text: () => describe(inspection, terminal) };
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
  const { label, totals, dtypes, shards, layers, tied, config, sideFiles, norm } = inspection;
  const { tensors, entries, bytes } = totals;
  return [
    ["model", label],
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

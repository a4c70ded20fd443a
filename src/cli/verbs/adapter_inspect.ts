import { inspectAdapter } from "../../adapters/inspect.js";
import type { AdapterInspection, InspectedModule } from "../../adapters/inspect.js";
import { openAdapterAt } from "../../platform/node/adapters.js";
import { countOf, numberText, sizeText } from "../../report/units.js";
import { bullets, facts, table } from "../table.js";
import type { Column } from "../table.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

export async function inspect({ positionals, terminal }: Given): Promise<Outcome> {
  const adapter = await openAdapterAt(positionals[0]!);
  try {
    const inspection = await inspectAdapter(adapter);
    return { exitCode: 0, json: inspection, text: () => describe(inspection, terminal) };
  } finally {
    await adapter.close();
  }
}

function describe(inspection: AdapterInspection, terminal: Terminal): string {
  const { label, type, format, base, modules, parameters, bytes, norm, rsLora, fanInFanOut, obstacles, notes } =
    inspection;
  const ranks = [...new Set(modules.flatMap(({ rank }) => rank ?? []))].sort((a, b) => a - b);
  const flags = [...(rsLora ? ["rsLoRA"] : []), ...(fanInFanOut ? ["weights stored in x out"] : [])];
  const summary: (readonly [string, string])[] = [
    [
      "adapter",
      `${label}, ${type}${flags.map((flag) => `, ${flag}`).join("")}, in ${format === "kohya" ? "kohya's" : "PEFT's"} layout`,
    ],
    ["base", base ?? "not named"],
    ["modules", `${countOf(modules.length, "module")} with ${countOf(parameters, "parameter")}, ${sizeText(bytes)}`],
    ...(ranks.length === 0 ? [] : [["ranks", ranks.join(", ")] as const, ["norm", numberText(norm)] as const]),
  ];
  const all = [...obstacles.map((reason) => `cannot be folded or merged: ${reason}`), ...notes];
  return [
    facts(summary, terminal),
    moduleTable(modules, terminal),
    ...(all.length === 0 ? [] : [`${terminal.out.yellow("notes:")}\n${bullets(all, terminal)}`]),
  ].join("\n\n");
}

function moduleTable(modules: readonly InspectedModule[], terminal: Terminal): string {
  const right = { align: "right" } as const;
  const columns: Column[] = [{ head: "module" }, { head: "kind" }, { head: "shape" }];
  for (const head of ["rank", "alpha", "scaling", "norm"]) columns.push({ head, ...right });
  const number = (value: number | null) => (value === null ? "" : numberText(value));
  const rows = modules.map(({ path, kind, layout, bias, shape, rank, alpha, scaling, norm }) => [
    path,
    `${kind}${layout === "" || layout === "linear" ? "" : ` ${layout}`}${bias ? " + bias" : ""}`,
    `[${shape.join(", ")}]`,
    ...[rank, alpha, scaling, norm].map(number),
  ]);
  return table(columns, rows, terminal);
}

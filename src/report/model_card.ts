import { parseReference } from "../adapters/reference.js";
import type { Paper } from "../methods/method.js";
import { makesArtifact } from "../plan/artifact.js";
import type { Plan } from "../plan/types.js";
import type { Recipe } from "../recipe/recipe.js";
import { figureText, summaryOfFigures } from "./figures.js";
import { codeBlock, codeSpan, markdownTable, plainText } from "./markdown.js";
import type { Provenance, ProvenanceInput } from "./provenance.js";
import { countOf, countText, percentText, sizeText } from "./units.js";

/** More warnings than a reader wants; all of them are in the provenance file. */
const MOST_WARNINGS = 30;
/** Where the reader's own path goes. */
const PLACE = "path/to/this/folder";

/**
 * README.md of a merged model, with the header that the Hub reads. Depends on recipe, inputs and result only: no time,
 * no machine, no path that the recipe does not name. The licence is left out, since it follows from the inputs' licences.
 */
export function modelCard(recipe: Recipe, plan: Plan, provenance: Provenance): string {
  const { method, dialect } = recipe;
  const sections = [
    `# ${plainText(titleOf(recipe))}`,
    `Made with Mergewright ${provenance.mergewright}. ${method.title} (\`${method.name}/${dialect}\`).`,
    ...(method.paper === null ? [] : [paperLine(method.paper)]),
    codeBlock(firstParagraph(method.description), "text"),
    "## Inputs",
    inputTable(plan, provenance),
    "## Recipe",
    codeBlock(provenance.recipe, "yaml"),
    "## Result",
    resultList(recipe, plan, provenance),
    ...keptTable(recipe, plan, provenance),
    ...warningList(provenance),
    "## Use",
    useSection(recipe, plan),
    "## Verify",
    `\`mergewright verify ${PLACE}\` reads every tensor and compares it with the checksums in mergewright.json. ` +
      "The same recipe over the same inputs writes the same bytes again.",
  ];
  return `${header(recipe, plan)}\n${sections.join("\n\n")}\n`;
}

function header(recipe: Recipe, plan: Plan): string {
  const labels = storedLabels(plan, plan.merges);
  return [
    "---",
    "base_model:",
    ...[...new Set(labels)].map((label) => `- ${JSON.stringify(label)}`),
    ...(configOf(plan) === null || makesArtifact(recipe.method) ? [] : ["library_name: transformers"]),
    "tags:",
    "- merge",
    "- mergewright",
    `- ${recipe.method.name}`,
    "---",
    "",
  ].join("\n");
}

/** Checkpoints whose weights are in the result, those of merges among the inputs too. */
function storedLabels({ inputs, sources }: Plan, merges: Plan["merges"]): string[] {
  return inputs.flatMap(({ role, label }, index) => {
    if (role === "extra") return [];
    const own = sources.filter(({ input }) => input === index);
    const address = (own.find((source) => source.address?.kind === "folded") ?? own[0])?.address;
    if (address?.kind !== "merge") {
      const reference = address?.kind === "folded" ? parseReference(label) : null;
      return reference === null ? [label] : [reference.base, ...reference.adapters.map((adapter) => adapter.label)];
    }
    return storedLabels(merges.find(({ key }) => key === address.key)!.plan, merges);
  });
}

function titleOf({ models }: Recipe): string {
  const names = models.map(({ name }) => name);
  if (names.length > 8) return `Merge of ${names.length} models`;
  return names.length === 1
    ? `Merge with ${names[0]!}`
    : `Merge of ${names.slice(0, -1).join(", ")} and ${names.at(-1)!}`;
}

function paperLine({ title, authors, where }: Paper): string {
  const id = /^arXiv[ :](\S+)$/.exec(where)?.[1];
  const place = id === undefined ? where : `[${where}](https://arxiv.org/abs/${id})`;
  return `Paper: *${title}*, ${authors}, ${place}`;
}

function firstParagraph(text: string): string {
  return text.trim().split(/\n\s*\n/)[0]!;
}

function inputTable(plan: Plan, { inputs, merges = [] }: Provenance): string {
  const rowOf = (place: string) => (input: ProvenanceInput) => {
    const { role, name, model, files, merge } = input;
    const isMerge = merge !== undefined;
    return [
      `${place}${role === "extra" ? plainText(name) : role}`,
      role === "extra" ? "" : codeSpan(name),
      isMerge ? "a merge, read without being written" : codeSpan(model),
      isMerge ? "" : String(files.length),
      isMerge ? "" : sizeText(files.reduce((sum, { bytes }) => sum + bytes, 0)),
    ];
  };
  const labelOf = (key: string) =>
    [...inputs, ...merges.flatMap((merge) => merge.inputs)].find(({ merge }) => merge === key)!.model;
  const rows = [
    ...inputs.map(rowOf("")),
    ...merges.toReversed().flatMap((merge) => merge.inputs.map(rowOf(`${codeSpan(labelOf(merge.key))}: `))),
  ];
  const table = markdownTable(["role", "name", "checkpoint", "weight files", "size"], rows);
  if (plan.inputs.some(({ role }) => role === "base")) return table;
  return `${table}\n\nThere is no base; config and other files come from the first model that has them.`;
}

function resultList(recipe: Recipe, plan: Plan, { counts, outputs, skipped, figures }: Provenance): string {
  const { tensors, mergedEntries, counters, nonFinite } = counts;
  const bytes = outputs.reduce((sum, output) => sum + output.bytes, 0);
  const reasons = new Set(skipped.map(({ reason }) => reason));
  const lines = [
    `${countOf(tensors.merged, "tensor")} merged (${countOf(mergedEntries, "parameter")}), ` +
      `${countText(tensors.copied)} copied`,
    `${countOf(outputs.length, "weight file")}, ${sizeText(bytes)}`,
    ...(tensors.skipped === 0
      ? []
      : [
          `${countOf(tensors.skipped, "tensor")} of inputs left out (${plainText([...reasons].slice(0, 5).join("; "))})`,
        ]),
    ...Object.entries(counters).map(([name, count]) => {
      const share = mergedEntries === 0 ? "" : ` (${percentText(count / mergedEntries)} of the merged parameters)`;
      return `${plainText(name)}: ${countText(count)}${share}: ${plainText(recipe.method.counters[name] ?? "")}`;
    }),
    ...summaryOfFigures(recipe.method, figures ?? null).map(
      (one) => `${plainText(one.name)}: ${plainText(figureText(one))}`,
    ),
    `NaN or infinite entries: ${countText(nonFinite)}`,
    ...headLines(recipe, plan),
  ];
  return lines.map((line) => `- ${line}`).join("\n");
}

function headLines({ heads }: Recipe, plan: Plan): string[] {
  if (heads !== "separate") return [];
  const folders = [...new Set(plan.files.map(({ name }) => name.split("/").slice(0, -1).join("/")))].filter(Boolean);
  return folders.length === 0 ? [] : [`each model's own excluded tensors: ${folders.map(codeSpan).join(", ")}`];
}

function keptTable({ method }: Recipe, plan: Plan, { counts: { kept } }: Provenance): string[] {
  if (kept === null) return [];
  const models = plan.inputs.filter(({ role }) => role === "model");
  const rows = models.flatMap(({ name }) => {
    const count = kept[name];
    if (count === undefined) return [];
    const share = count.entries === 0 ? "" : percentText(count.kept / count.entries);
    return [[codeSpan(name), countText(count.kept), countText(count.entries), share]];
  });
  return [
    markdownTable(["model", `entries kept by the ${makesArtifact(method) ? "mask" : "trim"}`, "of", "share"], rows),
  ];
}

function warningList({ warnings }: Provenance): string[] {
  if (warnings.length === 0) return [];
  const lines = warnings.slice(0, MOST_WARNINGS).map((warning) => `- ${plainText(warning)}`);
  if (warnings.length > MOST_WARNINGS) lines.push(`- and ${warnings.length - MOST_WARNINGS} more, in mergewright.json`);
  return ["## Warnings", lines.join("\n")];
}

/** config.json of the output, or `null`. */
function configOf(plan: Plan): Readonly<Record<string, unknown>> | null {
  const file = plan.sideFiles.find(({ name }) => name === "config.json");
  if (file === undefined || !("text" in file)) return null;
  const config: Readonly<Record<string, unknown>> = JSON.parse(file.text);
  return config;
}

function useSection(recipe: Recipe, plan: Plan): string {
  const config = configOf(plan);
  if (makesArtifact(recipe.method)) {
    const command = `mergewright materialize ${PLACE} --task ${recipe.models[0]!.name} -o path/to/the/model`;
    const text =
      "This is an artifact, not a checkpoint: it holds what the tasks share and what each has of its own. The base is not in it. The model of a task is written by";
    return `${text}\n\n${codeBlock(command, "sh")}`;
  }
  if (config === null) {
    return "There is no config.json among the inputs; the weights are plain safetensors files and load with any reader of them.";
  }
  const architecture = classOf(config);
  const tokenizer = plan.sideFiles.some(({ name }) => /^tokenizer(?:_config)?\.json$/.test(name));
  const names = [architecture, ...(tokenizer ? ["AutoTokenizer"] : [])].join(", ");
  const code = [
    `from transformers import ${names}`,
    "",
    `model = ${architecture}.from_pretrained("${PLACE}")`,
    ...(tokenizer ? [`tokenizer = AutoTokenizer.from_pretrained("${PLACE}")`] : []),
  ];
  const separate = recipe.heads === "separate" && recipe.exclude.length > 0;
  const note = "The backbone lacks the excluded tensors; take a task's own from its folder below heads/.";
  return `${codeBlock(code.join("\n"), "python")}${separate ? `\n\n${note}` : ""}`;
}

/** The class that the config names, where it can stand in Python as it is. */
function classOf({ architectures }: Readonly<Record<string, unknown>>): string {
  const [first] = Array.isArray(architectures) ? (architectures as unknown[]) : [];
  return typeof first === "string" && /^[A-Za-z]\w{0,99}$/.test(first) ? first : "AutoModel";
}

/** The files of an adapter, for a platform to write: a folder as PEFT loads it, or one file of kohya's layout. */
import { layoutHeader } from "../formats/safetensors/layout.js";
import { ADAPTER_FILE } from "../models/files.js";
import { xxh64 } from "../numbers/checksum.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import { VERSION } from "../version.js";
import { CONFIG_FILE } from "./config.js";
import type { AdapterDraft, DraftTensor } from "./draft.js";

/** How an adapter was made; goes into mergewright.json and the model card. Nothing in it depends on machine or time. */
export interface AdapterOrigin {
  /** What was done, e.g. `adapter convert`. */
  readonly action: string;
  /** A sentence for the model card, e.g. `Converted from kohya's layout.` */
  readonly summary: string;
  /** What it was made of, as given, and XXH64 of each one's header. */
  readonly inputs: readonly { readonly label: string; readonly header: string }[];
  /** Parameters and measured numbers, as plain data. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** By name inside the folder. */
export type AdapterFiles = ReadonlyMap<string, Uint8Array>;

export function peftFiles(draft: AdapterDraft, origin: AdapterOrigin): AdapterFiles {
  const weights = safetensorsOf(draft.tensors, { format: "pt" });
  return new Map([
    [ADAPTER_FILE, weights],
    [CONFIG_FILE, encode(`${JSON.stringify(draft.config, null, 2)}\n`)],
    ["README.md", encode(adapterCard(draft, origin))],
    ["mergewright.json", encode(originText(draft.tensors, origin))],
  ]);
}

/** One safetensors file; tensors sorted by key, wide formats first so that all are aligned. */
export function safetensorsOf(
  tensors: readonly DraftTensor[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const sorted = tensors.toSorted((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (a.key < b.key ? -1 : 1));
  const specs = sorted.map(({ key, dtype, shape }) => ({ name: key, dtype, shape }));
  const layout = layoutHeader(specs, metadata);
  const file = new Uint8Array(layout.fileSize);
  file.set(layout.header);
  for (const [index, { offset }] of layout.tensors.entries()) file.set(sorted[index]!.bytes, offset);
  return file;
}

export function originText(tensors: readonly DraftTensor[], { action, inputs, details }: AdapterOrigin): string {
  const checksums = Object.fromEntries(
    tensors.toSorted((a, b) => (a.key < b.key ? -1 : 1)).map(({ key, bytes }) => [key, xxh64(bytes)]),
  );
  return `${JSON.stringify({ mergewright: VERSION, format: "adapter", action, inputs, details, checksums }, null, 2)}\n`;
}

/** README.md with the header that the Hub reads. */
function adapterCard({ config, tensors }: AdapterDraft, { action, summary, inputs }: AdapterOrigin): string {
  const base = config["base_model_name_or_path"];
  const named = typeof base === "string" && base !== "" ? base : null;
  const header = [
    "---",
    ...(named === null ? [] : [`base_model: ${JSON.stringify(named)}`]),
    "library_name: peft",
    "tags:",
    "- mergewright",
    "- adapter",
    "---",
  ];
  const rows = inputs.map(({ label, header: hash }) => `| ${cell(label)} | \`${hash}\` |`);
  const parts = [
    header.join("\n"),
    "# Adapter",
    `${summary} Made with \`mergewright ${action}\` ${VERSION}; ${tensors.length} tensors. mergewright.json holds ` +
      "checksums, parameters and what was measured.",
    "| made of | header |\n|---|---|",
  ];
  const use =
    `## Use\n\n\`\`\`python\nfrom peft import PeftModel\n\nmodel = PeftModel.from_pretrained(base, "path/to/this/folder")\n\`\`\`\n\n` +
    "`mergewright adapter fold BASE path/to/this/folder -o OUT` writes the whole model.";
  return `${parts.join("\n\n")}\n${rows.join("\n")}\n\n${use}\n`;
}

function cell(text: string): string {
  return text.replaceAll(/[|\\`<>\n\r]/g, (character) => `&#${character.codePointAt(0)!};`);
}

export function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** Adapters in folders and on servers. */
import type { Adapter } from "../../adapters/adapter.js";
import { openAdapter } from "../../adapters/open.js";
import type { AdapterFiles } from "../../adapters/write.js";
import { httpFolder } from "../../models/http_folder.js";
import { openFolder } from "./files.js";
import { openWorkspace } from "./workspace.js";

/** @param label a folder, a `.safetensors` file, or an address of either. */
export function openAdapterAt(label: string): Promise<Adapter> {
  return openAdapter(label, /^https?:\/\//.test(label) ? httpFolder(label) : openFolder(label));
}

/** Writes a folder under a hidden name, then renames it. @throws output/exists, output/busy, io/write */
export function writeFolder(out: string, files: AdapterFiles, { force }: { readonly force: boolean }): void {
  const workspace = openWorkspace(out, { force });
  try {
    for (const [name, bytes] of files) workspace.writeWhole(name, bytes);
    workspace.commit();
  } catch (error) {
    workspace.release();
    throw error;
  }
}

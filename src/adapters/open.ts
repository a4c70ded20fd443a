/** Opens an adapter by what is there: a folder of PEFT's, a file of kohya's layout, or a checkpoint of Aurora's. */
import { ADAPTER_FILE } from "../models/files.js";
import type { FolderAccess } from "../models/folder.js";
import type { Adapter } from "./adapter.js";
import { readAurora } from "./aurora.js";
import { CONFIG_FILE } from "./config.js";
import { readKohya } from "./kohya.js";
import { noAdapter, readPeft } from "./read_peft.js";

/** @param label the path or address as the user wrote it. @throws adapter/config, adapter/kind, adapter/tensor */
export async function openAdapter(label: string, access: FolderAccess): Promise<Adapter> {
  const { files, complete } = await access.list();
  const names = files.map(({ name }) => name);
  const has = (name: string) => names.includes(name);
  if (has(CONFIG_FILE) && (has(ADAPTER_FILE) || !complete)) return readPeft(label, access);
  const [only, ...more] = names.filter((name) => name.endsWith(".safetensors"));
  if (only !== undefined && more.length === 0 && only !== ADAPTER_FILE) {
    return (await readAurora(label, access, only)) ?? readKohya(label, access, only);
  }
  // A server lists nothing, so what it has is asked for.
  if (!complete && !has(CONFIG_FILE)) return readPeft(label, access);
  throw noAdapter(label, names);
}

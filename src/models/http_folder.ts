/**
 * A checkpoint on a server, e.g. `https://huggingface.co/ORGANISATION/NAME/resolve/main`. A server does not list a
 * folder, so files are asked for by their usual names.
 */

import { MergewrightError } from "../errors.js";
import { INDEX_FILE, SINGLE_FILE } from "../formats/safetensors/shard.js";
import { downloadHttp, httpSource, probeHttp, type HttpOptions, type Probe } from "../sources/http.js";
import { ADAPTER_FILE, USUAL_SIDE_FILES } from "./files.js";
import { isPlainName, missingFile, outsideFolder, type FolderAccess, type FolderFile } from "./folder.js";
import { inParallel } from "./parallel.js";

/** Asked for only when there is nothing better, to explain why the checkpoint cannot be read. */
const LAST_RESORTS = [ADAPTER_FILE, "pytorch_model.bin", "pytorch_model.bin.index.json"];

/** @param address of the folder, or of one `.safetensors` file. */
export function httpFolder(address: string | URL, options: Omit<HttpOptions, "label" | "stamp"> = {}): FolderAccess {
  const base = baseAddress(address);
  const only = /\.safetensors$/i.test(base.pathname) ? base.pathname.split("/").at(-1)! : null;
  const place = `${base.origin}${base.pathname}`;

  function addressOf(name: string): URL {
    if (!isPlainName(name)) throw outsideFolder(place, name);
    if (only !== null) return base;
    const url = new URL(base);
    url.pathname += `${url.pathname.endsWith("/") ? "" : "/"}${encodeURIComponent(name)}`;
    return url;
  }

  async function probe(names: readonly string[]): Promise<{ files: FolderFile[]; forbidden: Probe[] }> {
    const probes = await inParallel(names, (name) => probeHttp(addressOf(name), options));
    const files = names.flatMap((name, at) => {
      const found = probes[at]!;
      return found.status === "found" ? [{ name, size: found.stamp.size < 0 ? null : found.stamp.size }] : [];
    });
    return { files, forbidden: probes.filter(({ status }) => status === "forbidden") };
  }

  return {
    location: place,
    async list() {
      const listing = { complete: false, brokenLinks: [], notes: [] };
      if (only !== null) return { ...listing, files: [{ name: only, size: null }] };
      const weights = await probe([SINGLE_FILE, INDEX_FILE]);
      if (weights.files.length === 0) {
        // An object store may answer 403 for a file that is not there, so a refusal matters only now.
        const [refusal] = weights.forbidden;
        if (refusal !== undefined) throw refused(place, refusal);
        return { ...listing, files: (await probe(LAST_RESORTS)).files };
      }
      const others = await probe(["config.json", ...USUAL_SIDE_FILES]);
      const notes = ["the server does not list its files, so side files were looked for by their usual names"];
      return { ...listing, notes, files: [...weights.files, ...others.files] };
    },
    async open(name) {
      const url = addressOf(name);
      const found = await probeHttp(url, options);
      if (found.status === "absent") throw missingFile(place, name);
      // Without ranges or access httpSource asks again, and explains.
      return httpSource(url, found.status === "found" && found.ranges ? { ...options, stamp: found.stamp } : options);
    },
    async readWhole(name, limit) {
      const content = await downloadHttp(addressOf(name), { ...options, limit });
      if (content === null) throw missingFile(place, name);
      return content;
    },
  };
}

function baseAddress(address: string | URL): URL {
  try {
    return new URL(address);
  } catch (cause) {
    throw new MergewrightError("this is not an address of a checkpoint", {
      kind: "request",
      code: "io/http",
      expected: "https://…",
      found: String(address),
      cause,
    });
  }
}

function refused(place: string, probe: Probe): MergewrightError {
  return new MergewrightError("the server refuses access to the checkpoint", {
    kind: "request",
    code: "io/http",
    where: { file: place },
    found: probe.status === "found" ? "" : probe.found,
    advice: "check the address and give a token that may read it, as an Authorization header",
  });
}

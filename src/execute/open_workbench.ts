import type { Kernels } from "../kernels/load.js";
import type { Method } from "../methods/method.js";
import { rowSource } from "../sources/rows.js";
import type { ByteSource } from "../sources/source.js";
import { MergedSource } from "./merged_source.js";
import type { WorkSetup, WorkSource } from "./setup.js";
import { withoutArtifact } from "./unpacked.js";
import { ownBytes, Workbench } from "./workbench.js";

/** What a thread takes from its platform. */
export interface ThreadPlatform {
  /** Opens a stored source: a file, an address, what is in memory. */
  readonly openStored: (source: WorkSource) => ByteSource | Promise<ByteSource>;
  /** Opens for reading what lies at a path of the workspace. */
  readonly openWritten: (path: string) => ByteSource;
  readonly findMethod: (name: string) => Method;
}

/**
 * The workbench of one thread. Sources that are computed are made here, one case per kind of address; all others are the
 * platform's.
 * @param region `workbenchBytes(setup)` bytes of kernel memory that belong to this thread alone.
 */
export function openWorkbench(
  setup: WorkSetup,
  kernels: Kernels,
  region: { readonly address: number; readonly bytes: number },
  { openStored, openWritten, findMethod }: ThreadPlatform,
): Workbench {
  const merged = new Map<string, MergedSource>();
  const open = (source: WorkSource): ByteSource | Promise<ByteSource> => {
    const { label, address, stamp } = source;
    if (address?.kind === "merge") return merged.get(address.key)!;
    // A merge is shared by all that read it, and closed with the workbench.
    const openPart = (part: WorkSource) => (part.address?.kind === "merge" ? borrowed(open(part)) : open(part));
    return address?.kind === "rows" ? rowSource(label, address.table, stamp, openPart) : openStored(source);
  };
  let next = region.address;
  const make = (own: WorkSetup) => {
    const bytes = ownBytes(own);
    const address = next;
    next += bytes;
    if (next > region.address + region.bytes) throw new RangeError("the workbenches do not fit into their region");
    return new Workbench(own, kernels, { address, bytes }, (index) => open(own.sources[index]!));
  };
  const work = make(setup);
  for (const merge of setup.merges) {
    const method = withoutArtifact(findMethod(merge.setup.method));
    const stored = merge.stored === undefined ? null : openWritten(merge.stored.path);
    merged.set(merge.key, new MergedSource(merge, make(merge.setup), method, stored));
  }
  return work;
}

async function borrowed(opened: ByteSource | Promise<ByteSource>): Promise<ByteSource> {
  const source = await opened;
  return { ...source, read: (offset, into) => source.read(offset, into), close() {} };
}

import { openWorkbench } from "../../execute/open_workbench.js";
import type { Bench } from "../../execute/bench.js";
import type { WorkSetup } from "../../execute/setup.js";
import type { Kernels } from "../../kernels/load.js";
import type { Method } from "../../methods/method.js";
import type { ByteSink } from "../../sources/sink.js";
import type { ByteSource } from "../../sources/source.js";
import { fileSink, fileSource } from "./files.js";
import { finderOf } from "./own_methods.js";
import { openAddress } from "./sources.js";

export interface OpenBench extends Bench {
  close(): Promise<void>;
}

/**
 * A thread's bench over local files (and HTTP sources), opened when first used.
 * @param own methods beside those of the catalogue.
 */
export function openBench(
  setup: WorkSetup,
  kernels: Kernels,
  region: { readonly address: number; readonly bytes: number },
  own: readonly Method[] = [],
): OpenBench {
  const find = finderOf(own);
  const work = openWorkbench(setup, kernels, region, {
    openStored: openAddress,
    openWritten: (place) => fileSource(place),
    findMethod: find,
  });
  const sinks: (ByteSink | undefined)[] = [];
  const written: (ByteSource | undefined)[] = [];
  return {
    work,
    method: find(setup.method),
    sink: (file) => (sinks[file] ??= fileSink(setup.files[file]!.path, "continue", setup.files[file]!.size)),
    written: (file) => (written[file] ??= fileSource(setup.files[file]!.path)),
    async close() {
      await work.close();
      for (const file of [...sinks, ...written]) await file?.close();
    },
  };
}

import { openWorkbench } from "../../execute/open_workbench.js";
import type { Bench } from "../../execute/bench.js";
import type { WorkSetup } from "../../execute/setup.js";
import type { Kernels } from "../../kernels/load.js";
import { findMethod } from "../../methods/catalogue.js";
import type { ByteSink } from "../../sources/sink.js";
import type { ByteSource } from "../../sources/source.js";
import { fileSink, fileSource } from "./files.js";
import { openAddress } from "./sources.js";

export interface OpenBench extends Bench {
  close(): Promise<void>;
}

/** A thread's bench over local files (and HTTP sources), opened when first used. */
export function openBench(
  setup: WorkSetup,
  kernels: Kernels,
  region: { readonly address: number; readonly bytes: number },
): OpenBench {
  const work = openWorkbench(setup, kernels, region, {
    openStored: openAddress,
    findMethod: (name) => findMethod(name)!,
  });
  const sinks: (ByteSink | undefined)[] = [];
  const written: (ByteSource | undefined)[] = [];
  return {
    work,
    method: findMethod(setup.method)!,
    sink: (file) => (sinks[file] ??= fileSink(setup.files[file]!.path, "continue", setup.files[file]!.size)),
    written: (file) => (written[file] ??= fileSource(setup.files[file]!.path)),
    async close() {
      await work.close();
      for (const file of [...sinks, ...written]) await file?.close();
    },
  };
}

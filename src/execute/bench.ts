import type { Method } from "../methods/method.js";
import type { ByteSink } from "../sources/sink.js";
import type { ByteSource } from "../sources/source.js";
import type { Workbench } from "./workbench.js";

/** What a job sees: one thread's buffers, the method, and the output files. */
export interface Bench {
  readonly work: Workbench;
  readonly method: Method;
  readonly sink: (file: number) => ByteSink | Promise<ByteSink>;
  /** Opens an output file for reading, to check what an interrupted run left. */
  readonly written: (file: number) => ByteSource | Promise<ByteSource>;
}

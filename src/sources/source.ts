/** Where bytes come from. One small interface over a local file, a Blob, a buffer and an HTTP server with ranges. */

import type { FoldedLayout } from "./folded.js";
import type { RowTable } from "./rows.js";
import type { TaskLayout } from "./task.js";

/** What identifies a source's content cheaply; a change between plan and merge is detected by it. */
export interface SourceStamp {
  /** Bytes. */
  readonly size: number;
  /** Modification time in nanoseconds since 1970 as a decimal string, an ETag, or "" where the source has none. */
  readonly version: string;
}

/** How another thread can open the same source; `null` where that is impossible (a Blob, a buffer). */
export type SourceAddress =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "http"; readonly url: string; readonly headers: Readonly<Record<string, string>> }
  /** Computed from other sources; `key` names a merge of the plan (plan/intermediate.ts). */
  | { readonly kind: "merge"; readonly key: string }
  /** Rows of other sources, each with its own address. */
  | { readonly kind: "rows"; readonly table: RowTable }
  /** A task's weights, computed from the parts of an artifact. */
  | { readonly kind: "task"; readonly layout: TaskLayout }
  /** The factors of a LoRA, computed from a checkpoint of Aurora's. */
  | {
      readonly kind: "aurora";
      readonly file: { readonly label: string; readonly address: SourceAddress; readonly stamp: SourceStamp };
    }
  /** A base with adapters folded into it. */
  | { readonly kind: "folded"; readonly layout: FoldedLayout };

export interface ByteSource {
  /** For messages: the path or address as the user gave it. */
  readonly label: string;
  readonly stamp: SourceStamp;
  readonly address: SourceAddress | null;
  /**
   * Fills `into` with the bytes from `offset` on; all of them or an `io/read` error. Synchronous where the platform
   * can (a worker's file reads), so that a hot loop pays no promise. `into` may view (shared) WebAssembly memory.
   */
  read(offset: number, into: Uint8Array): void | Promise<void>;
  close(): void | Promise<void>;
}

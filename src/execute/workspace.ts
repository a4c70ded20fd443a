/**
 * Where a result grows: a hidden folder beside its final place, moved there when everything is in it. A reader never
 * sees half a result; a restart finds its journal.
 */
export interface Workspace {
  /** The final place, for messages. */
  readonly label: string;
  /** Path of a file inside, for the threads that write tensors. */
  path(name: string): string;
  /** Lines of the journal of an earlier, interrupted run; empty for a new workspace. A torn last line is left out. */
  readonly journal: readonly string[];
  /** Forgets everything written so far. */
  reset(): void;
  /** Makes a file of exactly `size` bytes whose first bytes are `header`; an existing one keeps its other bytes. */
  allocate(name: string, size: number, header: Uint8Array): void;
  /** Writes a small file whole. */
  writeWhole(name: string, bytes: Uint8Array): void;
  /** The bytes of a file, or `null` where there is none. */
  readWhole(name: string): Uint8Array | null;
  /** Fills `into` from an offset of a file that is there. */
  readAt(name: string, offset: number, into: Uint8Array): void;
  /** Writes into an allocated file. */
  writeAt(name: string, offset: number, bytes: Uint8Array): void;
  /** Takes a file or a folder away. */
  remove(name: string): void;
  /** Appends lines to the journal. */
  record(lines: readonly string[]): void;
  /** Flushes every file, removes the journal and moves the folder to its final place. */
  commit(): void;
  /** Leaves the folder as it is, for a later run. */
  release(): void;
}

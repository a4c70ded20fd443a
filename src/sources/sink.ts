/** Where bytes go: files of fixed size written at any offset, in any order, by any number of writers. */
export interface ByteSink {
  readonly label: string;
  /** Writes all of `bytes` at `offset` or throws `io/write` / `io/disk-full`. */
  write(offset: number, bytes: Uint8Array): void | Promise<void>;
  close(): void | Promise<void>;
}

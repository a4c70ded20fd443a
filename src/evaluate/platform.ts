import type { OpenModel } from "../inputs.js";
import type { OpenNetwork } from "../runtime/network.js";
import type { DecodeJpeg } from "./images/jpeg.js";
import type { ByteSource } from "../sources/source.js";

/** What a platform supplies to score models. */
export interface EvaluatePlatform {
  readonly openModel: OpenModel;
  readonly openNetwork: OpenNetwork;
  /** Opens a file of data; one that is not there is an error that names it. */
  readonly openFile: (path: string) => ByteSource | Promise<ByteSource>;
  /** Paths of all files below a folder, relative to it, in order; `null` where there is no such folder. */
  readonly listFolder: (path: string) => readonly string[] | null | Promise<readonly string[] | null>;
  /** The JPEG decoder, loaded when the first such picture is met. */
  readonly jpegDecoder: () => Promise<DecodeJpeg>;
  /** Runs a scorer from outside; `null` where there are no programs to run. */
  readonly runCommand: RunCommand | null;
}

export type RunCommand = (
  command: string | readonly string[],
  options: {
    /** Seconds; then the program and what it started are ended. */
    readonly timeout: number;
    /** Set on top of the environment. */
    readonly variables: Readonly<Record<string, string>>;
  },
) => Promise<Finished>;

/** How a program ended. */
export interface Finished {
  readonly ended: "exit" | "signal" | "timeout" | "not-started";
  /** The exit code, the signal's name, or why it could not be started. */
  readonly status: string;
  readonly stdout: string;
  /** The last part of it. */
  readonly stderr: string;
}

/** Texts by key, kept between runs. A store that fails is a store that knows nothing. */
export interface ResultStore {
  get(key: string): Promise<string | null>;
  put(key: string, text: string): Promise<void>;
}

import type { Crew } from "../execute/crew.js";
import type { WorkSetup } from "../execute/setup.js";
import type { Progress } from "../execute/meter.js";
import type { OpenModel } from "../inputs.js";
import type { FolderAccess } from "../models/folder.js";

/** What a platform supplies to look at models. */
export interface ReadingPlatform {
  readonly openModel: OpenModel;
  readonly createCrew: (setup: WorkSetup, threads: number, statisticsBytes: number) => Promise<Crew>;
}

export interface VerifyPlatform extends ReadingPlatform {
  /** The files of a local folder or of an address; the label of an output folder may be followed by /heads/MODEL. */
  readonly openFolder: (label: string) => FolderAccess;
  /** SHA-256 of a whole local file, as `sha256:…`. */
  readonly hashFile: (path: string) => Promise<string>;
}

export interface AnalysisOptions {
  readonly threads: number;
  /** Told from time to time; bytes are of tensors read. */
  readonly progress?: (progress: Progress) => void;
}

/** The folder that a verb writes. */
import { readdirSync } from "node:fs";
import { MergewrightError } from "../errors.js";
import type { Workspace } from "../execute/workspace.js";
import type { Platform } from "../merge.js";
import { PROVENANCE_FILE } from "../report/provenance.js";
import type { FlagValues } from "./verb.js";

/** Replacing removes what is there, so that --force on a mistyped path must not cost anyone their files. */
export function refuseForeign({ out, force }: FlagValues): void {
  if (out === "") throw foreign("the output has no name", out, "give -o the name of a folder");
  const files = readFolder(out!);
  if (!force || files.length === 0 || files.includes(PROVENANCE_FILE)) return;
  const advice = "choose another -o, or remove the folder yourself if nothing in it is needed";
  throw foreign("--force replaces results of merges only, and this folder is none", out!, advice);
}

function foreign(summary: string, out: string, advice: string): MergewrightError {
  const details = { kind: "request", code: "output/exists", where: { file: out }, advice } as const;
  return new MergewrightError(summary, {
    ...details,
    expected: `an empty folder, or one that holds ${PROVENANCE_FILE}`,
  });
}

function readFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** A platform whose workspace can be let go from outside, so that an interrupted run leaves no lock. */
export function watchWorkspace<P extends Pick<Platform, "openWorkspace">>(
  platform: P,
): { readonly platform: P; readonly release: () => void } {
  let open: Workspace | null = null;
  const openWorkspace: Platform["openWorkspace"] = (out, inputs, options) => {
    const workspace = platform.openWorkspace(out, inputs, options);
    open = workspace;
    const closing = (close: () => void) => () => {
      open = null;
      close();
    };
    return {
      ...workspace,
      commit: closing(() => workspace.commit()),
      release: closing(() => workspace.release()),
    };
  };
  return { platform: { ...platform, openWorkspace }, release: () => open?.release() };
}

/** A path that can be pasted into a shell. */
export function shellWord(text: string): string {
  return /^[\w./~:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

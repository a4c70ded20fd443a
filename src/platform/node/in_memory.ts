/** Merges of local files whose results stay in memory, such as candidates of a search. */

import type { Method } from "../../methods/method.js";
import type { MemoryMerging } from "../../search/candidate.js";
import { memoryCrew, MemoryWorkspace } from "../memory/workspace.js";
import { finderOf } from "./own_methods.js";
import { platformWith } from "./platform.js";
import { openAddress } from "./sources.js";

/** @param own methods beside those of the catalogue. */
export function mergingInMemory(own: readonly Method[] = []): MemoryMerging {
  const space = new MemoryWorkspace();
  return {
    ...platformWith(own),
    output: space.finished,
    recorded: space.recorded,
    beginWith(lines) {
      space.journal = lines;
    },
    createCrew: async (setup, _threads, statisticsBytes) =>
      memoryCrew(setup, statisticsBytes, space, { openStored: openAddress, findMethod: finderOf(own) }),
    openWorkspace: () => {
      space.reset();
      return space;
    },
  };
}

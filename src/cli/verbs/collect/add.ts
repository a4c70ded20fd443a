/** `collect --add A B … -o C`: statistics of parts of the data as one. */
import { existsSync } from "node:fs";
import { addStatistics } from "../../../collect/shards.js";
import { examplesOf } from "../../../collected/statistics.js";
import type { Statistics } from "../../../collected/statistics.js";
import { MergewrightError } from "../../../errors.js";
import { openStatistics, writeStatistics } from "../../../platform/node/statistics.js";
import { harmless } from "../../terminal.js";
import type { Given, Outcome } from "../../verb.js";

export async function addFiles({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const place = flags.out;
  if (place === undefined || positionals.length < 2 || (existsSync(place) && flags.force !== true)) {
    throw new MergewrightError("collect --add needs files to add and a new file for their sum", {
      kind: "request",
      code: "usage",
      where: { key: "mergewright collect --add" },
      expected: "mergewright collect --add A B -o C, where C is not there yet, or with --force",
      found: [...positionals, ...(place === undefined ? [] : [`-o ${place}`])].join(" "),
    });
  }
  const parts: Statistics[] = [];
  try {
    for (const label of positionals) parts.push(await openStatistics(label));
    const { info, sums } = await addStatistics(parts);
    await writeStatistics(place, info, sums);
    return {
      exitCode: 0,
      json: { file: place, ...info, examples: examplesOf(info) },
      text: () =>
        `${terminal.out.bold(harmless(place))}: ${info.kind} of ${harmless(info.model.name)} from ${examplesOf(info)} examples`,
    };
  } finally {
    for (const { file } of parts) await file.close();
  }
}

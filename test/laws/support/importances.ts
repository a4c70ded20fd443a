/** Statistics files of importances, made up. */
import type { Partitioning } from "../../../src/methods/method.js";
import { Sums } from "../../../src/collect/sums.js";
import type { StatisticsInfo } from "../../../src/collected/statistics.js";
import { sampledFingerprint } from "../../../src/models/fingerprint.js";
import { openModel } from "../../../src/platform/node/platform.js";
import { writeStatistics } from "../../../src/platform/node/statistics.js";

/** Writes sums over `count` predictions, of a model and its base, into a file of this name. */
export async function writeImportances(
  file: string,
  { model, base }: { readonly model: string; readonly base: string },
  sums: Readonly<Record<string, readonly number[]>>,
  {
    per = "row",
    dialect = "gradient",
    count = 1,
    layers = {},
  }: Partial<Pick<StatisticsInfo, "dialect" | "count" | "layers"> & { per: Partitioning }> = {},
): Promise<string> {
  const identity = async (label: string) => {
    const checkpoint = await openModel(label);
    try {
      return { name: checkpoint.name, hash: await sampledFingerprint(checkpoint) };
    } finally {
      await checkpoint.close();
    }
  };
  const info: StatisticsInfo = {
    ...{ kind: "importance", dialect, per, count, labels: "gold", seed: null, batch: 1, layers, energy: {} },
    ...{ model: await identity(model), base: await identity(base), head: null },
    sources: [{ task: "made up", data: "0", split: "train", first: 0, count }],
  };
  const all = new Sums();
  for (const [name, values] of Object.entries(sums)) all.add(name, [values.length], Float64Array.from(values));
  await writeStatistics(file, info, all);
  return file;
}

/** Statistics of two parts of the data as one: sums add up, and so do counts. */
import { examplesOf } from "../collected/statistics.js";
import type { LayerStatistics, Source, Statistics, StatisticsInfo } from "../collected/statistics.js";
import { readSum } from "../collected/sums.js";
import { MergewrightError } from "../errors.js";
import { Sums } from "./sums.js";

/** @returns the sum of all, whose sources are named in the order given. */
export async function addStatistics(parts: readonly Statistics[]): Promise<{ info: StatisticsInfo; sums: Sums }> {
  const [first, ...others] = parts;
  for (const other of others) checkSame(first!, other);
  const sums = new Sums();
  for (const { file } of parts) {
    for (const { name, shape } of file.tensors.values()) sums.add(name, shape, await readSum(file, name));
  }
  const infos = parts.map(({ info }) => info);
  const energy = infos.flatMap((info) => Object.keys(info.energy));
  return {
    info: {
      ...first!.info,
      sources: joined(parts),
      count: infos.reduce((sum, { count }) => sum + count, 0),
      layers: layersOf(infos),
      energy: Object.fromEntries([...new Set(energy)].map((name) => [name, squared(sums.all.get(name)!.data)])),
    },
    sums,
  };
}

export function squared(data: Float64Array): number {
  return data.reduce((sum, value) => sum + value * value, 0);
}

function layersOf(infos: readonly StatisticsInfo[]): Record<string, LayerStatistics> {
  const layers: Record<string, LayerStatistics> = {};
  for (const info of infos) {
    for (const [name, layer] of Object.entries(info.layers)) {
      layers[name] = { ...layer, rows: layer.rows + (layers[name]?.rows ?? 0) };
    }
  }
  return layers;
}

/** Runs of examples in the order given; those that continue one another become one. @throws where some overlap. */
function joined(parts: readonly Statistics[]): Source[] {
  const sources: Source[] = [];
  for (const { info, file } of parts) {
    for (const source of info.sources) {
      const same = sources.filter(({ data, split }) => data === source.data && split === source.split);
      const end = source.first + source.count;
      const twice = same.find(({ first, count }) => source.first < first + count && first < end);
      if (twice !== undefined) {
        throw mismatch(file.label, "some examples would count twice", {
          expected: `examples other than ${twice.first} to ${twice.first + twice.count - 1} of ${twice.split}`,
          found: `${source.first} to ${end - 1}`,
        });
      }
      const last = sources.at(-1);
      const continues = last !== undefined && same.includes(last) && last.first + last.count === source.first;
      if (continues) sources[sources.length - 1] = { ...last, count: last.count + source.count };
      else sources.push(source);
    }
  }
  return sources;
}

function checkSame(a: Statistics, b: Statistics): void {
  for (const key of ["kind", "dialect", "per", "labels", "seed", "batch"] as const) {
    if (a.info[key] === b.info[key]) continue;
    throw mismatch(b.file.label, `the files differ in ${key}`, {
      expected: `${String(a.info[key])}, as ${a.file.label} has`,
      found: String(b.info[key]),
    });
  }
  for (const key of ["model", "base", "head"] as const) {
    const [one, other] = [a.info[key], b.info[key]];
    if (one?.hash === other?.hash) continue;
    throw mismatch(b.file.label, `the files are of different ${key}s`, {
      expected: `${one === null ? "none" : `${one.name} (${one.hash})`}, as ${a.file.label} has`,
      found: other === null ? "none" : `${other.name} (${other.hash})`,
    });
  }
  const names = (one: Statistics) =>
    [...one.file.tensors.values()].map(({ name, shape }) => `${name} [${shape.join(", ")}]`);
  const [mine, theirs] = [names(a).sort(), names(b).sort()];
  const wrong =
    mine.find((name, index) => name !== theirs[index]) ?? theirs.find((name, index) => name !== mine[index]);
  if (wrong === undefined && examplesOf(b.info) > 0) return;
  throw mismatch(b.file.label, "the files hold different sums", {
    expected: `those of ${a.file.label}`,
    found: `${wrong} is in one of them only`,
  });
}

function mismatch(
  file: string,
  problem: string,
  details: { readonly expected: string; readonly found: string },
): MergewrightError {
  return new MergewrightError(`statistics do not add up: ${problem}`, {
    kind: "request",
    code: "statistics/file",
    where: { file },
    ...details,
    advice: "add files of one kind and one model, collected from different examples",
  });
}

/**
 * (IA)3 vectors by MaTS: (sum_i w_i F_i) l = sum_i w_i F_i l_i for each vector, with F_i the mean of g g^T over examples,
 * g the gradient of log p by the vector (`mergewright collect block`). A model without the vector has no part in it.
 */
import { readEntries } from "../adapters/adapter.js";
import type { Adapter } from "../adapters/adapter.js";
import { adapterIdentity } from "../adapters/identity.js";
import type { Statistics } from "../collected/statistics.js";
import { sumName } from "../collected/statistics.js";
import { MergewrightError } from "../errors.js";
import type { MatrixMethod, MatrixTask } from "../methods/method.js";
import { readSum } from "../collected/sums.js";
import { flatPlace, settingsFor, whereOf } from "../recipe/pattern.js";
import { refuseGradients } from "./by_sum.js";
import { pathOf } from "./gather.js";
import type { Given } from "./given.js";

/** Of each vector the merged entries, and what the solver found of it. */
export interface Matched {
  readonly vectors: ReadonlyMap<string, Float32Array>;
  readonly figures: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
  readonly warnings: readonly string[];
}

/** @param lengths entries of each vector, by path. */
export async function matchIa3(
  given: Given,
  method: MatrixMethod,
  lengths: ReadonlyMap<string, number>,
): Promise<Matched> {
  const { adapters, asked, names, platform, progress } = given;
  const { recipe } = asked;
  refuseGradients(recipe);
  const files = await checked(given, method);
  const vectors = new Map<string, Float32Array>();
  const figures: Record<string, Readonly<Record<string, readonly number[]>>> = {};
  const warned: string[] = [];
  for (const [path, size] of lengths) {
    const having = adapters.flatMap((adapter, model) => {
      const module = [...adapter.ia3.values()].find((one) => pathOf(adapter, one.path, names) === path);
      return module === undefined ? [] : [{ adapter, model, module }];
    });
    const settings = settingsFor(
      recipe,
      flatPlace(
        `${path}.weight`,
        0,
        having.map(({ model }) => model),
      ),
    );
    const ones = () => ({ rows: 1, columns: size, data: new Float32Array(size).fill(1) });
    const task: MatrixTask = {
      ...{ name: path, shape: [1, size], models: having.length, transposed: false },
      base: () => Promise.resolve(ones()),
      async model(index) {
        const { adapter, module } = having[index]!;
        return { ...ones(), data: await readEntries(adapter, module.scale, path) };
      },
      statistic: (index) => blockOf(files[having[index]!.model]!, path, size),
    };
    const solved = await method.solve(task, settings, platform.algebra);
    vectors.set(path, solved.merged.data);
    figures[path] = solved.figures ?? {};
    if ((solved.warnings ?? []).length > 0) warned.push(path);
    progress({ doing: "matching", done: vectors.size, of: lengths.size });
  }
  const [first] = warned;
  const warnings =
    first === undefined
      ? []
      : [
          `the systems of ${warned.length} of ${lengths.size} vectors (${first} …) are ill conditioned and were not solved to ` +
            "the tolerance; the result depends on where the steps stop (a smaller alpha, or more examples, help)",
        ];
  return { vectors, figures, warnings };
}

async function blockOf({ info, file }: Statistics, path: string, size: number) {
  const sum = sumName(path, "block");
  if (file.tensors.get(sum)?.shape[0] !== size) {
    throw new MergewrightError("a statistics file has no block for a vector of its adapter", {
      kind: "request",
      code: "statistics/file",
      where: { file: file.label, tensor: sum },
      expected: `[${size}, ${size}]`,
      found: file.tensors.get(sum)?.shape.join(" x ") ?? "nothing",
      advice: "collect it anew from this adapter beside its base",
    });
  }
  return { sum: { rows: size, columns: size, data: await readSum(file, sum) }, count: info.count };
}

/** The statistics, each of its own adapter. @throws statistics/missing, statistics/file, statistics/model */
async function checked(
  { adapters, asked: { recipe }, statistics }: Given,
  method: MatrixMethod,
): Promise<Statistics[]> {
  const values = Object.fromEntries(Object.entries(recipe.parameters).map(([name, { value }]) => [name, value]));
  const kinds =
    method.statistics?.kinds(values as Parameters<NonNullable<MatrixMethod["statistics"]>["kinds"]>[0]) ?? [];
  if (!kinds.includes("block")) {
    throw new MergewrightError(`${method.name} merges (IA)3 vectors by their blocks`, {
      kind: "request",
      code: "recipe/unsupported",
      where: whereOf(recipe, "parameters"),
      expected: "objective: block, as the dialect ia3 has",
      advice: "write method: mats/ia3",
    });
  }
  const lacking = adapters.filter((_, model) => statistics[model] == null);
  if (lacking.length > 0) {
    throw new MergewrightError(`${method.name} needs statistics of every adapter`, {
      kind: "request",
      code: "statistics/missing",
      where: whereOf(recipe, "models"),
      expected: `{model: ${lacking[0]!.label}, statistics: ${lacking[0]!.name}.block.safetensors}`,
      advice: `collect them and name them in the recipe: ${lacking.map(commandFor).join("; ")}`,
    });
  }
  const files = statistics.map((file) => file!);
  for (const [model, { info, file }] of files.entries()) {
    const adapter = adapters[model]!;
    const where = { ...whereOf(recipe, `models.${model}.statistics`), file: file.label };
    const advice = commandFor(adapter);
    if (info.kind !== "block") {
      throw new MergewrightError(`${method.name} needs other statistics`, {
        ...{ kind: "request", code: "statistics/file", where, expected: "block", found: info.kind, advice },
      });
    }
    const { name, hash } = await adapterIdentity(adapter);
    if (hash === info.model.hash) continue;
    throw new MergewrightError("statistics are of another adapter", {
      ...{ kind: "request", code: "statistics/model", where, expected: `${name} (${hash})` },
      found: `${info.model.name} (${info.model.hash})`,
      advice: `name the file that belongs to the adapter, or collect it: ${advice}`,
    });
  }
  return files;
}

function commandFor({ label, name }: Pick<Adapter, "label" | "name">): string {
  return `mergewright collect block --model BASE+${label} --tasks tasks.yaml --task ${name} -o ${name}.block.safetensors`;
}

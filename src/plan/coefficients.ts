/**
 * Tables of coefficients: for every merged tensor one number per model, learnt once by `mergewright collect
 * coefficients` and read by any number of merges. A safetensors file with an F32 tensor `[models]` under each merged
 * tensor's name; its metadata says of which models.
 */
import * as v from "valibot";
import { MergewrightError } from "../errors.js";
import { readTensor } from "../formats/safetensors/index.js";
import type { Settings } from "../methods/method.js";
import { sampledFingerprint } from "../models/fingerprint.js";
import type { Checkpoint } from "../models/model.js";
import { whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";

/** The metadata's `kind` of a table. */
export const TABLE_KIND = "mergewright.coefficients";

/** A model as a table knows it. */
const modelSchema = v.object({ name: v.string(), fingerprint: v.string() });
export type TableModel = v.InferOutput<typeof modelSchema>;

/** Metadata of a table; everything else in it is for people. */
const metadataSchema = v.object({
  kind: v.literal(TABLE_KIND),
  base: v.pipe(v.string(), v.parseJson(), modelSchema),
  models: v.pipe(v.string(), v.parseJson(), v.array(modelSchema)),
  /** Values of the method's other parameters under which it was learnt, by model. */
  parameters: v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.unknown())),
});

export interface CoefficientTable {
  readonly label: string;
  /** By tensor, in the order of the recipe's models. */
  readonly values: ReadonlyMap<string, readonly number[]>;
  /** What is worth telling about it and the recipe. */
  readonly notes: readonly string[];
}

type Opened = { readonly base: Checkpoint | null; readonly models: readonly Checkpoint[] };

/**
 * Reads the recipe's table and checks that it is of the recipe's models, which may stand in another order.
 * @throws coefficients/table where there is none or it is no table, coefficients/models where it is of other models.
 */
export async function openCoefficients(
  recipe: Recipe,
  { base, models }: Opened,
  open: (label: string) => Promise<Checkpoint>,
): Promise<CoefficientTable> {
  const label = recipe.coefficients!;
  const file = await openFile(recipe, label, open);
  const told = v.safeParse(metadataSchema, file.shards[0]?.header.metadata ?? {});
  if (!told.success || file.shards.length !== 1) throw noTable(recipe, label);
  const columns = await columnsOf(recipe, told.output, { base, models });
  const values = new Map<string, readonly number[]>();
  for (const tensor of file.tensors.values()) {
    if (tensor.dtype !== "F32" || tensor.shape.join() !== String(told.output.models.length)) {
      throw wrongShape(recipe, tensor.name, told.output.models.length, `${tensor.dtype} [${tensor.shape.join(", ")}]`);
    }
    const bytes = await readTensor(file.shards[0]!.source, tensor);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const row = columns.map((column) => view.getFloat32(4 * column, true));
    if (!row.every(Number.isFinite)) throw wrongShape(recipe, tensor.name, row.length, "a coefficient is not finite");
    values.set(tensor.name, row);
  }
  return { label, values, notes: notesOn(recipe, told.output.parameters) };
}

/** What a table is told apart by: name and sampled fingerprint of base and models. */
export async function tableModelOf(checkpoint: Checkpoint, name: string): Promise<TableModel> {
  return { name, fingerprint: await sampledFingerprint(checkpoint) };
}

/** The settings of one tensor with the table's coefficients in their place. @param models that have the tensor. */
export function withCoefficients(
  { label, values }: CoefficientTable,
  recipe: Recipe,
  settings: Settings,
  { name, models }: { readonly name: string; readonly models: readonly number[] },
): Settings {
  const row = values.get(name);
  if (row === undefined) {
    throw new MergewrightError("the table of coefficients has none for a tensor that is merged", {
      kind: "request",
      code: "coefficients/table",
      where: { ...whereOf(recipe, "coefficients"), tensor: name },
      found: `${label}, with coefficients for ${values.size} tensors`,
      advice: "exclude the tensor, as when the table was made, or collect the coefficients with this recipe",
    });
  }
  const { coefficient } = recipe.method.weighing!;
  return {
    global: settings.global,
    models: settings.models.map((values, index) => ({ ...values, [coefficient]: row[models[index]!]! })),
  };
}

/** Values of the parameters that say what is weighed: all but the coefficient, the recipe's and each model's. */
export function weighedUnder(recipe: Recipe): Record<string, unknown> {
  const { coefficient } = recipe.method.weighing!;
  const own = (settings: object) =>
    Object.fromEntries(Object.entries(settings).filter(([name]) => name !== coefficient));
  return {
    method: recipe.method.name,
    global: own(recipe.parameters),
    models: recipe.models.map(({ parameters }) => own(parameters)),
  };
}

/** The command that makes a recipe's table. */
export function collectCommand(recipe: Recipe, label: string): string {
  const { file = "recipe.yaml" } = whereOf(recipe, "coefficients");
  return `mergewright collect coefficients ${file} --tasks tasks.yaml -o ${label}`;
}

async function openFile(
  recipe: Recipe,
  label: string,
  open: (label: string) => Promise<Checkpoint>,
): Promise<Checkpoint> {
  try {
    return await open(label);
  } catch (cause) {
    if (!(cause instanceof MergewrightError) || cause.code !== "checkpoint/missing-file") throw cause;
    throw new MergewrightError("the table of coefficients is not there", {
      kind: "request",
      code: "coefficients/table",
      where: whereOf(recipe, "coefficients"),
      expected: label,
      advice: `make it: ${collectCommand(recipe, label)}`,
      cause,
    });
  }
}

/** For each model of the recipe its column in the table. */
async function columnsOf(
  recipe: Recipe,
  table: v.InferOutput<typeof metadataSchema>,
  { base, models }: Opened,
): Promise<number[]> {
  const refuse = (expected: string, found: string) =>
    new MergewrightError("the table of coefficients was made with other models", {
      kind: "request",
      code: "coefficients/models",
      where: whereOf(recipe, "coefficients"),
      expected: `${recipe.coefficients!} is of ${expected}`,
      found,
      advice: `use it with the models that it was made with, or make a new one: ${collectCommand(recipe, recipe.coefficients!)}`,
    });
  const text = ({ name, fingerprint }: TableModel) => `${name} (${fingerprint})`;
  const ownBase = await tableModelOf(base!, "the base");
  if (ownBase.fingerprint !== table.base.fingerprint) throw refuse(`the base ${text(table.base)}`, text(ownBase));
  const found = [];
  for (const [index, model] of models.entries()) found.push(await tableModelOf(model, recipe.models[index]!.name));
  const columns = found.map(({ fingerprint }) => table.models.findIndex((known) => known.fingerprint === fingerprint));
  const strange = columns.indexOf(-1);
  if (strange !== -1 || columns.length !== table.models.length) {
    throw refuse(
      table.models.map(text).join(", "),
      strange === -1 ? found.map(text).join(", ") : text(found[strange]!),
    );
  }
  return columns;
}

function notesOn(recipe: Recipe, learntUnder: Readonly<Record<string, unknown>>): readonly string[] {
  const now = weighedUnder(recipe);
  if (JSON.stringify(now["global"]) === JSON.stringify(learntUnder["global"])) return [];
  return [
    `${recipe.coefficients}: its coefficients were learnt for ${JSON.stringify(learntUnder["global"])} of ${String(learntUnder["method"])}, and other values hold here`,
  ];
}

function noTable(recipe: Recipe, label: string): MergewrightError {
  return new MergewrightError("the file is no table of coefficients", {
    kind: "request",
    code: "coefficients/table",
    where: whereOf(recipe, "coefficients"),
    expected: "a file that mergewright collect coefficients wrote",
    found: label,
    advice: `make one: ${collectCommand(recipe, label)}`,
  });
}

function wrongShape(recipe: Recipe, tensor: string, models: number, found: string): MergewrightError {
  return new MergewrightError("the table of coefficients is damaged", {
    kind: "request",
    code: "coefficients/table",
    where: { ...whereOf(recipe, "coefficients"), tensor },
    expected: `F32 [${models}], finite`,
    found: `${found}, in ${recipe.coefficients!}`,
    advice: `make it again: ${collectCommand(recipe, recipe.coefficients!)}`,
  });
}

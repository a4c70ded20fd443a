/**
 * Where each row of a vocabulary tensor of the result comes from, model by model, so that all have the same tokens before
 * they are merged. A model keeps its own rows. For a token that it lacks: what the recipe says for this token; the row of
 * the only model that has it; the base's; the average of all that have it; zeros. A row without a token (padding) is the
 * model's own, else the base's, else the average of the rows of all tokens, as the model sees them.
 */

import { MergewrightError } from "../errors.js";
import { printable, someOf } from "../formats/safetensors/text.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { whereOf } from "../recipe/pattern.js";
import type { Recipe, TokenSource } from "../recipe/recipe.js";
import { packRuns, sharedInts } from "../sources/rows.js";
import type { ByteSource } from "../sources/source.js";
import type { RowOrigin, RowPart, RowTable } from "../sources/rows.js";
import { shown } from "./read.js";
import { rowOf } from "./vocabulary.js";
import type { Member, Vocabulary } from "./vocabulary.js";

/** What a recipe says about a token, its model found. */
export interface RowWish {
  readonly source: TokenSource;
  /** Index of the member that the source names, or -1 for zeros. */
  readonly member: number;
  readonly force: boolean;
}

export interface RowRules {
  readonly vocabulary: Vocabulary;
  readonly members: readonly Member[];
  /** Whether the first member is the base. */
  readonly hasBase: boolean;
  /** By token. */
  readonly wishes: ReadonlyMap<string, RowWish>;
  /** Whether members that are not merged lend rows of tokens that nobody else has; in mergekit they do not. */
  readonly lends: boolean;
}

/** Where rows come from, for one model and one vocabulary tensor, before it is known where that tensor lies. */
export interface RowPlan {
  /** By row: an index into `origins`. */
  readonly origin: Int32Array;
  readonly row: Int32Array;
  /** Parts are indices of members. */
  readonly origins: readonly RowOrigin[];
  readonly meanRows: readonly number[];
  readonly averaged: number;
}

const ZERO = 0;

/**
 * The rows that a tensor of the result has, seen by member `of`.
 * @param holders indices of the members that have the tensor, ascending.
 * @param nowhere collects the tokens for which nobody has a row.
 */
export function planRows(
  { vocabulary, members, hasBase, wishes, lends }: RowRules,
  holders: readonly number[],
  of: number,
  nowhere: Set<string>,
): RowPlan {
  const { tokens, rows } = vocabulary;
  const origins = new OriginList();
  const origin = new Int32Array(rows);
  const row = new Int32Array(rows);
  const set = (at: number, from: number, there: number) => {
    origin[at] = from;
    row[at] = there;
  };
  const own = members[of]!;
  const merged = holders.filter((index) => members[index]!.merged);
  const lenders = lends ? holders.filter((index) => !members[index]!.merged) : [];
  const has = (index: number, token: string) => rowOf(members[index]!, token) >= 0;
  const shares = own.tokenizer.ids === vocabulary.donor.tokenizer.ids;
  const rowHere = (token: string, at: number) =>
    // The donor's tokens keep their numbers.
    shares && own.tokenizer.tokens[at] === token ? (at < own.rows ? at : -1) : rowOf(own, token);
  for (let at = 0; at < rows; at++) {
    const token = tokens[at];
    if (token === undefined) {
      const padding = isPadding(own, at) ? of : hasBase && holders[0] === 0 && isPadding(members[0]!, at) ? 0 : -1;
      if (padding === -1) set(at, origins.meanOfAll(), 0);
      else set(at, origins.stored(padding), at);
      continue;
    }
    const wish = wishes.get(token);
    const mine = rowHere(token, at);
    if (wish !== undefined && (wish.force || mine < 0)) {
      if (wish.member === -1) set(at, ZERO, 0);
      else set(at, origins.stored(wish.member), wishedRow(members[wish.member]!, token, wish));
      continue;
    }
    if (mine >= 0) {
      set(at, origins.stored(of), mine);
      continue;
    }
    const mergedOwners = merged.filter((index) => has(index, token));
    const owners = mergedOwners.length > 0 ? mergedOwners : lenders.filter((index) => has(index, token));
    const only = owners.length === 1 || (hasBase && owners[0] === 0) ? owners[0]! : -1;
    if (owners.length === 0) {
      nowhere.add(token);
      set(at, ZERO, 0);
    } else if (only !== -1) set(at, origins.stored(only), rowOf(members[only]!, token));
    else {
      set(at, origins.mean(owners), origins.meanRows.length);
      origins.meanRows.push(...owners.map((index) => rowOf(members[index]!, token)));
    }
  }
  return { origin, row, origins: origins.list, meanRows: origins.meanRows, averaged: tokens.length };
}

/** The wished row was checked when the wish was read. */
function wishedRow(member: Member, token: string, { source }: RowWish): number {
  if (source.kind !== "model-token") return rowOf(member, token);
  return typeof source.token === "number" ? source.token : rowOf(member, source.token);
}

/** Whether a member has this row, and no token for it. */
function isPadding({ tokenizer, rows }: Member, row: number): boolean {
  return row < rows && tokenizer.tokens[row] === undefined;
}

class OriginList {
  readonly list: RowOrigin[] = [{ kind: "zero" }];
  readonly meanRows: number[] = [];
  readonly #known = new Map<string, number>();

  stored(part: number): number {
    return this.#find(`s${part}`, { kind: "stored", part });
  }

  mean(parts: readonly number[]): number {
    return this.#find(`m${parts.join()}`, { kind: "mean", parts });
  }

  meanOfAll(): number {
    return this.#find("a", { kind: "mean-of-all" });
  }

  #find(key: string, origin: RowOrigin): number {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const index = this.list.push(origin) - 1;
    this.#known.set(key, index);
    return index;
  }
}

/** Whether the rows are the member's own from the first to the last. */
export function isUnchanged({ origin, row, origins }: RowPlan, of: number, storedRows: number): boolean {
  if (origin.length !== storedRows) return false;
  return origin.every((index, at) => {
    const from = origins[index]!;
    return from.kind === "stored" && from.part === of && row[at] === at;
  });
}

/** A table and, for each of its parts, the source that is open already. */
export interface OpenTable {
  readonly table: RowTable;
  readonly sources: readonly ByteSource[];
  /** State of the parts whose models are not merged, which nothing else remembers. */
  readonly lent: readonly string[];
}

/** Puts members' tensors behind a plan of rows. @param tensors by member, where it has the tensor called `name`. */
export function tableOf(
  name: string,
  plan: RowPlan,
  members: readonly Member[],
  tensors: readonly (StoredTensor | null)[],
  width: number,
): OpenTable {
  const parts: RowPart[] = [];
  const sources: ByteSource[] = [];
  const lent: string[] = [];
  const partOf = new Map<number, number>();
  const part = (member: number) => {
    let index = partOf.get(member);
    if (index === undefined) {
      const { checkpoint, merged } = members[member]!;
      const tensor = tensors[member];
      if (tensor === null || tensor === undefined) throw noTensor(checkpoint, name);
      const { shard, offset, dtype, shape } = tensor;
      const { source } = checkpoint.shards[shard]!;
      const { label, address, stamp } = source;
      sources.push(source);
      if (!merged) lent.push(stamp.version);
      index = parts.push({ label, address, stamp, offset, dtype: dtype as FloatDtype, rows: shape[0]! }) - 1;
      partOf.set(member, index);
    }
    return index;
  };
  const origins = plan.origins.map((origin): RowOrigin => {
    if (origin.kind === "zero" || origin.kind === "mean-of-all") return origin;
    return origin.kind === "mean"
      ? { kind: "mean", parts: origin.parts.map(part) }
      : { ...origin, part: part(origin.part) };
  });
  const stored = parts.map(({ dtype }) => dtype).reduce(promoted, parts[0]?.dtype ?? "F32");
  const computes = origins.some(({ kind }) => kind === "mean" || kind === "mean-of-all");
  const table = {
    width,
    rows: plan.origin.length,
    // An average is rounded with the result, not before.
    dtype: computes ? promoted(stored, "F32") : stored,
    parts,
    origins,
    runs: packRuns(plan.origins, plan.origin, plan.row),
    meanRows: sharedInts(plan.meanRows),
    averaged: plan.averaged,
  };
  return { table, sources, lent };
}

function noTensor({ label }: Checkpoint, name: string): MergewrightError {
  return new MergewrightError(`${label} is to lend rows of a tensor that it lacks`, {
    kind: "request",
    code: "plan/vocabulary",
    where: { file: label, tensor: name },
    advice: "name another model as the source of the token",
  });
}

/** The narrowest format that holds both without loss. */
function promoted(a: FloatDtype, b: FloatDtype): FloatDtype {
  if (a === b) return a;
  return a === "F64" || b === "F64" ? "F64" : "F32";
}

/**
 * Finds the models of the recipe's wishes and checks that they have what is wished.
 * @param find the index of the member that a recipe calls so.
 * @throws plan/vocabulary
 */
export function resolveWishes(
  recipe: Recipe,
  members: readonly Member[],
  find: (reference: string) => number,
): Map<string, RowWish> {
  const wishes = new Map<string, RowWish>();
  for (const [index, { token, source, force }] of recipe.tokenizer!.tokens.entries()) {
    if (source === null) continue;
    const member = source.kind === "zero" ? -1 : find(source.model);
    if (source.kind !== "zero") {
      const lent = members[member]!;
      const wanted = source.kind === "model" ? token : source.token;
      const found = typeof wanted === "number" ? wanted < lent.rows : rowOf(lent, wanted) >= 0;
      if (!found) throw noSuchToken(recipe, index, token, wanted, lent);
    }
    wishes.set(token, { source, member, force });
  }
  return wishes;
}

function noSuchToken(
  recipe: Recipe,
  index: number,
  token: string,
  wanted: string | number,
  { tokenizer, rows }: Member,
): MergewrightError {
  const close =
    typeof wanted === "string" ? [...tokenizer.ids.keys()].find((known) => known.trim() === wanted.trim()) : undefined;
  return new MergewrightError(
    `${tokenizer.label} has no row for ${typeof wanted === "number" ? `number ${wanted}` : `the token ${shown(wanted)}`}`,
    {
      kind: "request",
      code: "plan/vocabulary",
      where: whereOf(recipe, `tokenizer.tokens.${index}`),
      expected: typeof wanted === "number" ? `a number below ${rows}` : `a token of ${tokenizer.label}`,
      found: `${printable(String(wanted))}, for ${shown(token)}`,
      ...(close !== undefined && { advice: `write ${shown(close)}` }),
    },
  );
}

export function warnOfNowhere(nowhere: ReadonlySet<string>): string[] {
  if (nowhere.size === 0) return [];
  return [`no model has a row for these tokens; theirs are zeros: ${someOf([...nowhere].map(shown))}`];
}

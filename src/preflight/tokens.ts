/** Whether models that are to be merged mean the same by the same rows of their embeddings. */
import { MergewrightError } from "../errors.js";
import { isExcluded } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import { readTokenizer } from "../tokenizers/read.js";
import { configuredRows, vocabularyNames } from "../tokenizers/tensors.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import { countOf } from "../report/units.js";
import { fewOf, percent } from "./findings.js";
import type { Finding, Named } from "./findings.js";

const SPECIAL = ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];
/** From this share of tokens on, other meanings are a mistake and not a few added tokens. */
const MANY = 0.01;

/** @param all the donor first. */
export async function tokenFindings(recipe: Recipe, all: readonly Named[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  const read: { name: string; tokenizer: Tokenizer }[] = [];
  for (const { name, checkpoint } of all) {
    if (!checkpoint.sideFiles.some((file) => file.name === "tokenizer.json" || file.name === "vocab.json")) continue;
    try {
      read.push({ name, tokenizer: await readTokenizer(checkpoint) });
    } catch (error) {
      if (!(error instanceof MergewrightError)) throw error;
      const what = `the tokenizer of ${name} cannot be read: ${error.message.split("\n")[0]!}`;
      findings.push({
        level: "warning",
        topic: "tokens",
        what,
        advice: "repair its files, or check by hand that its tokens are the others'",
      });
    }
  }
  findings.push(...rowFindings(all, read));
  const [donor, ...others] = read;
  if (donor === undefined) return findings;
  const isMade = recipe.tokenizer !== null;
  const merges = vocabularyNames(all.map(({ checkpoint }) => checkpoint)).some((name) => !isExcluded(recipe, name));
  for (const other of others) {
    if (!isMade) findings.push(...meaningFindings(donor, other, merges));
    findings.push(...specialFindings(donor, other, isMade), ...templateFindings(recipe, donor, other));
  }
  return findings;
}

type Read = { readonly name: string; readonly tokenizer: Tokenizer };

function meaningFindings(donor: Read, other: Read, merges: boolean): Finding[] {
  const mine = donor.tokenizer.tokens;
  const theirs = other.tokenizer.tokens;
  const differing: string[] = [];
  const alone: string[] = [];
  for (const [id, token] of theirs.entries()) {
    if (token === undefined) continue;
    if (!donor.tokenizer.ids.has(token)) alone.push(token);
    if (mine[id] !== undefined && mine[id] !== token) differing.push(`${id} is ${quote(mine[id])} and ${quote(token)}`);
  }
  const findings: Finding[] = [];
  if (differing.length > 0) {
    const share = differing.length / Math.max(1, theirs.length);
    findings.push({
      level: merges && share >= MANY ? "problem" : "warning",
      topic: "tokens",
      what: `${countOf(differing.length, "token number")} (${percent(share)}) mean other tokens in ${other.name} than in ${donor.name}: ${fewOf(differing)}`,
      advice: merges
        ? "write tokenizer: {source: union} into the recipe, or exclude the embeddings and the output head"
        : "the vocabulary tensors are excluded, so only texts of the other tokenizer are at stake: test some",
    });
  }
  if (alone.length > 0) {
    findings.push({
      ...{
        level: "warning",
        topic: "tokens",
        what: `${other.name} has ${countOf(alone.length, "token")} that ${donor.name} lacks: ${fewOf(alone.map(quote))}`,
      },
      advice: "write tokenizer: {source: union} into the recipe to keep them; otherwise they are lost",
    });
  }
  return findings;
}

function specialFindings(donor: Read, other: Read, isMade: boolean): Finding[] {
  const differing = SPECIAL.flatMap((key) => {
    const [mine, theirs] = [specialOf(donor.tokenizer, key), specialOf(other.tokenizer, key)];
    return mine === theirs ? [] : [`${key} is ${mine ?? "nothing"} and ${theirs ?? "nothing"}`];
  });
  if (differing.length === 0) return [];
  return [
    {
      level: isMade ? "note" : "warning",
      topic: "tokens",
      what: `special tokens differ between ${donor.name} and ${other.name}: ${fewOf(differing)}`,
      advice: `the result has those of ${isMade ? "the tokenizer that the recipe asks for" : donor.name}: check that its texts begin and end as they should`,
    },
  ];
}

/** A special token as its files name it. */
function specialOf({ config, specialTokens }: Tokenizer, key: string): string | null {
  for (const file of [config, specialTokens]) {
    const value = file?.[key];
    const text = typeof value === "object" && value !== null ? (value as { content?: unknown }).content : value;
    if (typeof text === "string") return quote(text);
  }
  return null;
}

function templateFindings({ chatTemplate }: Recipe, donor: Read, other: Read): Finding[] {
  const theirs = other.tokenizer.chatTemplate;
  if (chatTemplate !== null || theirs === null || theirs === donor.tokenizer.chatTemplate) return [];
  const own = donor.tokenizer.chatTemplate === null ? "has none" : "has another";
  return [
    {
      ...{
        level: "warning",
        topic: "tokens",
        what: `${other.name} has a chat template, and ${donor.name}, whose files the result gets, ${own}`,
      },
      advice: "write chat_template: auto into the recipe, or the template itself",
    },
  ];
}

/** Tokens whose row is missing crash when they are met. */
function rowFindings(all: readonly Named[], read: readonly Read[]): Finding[] {
  return read.flatMap(({ name, tokenizer }): Finding[] => {
    const rows = configuredRows(all.find((one) => one.name === name)!.checkpoint);
    const needed = tokenizer.tokens.length;
    if (rows === null || needed <= rows) return [];
    return [
      {
        ...{
          level: "warning",
          topic: "tokens",
          what: `${name} has tokens up to number ${needed - 1}, but ${rows} rows (vocab_size)`,
        },
        advice: "repair the model: the tokens beyond its rows cannot be used",
      },
    ];
  });
}

function quote(token: string): string {
  return JSON.stringify(token.length > 40 ? `${token.slice(0, 37)}...` : token);
}

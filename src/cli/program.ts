import { Command, CommanderError, Option } from "commander";
import { MergewrightError } from "../errors.js";
import { nearest } from "../recipe/issues.js";
import { VERSION } from "../version.js";
import { nameOf, noColor } from "./flags.js";
import type { Flag } from "./flags.js";
import type { Terminal } from "./terminal.js";
import { groups, verbs } from "./verbs.js";
import type { FlagValues, Given, Verb } from "./verb.js";

const EPILOGUE = `
mergewright VERB --help shows the flags of a verb.

Exit codes: 0 done; 1 a check failed; 2 the request is wrong, do not retry;
3 disk, network or signal: the same command may work later.`;

const HELP: Flag = { spelling: "-h, --help", text: "print help", group: "Printing" };

/** What the arguments ask for; a number is the exit code after help or version were printed. */
export function readArguments(argv: readonly string[], terminal: Terminal): (Given & { readonly verb: Verb }) | number {
  let asked: (Given & { readonly verb: Verb }) | null = null;
  const program = makeProgram(terminal, (verb, positionals, flags) => {
    asked = { verb, positionals, flags, terminal };
  });
  try {
    program.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return asked ?? 2;
}

type Chosen = (verb: Verb, positionals: readonly string[], flags: FlagValues) => void;

function makeProgram({ out, error }: Terminal, chosen: Chosen): Command {
  const program = new Command("mergewright")
    .description("Turns several fine-tuned models into one.")
    .usage("VERB ...")
    .version(VERSION, "-V, --version", "print the version")
    .addHelpOption(new Option(HELP.spelling, HELP.text))
    .helpCommand("help [verb]", "print the help of a verb")
    // Flags behind a verb are the verb's, also where the word before it is a verb, too.
    .enablePositionalOptions()
    .addOption(new Option(noColor.spelling, noColor.text))
    .configureHelp({ styleTitle: (title) => out.bold(title) })
    .configureOutput({
      // Usage errors are reported like all others.
      outputError: () => {},
      getOutHasColors: () => out.isColorSupported,
      getErrHasColors: () => error.isColorSupported,
    })
    .showSuggestionAfterError(false)
    .exitOverride((error) => refuse(error, null))
    .addHelpText("after", EPILOGUE);
  const parents = new Map<string, Command>();
  for (const verb of verbs) {
    const words = verb.name.split(" ");
    const parent = words.length === 1 ? program : parentOf(program, parents, words[0]!);
    const command = parent
      .command(words.at(-1)!)
      .summary(verb.summary)
      .description(paragraphs(capital(verb.summary), verb.details))
      .argument(verb.argument.spelling, verb.argument.text)
      .addHelpOption(optionOf(HELP))
      .exitOverride((error) => refuse(error, verb))
      .addHelpText("after", `\n${out.bold("Examples:")}\n${verb.examples.map((line) => `  ${line}`).join("\n")}`)
      .action((argument: string | readonly string[] | undefined, flags: FlagValues) => {
        requireFlags(verb, flags);
        chosen(verb, argument === undefined ? [] : typeof argument === "string" ? [argument] : argument, flags);
      });
    for (const flag of [...verb.flags, noColor]) command.addOption(optionOf(flag));
    // A verb of one word may have others under it; what stands behind their names is theirs.
    if (words.length === 1) parents.set(verb.name, command.enablePositionalOptions());
  }
  return program;
}

/** The command under which verbs of two words stand. */
function parentOf(program: Command, parents: Map<string, Command>, name: string): Command {
  let parent = parents.get(name);
  if (parent === undefined) {
    parent = program
      .command(name)
      .summary(groups[name]!)
      .description(capital(groups[name]!))
      .usage("VERB ...")
      .addHelpOption(optionOf(HELP))
      .exitOverride((error) => refuse(error, null));
    parents.set(name, parent);
  }
  return parent;
}

function optionOf({ spelling, text, group, repeatable, read }: Flag): Option {
  const option = new Option(spelling, text).helpGroup(`${group}:`);
  if (repeatable) option.argParser((value, before: readonly string[] | undefined) => [...(before ?? []), value]);
  else if (read !== undefined) option.argParser(read);
  return option;
}

/** After the parser, which would name a missing flag before a mistyped one. */
function requireFlags(verb: Verb, flags: FlagValues): void {
  for (const flag of verb.flags) {
    if (!flag.required || optionOf(flag).attributeName() in flags) continue;
    throw usage(`${flag.spelling} is missing`, verb);
  }
}

function capital(sentence: string): string {
  return `${sentence[0]!.toUpperCase()}${sentence.slice(1)}.`;
}

function paragraphs(...texts: readonly string[]): string {
  return texts.filter((text) => text !== "").join("\n\n");
}

/** A usage error of the parser, as one of ours. Help and version, which come the same way, pass through. */
function refuse(error: CommanderError, verb: Verb | null): never {
  const summaryOf = SUMMARIES[error.code];
  if (summaryOf === undefined) throw error;
  const culprit = /'([^']*)'/.exec(error.message)?.[1] ?? "";
  throw usage(summaryOf(culprit, verb), verb, nearest(culprit, KNOWN[error.code]?.(verb) ?? []));
}

function usage(summary: string, verb: Verb | null, close?: string): MergewrightError {
  const command = verb === null ? "mergewright" : `mergewright ${verb.name}`;
  return new MergewrightError(summary, {
    kind: "request",
    code: "usage",
    where: { key: verb === null ? "command line" : command },
    advice: close === undefined ? `${command} --help shows what can be given` : `write ${close}`,
  });
}

type Summary = (culprit: string, verb: Verb | null) => string;

const SUMMARIES: Readonly<Record<string, Summary>> = {
  "commander.unknownOption": (flag) => `unknown flag ${flag}`,
  "commander.unknownCommand": (name) => `unknown verb ${name}`,
  "commander.missingArgument": (_, verb) => `what to work on is missing: ${verb?.argument.text ?? "a verb"}`,
  "commander.optionMissingArgument": (flag) => `${flag} needs a value`,
  "commander.excessArguments": (_, verb) => `too many arguments; ${verb?.name ?? "mergewright"} takes one`,
};

const KNOWN: Readonly<Record<string, (verb: Verb | null) => readonly string[]>> = {
  "commander.unknownOption": (verb) => [...(verb?.flags.map(nameOf) ?? []), "--help", "--version", "--no-color"],
  "commander.unknownCommand": () => verbs.map(({ name }) => name),
};

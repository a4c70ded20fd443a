import { MergewrightError } from "../../errors.js";
import { Config } from "../config.js";
import type { WeightSource } from "../network.js";
import type { Architecture, Definition, Tensors } from "./architecture.js";
import { bert, roberta } from "./bert.js";
import { clip } from "./clip.js";
import { gpt2 } from "./gpt2.js";
import { llama } from "./llama.js";
import { t5 } from "./t5.js";
import { vit } from "./vit.js";

const ARCHITECTURES: readonly Architecture[] = [vit, clip, llama, gpt2, bert, roberta, t5];

/** Names of every architecture that can be run. */
export function knownArchitectures(): readonly string[] {
  return ARCHITECTURES.flatMap(({ names }) => names);
}

/** Whether two configs, as far as they say what they are, are run by the same definition. */
export function haveSameArchitecture(one: WeightSource["config"], other: WeightSource["config"]): boolean {
  const [first, second] = [definedFor(one), definedFor(other)];
  if (first !== undefined && second !== undefined) return first === second;
  const [kind, otherKind] = [one?.model_type, other?.model_type];
  return kind === undefined || otherKind === undefined || kind === otherKind;
}

function definedFor(config: WeightSource["config"]): Architecture | undefined {
  const names = new Config("config.json", config ?? {}).texts("architectures");
  return ARCHITECTURES.find((one) => names.some((name) => one.names.includes(name)));
}

/**
 * The definition for what config.json says.
 * @throws MergewrightError where the architecture is unknown, or config or tensors do not fit it.
 */
export function defineNetwork(
  { label, config }: WeightSource,
  tensors: Tensors,
): { readonly name: string; readonly definition: Definition } {
  if (config === null) {
    throw new MergewrightError("a model without a config cannot be run", {
      kind: "request",
      code: "runtime/config",
      where: { file: label },
      expected: "config.json beside the weights",
      advice: "give the folder, not the weight file alone",
    });
  }
  const values = new Config(`${label}/config.json`, config);
  const names = values.texts("architectures");
  for (const name of names) {
    const found = ARCHITECTURES.find((one) => one.names.includes(name));
    if (found !== undefined) return { name, definition: found.define(values, tensors) };
  }
  throw new MergewrightError("this architecture cannot be run", {
    kind: "request",
    code: "runtime/architecture",
    where: { file: `${label}/config.json`, key: "architectures" },
    expected: `one of ${knownArchitectures().join(", ")}`,
    found: names.length === 0 ? "none named" : names.join(", "),
    advice: "merging, comparing and verifying need no forward pass; score the model with an external command",
  });
}

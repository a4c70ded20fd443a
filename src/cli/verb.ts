/** What a verb of the command line is, what it is given and what it answers. */
import type { Flag } from "./flags.js";
import type { Rest } from "../lora/extract.js";
import type { Space } from "../recipe/adapters.js";
import type { Terminal } from "./terminal.js";

/** The values of all flags, by the parser's names; those of one verb are set where they were given. */
export interface FlagValues {
  readonly use?: readonly string[];
  readonly method?: string;
  readonly dialect?: string;
  readonly base?: string;
  readonly model?: readonly string[];
  readonly parameter?: readonly string[];
  readonly prune?: readonly string[];
  readonly rescale?: string;
  readonly dare?: readonly string[];
  readonly lines?: string;
  readonly exclude?: readonly string[];
  readonly heads?: string;
  readonly missing?: string;
  readonly seed?: string;
  readonly allowDuplicates?: boolean;
  readonly compat?: string;
  readonly dtype?: string;
  readonly shardSize?: string;
  readonly out?: string;
  readonly force?: boolean;
  readonly hashInputs?: boolean;
  readonly strict?: boolean;
  readonly threads?: number;
  readonly backend?: "own" | "onnx";
  readonly density?: number;
  readonly norms?: boolean;
  readonly headers?: boolean;
  readonly inputs?: boolean;
  readonly task?: string;
  readonly tasks?: string;
  readonly split?: string;
  readonly router?: "mlp" | "logistic";
  readonly routing?: "soft" | "top1" | "oracle" | "tokens";
  readonly headFrom?: readonly string[];
  readonly against?: string;
  readonly cache?: boolean;
  readonly report?: string;
  readonly over?: readonly string[];
  readonly soup?: string;
  readonly budget?: number;
  readonly objective?: string;
  readonly kind?: readonly string[];
  readonly values?: string;
  readonly subsets?: number;
  readonly oracle?: string;
  readonly allowTest?: boolean;
  readonly ledger?: string;
  readonly steps?: number;
  readonly rate?: number;
  readonly per?: string;
  readonly clamp?: boolean;
  readonly shuffle?: boolean;
  readonly from?: string;
  readonly all?: boolean;
  readonly to?: string;
  readonly prefix?: string;
  /** Of materialize, by task: see `taskWeightsOf`. */
  readonly weights?: readonly number[];
  readonly space?: Space;
  readonly rank?: number;
  readonly energy?: number;
  readonly auto?: boolean;
  readonly rest?: Rest;
  readonly include?: readonly string[];
  readonly anyBase?: boolean;
  readonly add?: boolean;
  readonly examples?: number;
  readonly first?: number;
  readonly batch?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** What a verb is asked to do. */
export interface Given {
  readonly positionals: readonly string[];
  readonly flags: FlagValues;
  readonly terminal: Terminal;
}

/** What a verb has to say; it prints nothing itself, apart from progress. */
export interface Outcome {
  /** 1 where a check says no. */
  readonly exitCode: 0 | 1;
  readonly json: object;
  /** For people; made only where it is printed. */
  readonly text: () => string;
}

export type Run = (given: Given) => Promise<Outcome>;

export interface Verb {
  /** One word, or two where verbs belong together (`groups`). */
  readonly name: string;
  /** As in the usage line: `<model>`, `[inputs...]`. */
  readonly argument: { readonly spelling: string; readonly text: string };
  /** Its line in the list of verbs. */
  readonly summary: string;
  /** Further lines in its own help. */
  readonly details: string;
  readonly examples: readonly string[];
  readonly flags: readonly Flag[];
  /** Whether its work is done by threads, which load their code while the verb finds out what to do. */
  readonly threaded?: true;
  /** Loads the code; a verb that is not called costs nothing. */
  readonly load: () => Promise<Run>;
}

import * as flags from "./flags.js";
import type { Verb } from "./verb.js";

const RECIPE_ARGUMENT = {
  spelling: "[inputs...]",
  text: "a recipe (.yaml or .yml), or models: folders, .safetensors files, addresses",
};
const RECIPE_DETAILS =
  "Give a recipe file, or describe the merge with flags, or both: a flag replaces what the file says at its place, and " +
  "models named after the file replace its models. Paths in a recipe start at the current folder.";

/** Verbs in two words: what the first one is about. */
export const groups: Readonly<Record<string, string>> = {
  adapter: "read, convert and apply adapters: LoRA, DoRA, (IA)3",
};

const FOLD_WEIGHTS = "one for each adapter: 0.5,0.8; negative ones take a change away; 1 for each by default";

export const verbs: readonly Verb[] = [
  {
    name: "merge",
    argument: RECIPE_ARGUMENT,
    summary: "merge models into one",
    details:
      `${RECIPE_DETAILS}\n\nAn interrupted merge continues with the same command. ` +
      "Where the folder holds the result already, nothing is done.",
    examples: [
      "mergewright merge recipe.yaml -o merged",
      "mergewright merge --method ties --base base mnist fashion -p density=0.2 --exclude 'classifier.*' -o merged",
      "mergewright merge recipe.yaml -p mnist.weight=0.5 --dtype bfloat16 -o merged",
    ],
    flags: [
      ...flags.recipeFlags,
      flags.out,
      flags.force,
      flags.hashInputs,
      flags.strict,
      flags.threads,
      flags.json,
      flags.quiet,
    ],
    threaded: true,
    load: async () => (await import("./verbs/merge.js")).merge,
  },
  {
    name: "plan",
    argument: RECIPE_ARGUMENT,
    summary: "show what a merge would do, without reading weights",
    details: RECIPE_DETAILS,
    examples: ["mergewright plan recipe.yaml", "mergewright plan --method average mnist fashion --all"],
    flags: [...flags.recipeFlags, flags.threads, flags.all, flags.json],
    load: async () => (await import("./verbs/plan.js")).plan,
  },
  {
    name: "convert",
    argument: { spelling: "<recipe>", text: "a recipe (.yaml or .yml), of mergekit or native" },
    summary: "print a recipe in Mergewright's own words, complete",
    details:
      "For a recipe of mergekit with a comment on each difference. Reads the models' headers where they are at hand; " +
      "weights are never read.",
    examples: ["mergewright convert mergekit.yml > recipe.yaml", "mergewright convert mergekit.yml --compat strict"],
    flags: [...flags.recipeFlags, flags.json],
    load: async () => (await import("./verbs/convert.js")).convert,
  },
  {
    name: "materialize",
    argument: { spelling: "<artifact>", text: "a folder that a merge with emr, tall_masks, dppa, twin or smile wrote" },
    summary: "write the model of one task of an artifact",
    details:
      "Checks every byte that the model is made of, then writes a folder like any other model's. " +
      "The base is read from where it was when the artifact was made, unless --base names another place.",
    examples: [
      "mergewright materialize merged --task mnist -o mnist",
      "mergewright materialize merged --task mnist --weights mnist=0.7,fashion=0.3 -o mixed",
    ],
    flags: [
      { ...flags.task, required: true },
      flags.taskWeights,
      flags.artifactBase,
      flags.out,
      flags.force,
      flags.threads,
      flags.json,
      flags.quiet,
    ],
    threaded: true,
    load: async () => (await import("./verbs/materialize.js")).materialize,
  },
  {
    name: "export",
    argument: { spelling: "<artifact>", text: "a folder that a merge with twin or smile wrote" },
    summary: "write the experts of an artifact as LoRA adapters",
    details:
      "One folder of PEFT's per task. Over the artifact's shared model (of smile, the base) each makes the model of its " +
      "task, as materialize writes it, to rounding. What is no layer at a rank is saved whole.",
    examples: [
      "mergewright export smile --to lora -o adapters",
      "mergewright export twin --to lora --task mnist -o adapters",
    ],
    flags: [
      { ...flags.to, text: "lora: a folder of PEFT's per task", required: true },
      { ...flags.task, text: "only this task; all by default" },
      flags.artifactBase,
      flags.out,
      flags.force,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/export.js")).exportArtifact,
  },
  {
    name: "check",
    argument: RECIPE_ARGUMENT,
    summary: "look for what could go wrong with a merge, before it is made",
    details:
      `${RECIPE_DETAILS}\n\nReads headers, configs, tokenizers and a small sample of the weights; writes nothing. ` +
      "Exit code 1 where a problem is found, 0 with warnings.",
    examples: ["mergewright check recipe.yaml", "mergewright check recipe.yaml -o /data/merged --json"],
    flags: [...flags.recipeFlags, flags.place, flags.headers, flags.threads, flags.json],
    load: async () => (await import("./verbs/check.js")).check,
  },
  {
    name: "inspect",
    argument: {
      spelling: "<model>",
      text: "a folder, a .safetensors file or an address; an artifact, or ARTIFACT#TASK",
    },
    summary: "list the tensors of a model, or the tasks of an artifact",
    details: "Reads headers only, unless --norms asks for the weights.",
    examples: [
      "mergewright inspect mnist",
      "mergewright inspect mnist --norms --json",
      "mergewright inspect artifact",
      "mergewright inspect artifact#mnist --norms",
    ],
    flags: [flags.norms, flags.threads, flags.json],
    load: async () => (await import("./verbs/inspect.js")).inspect,
  },
  {
    name: "compare",
    argument: { spelling: "<models...>", text: "models that were fine-tuned from the base" },
    summary: "measure how far models moved from their base, and how much they disagree",
    details: "Reads all weights. Says whether a merge has much to resolve, before it is made.",
    examples: ["mergewright compare --base base mnist fashion --exclude 'classifier.*'"],
    flags: [{ ...flags.base, required: true }, flags.density, flags.exclude, flags.threads, flags.json],
    threaded: true,
    load: async () => (await import("./verbs/compare.js")).compare,
  },
  {
    name: "curves",
    argument: { spelling: "<recipes...>", text: "recipes of the same models (.yaml or .yml)" },
    summary: "draw the TIES paper's analyses of your own models",
    details:
      "Redundancy, sign conflicts, accuracy by number of tasks, flipped signs, sensitivity to lambda and density, oracle " +
      "signs: each a picture (SVG) and its numbers (JSON). Lines are drawn per recipe where a kind compares methods.",
    examples: [
      "mergewright curves ties.yaml --tasks tasks.yaml --kind redundancy --kind conflict -o curves",
      "mergewright curves ties.yaml task-arithmetic.yaml average.yaml --tasks tasks.yaml --kind tasks --subsets 3 -o curves",
      "mergewright curves ties.yaml --tasks tasks.yaml --kind lambda --values 0.2:1.6:0.2 -o curves",
    ],
    flags: [
      flags.kind,
      flags.curveTasks,
      flags.values,
      flags.trimDensity,
      flags.subsets,
      flags.oracle,
      flags.searchSeed,
      flags.curveSplit,
      flags.headFrom,
      flags.use,
      flags.noCache,
      flags.threads,
      flags.backend,
      flags.curvesFolder,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/curves.js")).curves,
  },
  {
    name: "eval",
    argument: { spelling: "<model>", text: "a folder, a .safetensors file or an address; or ARTIFACT#TASK" },
    summary: "score a model on tasks of your own",
    details:
      "Runs the model on the data that a tasks file names: images, text, choices, sequences; or lets a program of yours " +
      "score it. What was scored before is not run again. Of an artifact with experts every input goes through those that " +
      "it finds: --routing says how, and the entropy of the choice is told.",
    examples: [
      "mergewright eval twin --tasks tasks.yaml --routing soft",
      "mergewright eval merged --tasks tasks.yaml",
      "mergewright eval merged --tasks tasks.yaml --against average --split val",
      "mergewright eval merged --tasks tasks.yaml --head-from merged/heads --json",
    ],
    flags: [
      flags.tasks,
      flags.split,
      flags.headFrom,
      flags.routing,
      flags.against,
      flags.noCache,
      flags.threads,
      flags.backend,
      flags.reportFolder,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/eval.js")).evaluate,
  },
  {
    name: "collect",
    argument: {
      spelling: "[what...]",
      text: "fisher, gram, kfac, block or importance; router and an artifact; with --add the files to add",
    },
    summary: "find out from examples what merges by Fisher, RegMean, MaTS and APL need to know",
    details:
      "Runs the model on examples of a task and writes sums over them to a file, which recipes name as a model's " +
      "statistics: fisher (squared gradients), gram (inner products of each linear layer's inputs), kfac (the same, and " +
      "of its output gradients), block (products of gradients by the vectors of an (IA)3 adapter), importance (what partitions of its change do to the loss). An interrupted collection continues with the same command. Files of different examples " +
      "add up with --add. router trains what chooses the experts of an artifact of twin, and puts it in.",
    examples: [
      "mergewright collect fisher --model mnist --tasks tasks.yaml --task mnist -o mnist.fisher.safetensors",
      "mergewright collect kfac --model mnist --tasks tasks.yaml --task mnist --examples 512 -o mnist.kfac.safetensors",
      "mergewright collect block --model base+ia3/french --tasks tasks.yaml --task french -o french.block.safetensors",
      "mergewright collect importance --model mnist --base base --tasks tasks.yaml --task mnist --examples 64 -o mnist.importance.safetensors",
      "mergewright collect router twin --tasks tasks.yaml --split train",
      "mergewright collect --add first.gram.safetensors second.gram.safetensors -o mnist.gram.safetensors",
    ],
    flags: [
      { ...flags.model, text: "the model to look at; the same as naming it without a flag" },
      { ...flags.base, text: "what the model is a change of, for importance", group: "Run" },
      { ...flags.tasks, text: "tasks file with the data, in YAML", required: false },
      { ...flags.task, text: "the task whose examples are taken, where the file has several" },
      { ...flags.split, text: "part of the data; train by default" },
      flags.examples,
      flags.first,
      {
        ...flags.dialect,
        text: "what exactly is summed; docs/statistics.md lists the dialects of each kind",
        group: "Run",
      },
      { ...flags.seed, text: "seed of labels that are drawn; 0 by default", group: "Run" },
      {
        ...flags.per,
        text: "what has an importance of its own: row, tensor, layer or model; row by default, layer where it is not additive",
      },
      flags.routerKind,
      flags.batch,
      flags.add,
      flags.threads,
      { ...flags.out, spelling: "-o, --out <file>", text: "the file to write", required: false },
      flags.force,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/collect.js")).collect,
  },
  {
    name: "search",
    argument: { spelling: "<recipe>", text: "a recipe (.yaml or .yml)" },
    summary: "find the best numbers of a recipe on validation data",
    details:
      "Merges candidates in memory, scores each on the tasks, and writes the best recipe. " +
      "An interrupted search continues with the same command.",
    examples: [
      "mergewright search recipe.yaml --tasks tasks.yaml --over parameters.lambda=0.1:1.0:0.1 -o best.yaml",
      "mergewright search recipe.yaml --tasks tasks.yaml --over parameters.density=0.1,0.2 --over parameters.lambda=0.5,1 -o best.yaml",
      "mergewright search pcb.yaml --tasks tasks.yaml --over 'models.*.lambda=0.8:1.3' --method cma-es --budget 100 -o best.yaml",
      "mergewright search recipe.yaml --tasks tasks.yaml --soup greedy -o soup.yaml",
    ],
    flags: [
      flags.tasks,
      flags.over,
      flags.searchMethod,
      flags.soup,
      flags.objective,
      flags.budget,
      flags.searchSeed,
      flags.searchSplit,
      flags.allowTest,
      flags.headFrom,
      flags.use,
      flags.noCache,
      flags.threads,
      flags.backend,
      flags.bestRecipe,
      flags.ledger,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/search.js")).search,
  },
  {
    name: "adapter inspect",
    argument: {
      spelling: "<adapter>",
      text: "a folder of PEFT's, a .safetensors file of kohya's layout, or an address",
    },
    summary: "show what an adapter changes: kinds, ranks, scalings, norms",
    details: "Norms are those of scaling * B A, computed from the factors; the base is not needed.",
    examples: ["mergewright adapter inspect french", "mergewright adapter inspect style.safetensors --json"],
    flags: [flags.json],
    load: async () => (await import("./verbs/adapter_inspect.js")).inspect,
  },
  {
    name: "adapter convert",
    argument: {
      spelling: "<adapter>",
      text: "a folder of PEFT's, a .safetensors file of kohya's layout, or an address",
    },
    summary: "write an adapter in another layout, without changing a value",
    details:
      "What the other layout cannot hold is refused with the reason. kohya's files join paths with underscores: the way " +
      "back needs --base, unless the file was written here.",
    examples: [
      "mergewright adapter convert french --to kohya -o french-kohya",
      "mergewright adapter convert style.safetensors --to peft --base unet -o style",
    ],
    flags: [{ ...flags.to, required: true }, flags.adapterBase, flags.prefix, flags.out, flags.force, flags.json],
    load: async () => (await import("./verbs/adapter_convert.js")).convert,
  },
  {
    name: "adapter merge",
    argument: {
      spelling: "[inputs...]",
      text: "adapters: folders of PEFT's, addresses; or a recipe (.yaml or .yml) over adapters",
    },
    summary: "merge adapters into one adapter",
    details:
      "cat (the default) is the exact weighted sum, svd the best of a rank or energy, and any merge method can be named: " +
      "it then sees the updates in their common subspace, without loss. How much was cut away is told for every module. " +
      "--base is needed only where an update depends on it: DoRA, replaced tensors, paths joined with underscores.",
    examples: [
      "mergewright adapter merge french german --weights 0.5,0.8 -o both",
      "mergewright adapter merge french german --method svd --rank 8 -o both",
      "mergewright adapter merge french german python --method ties -p density=0.3 --rank 16 -o three",
      "mergewright adapter merge recipe.yaml -o merged",
    ],
    flags: [
      { ...flags.method, text: "cat, svd, or a merge method, alone or with its dialect: ties, ties/mergekit" },
      flags.adapterDialect,
      flags.weights,
      flags.rank,
      flags.energy,
      flags.space,
      { ...flags.base, text: "the model that the adapters were trained on, where it is needed" },
      flags.model,
      flags.parameter,
      flags.prune,
      flags.rescale,
      flags.dare,
      flags.lines,
      { ...flags.exclude, text: "leave modules with matching names out: *.mlp.*" },
      flags.seed,
      flags.allowDuplicates,
      flags.anyBase,
      flags.use,
      { ...flags.dtype, text: "format of the factors: float32 (the default), bfloat16, float16" },
      flags.out,
      flags.force,
      flags.threads,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/adapter_merge.js")).mergeAdapters,
  },
  {
    name: "adapter extract",
    argument: { spelling: "<model>", text: "a fine-tuned model: a folder, a .safetensors file or an address" },
    summary: "write what a fine-tune changed as a LoRA",
    details:
      "Every changed matrix is cut to a rank: a fixed one (--rank), what holds a share of its squared norm (--energy), or " +
      "where its spectrum falls to noise (--auto, Gavish and Donoho). The error is told for every module. Embeddings, norms and " +
      "biases that changed are saved whole, or left out and told (--rest).",
    examples: [
      "mergewright adapter extract french --base base --rank 16 -o french-lora",
      "mergewright adapter extract french --base base --energy 0.95 --rank 64 -o french-lora",
      "mergewright adapter extract french --base base --auto --include '*.self_attn.*' -o french-lora",
    ],
    flags: [
      { ...flags.base, required: true },
      flags.rank,
      flags.energy,
      flags.auto,
      flags.rest,
      flags.include,
      { ...flags.exclude, text: "leave tensors with matching names out: *.mlp.*" },
      { ...flags.dtype, text: "format of the factors: float32 (the default), bfloat16, float16" },
      flags.out,
      flags.force,
      flags.threads,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/adapter_extract.js")).extractAdapter,
  },
  {
    name: "adapter fold",
    argument: { spelling: "<models...>", text: "the base, then one or more adapters" },
    summary: "write a base with adapters added into its weights",
    details:
      "Tensors are computed while they are written, in float32 and rounded once; memory does not depend on the model. All " +
      "adapters change the same base and are added with their weights. An interrupted run continues with the same command.",
    examples: [
      "mergewright adapter fold base french -o folded",
      "mergewright adapter fold base french german --weights 0.7,-0.3 --dtype float32 -o folded",
    ],
    flags: [
      { ...flags.weights, text: FOLD_WEIGHTS },
      flags.dtype,
      flags.shardSize,
      flags.out,
      flags.force,
      flags.hashInputs,
      flags.strict,
      flags.threads,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/adapter_fold.js")).fold,
  },
  {
    name: "adapter unfold",
    argument: { spelling: "<models...>", text: "the folded model, then the adapters that are in it" },
    summary: "take adapters out of a folded model again, and say how well",
    details:
      "Recovers the base up to the rounding of the folded model. Refused where the fold replaced values: DoRA, trained " +
      "tokens, modules_to_save.",
    examples: [
      "mergewright adapter unfold folded french -o base",
      "mergewright adapter unfold folded french german --weights 0.7,-0.3 --base base --json -o recovered",
    ],
    flags: [
      { ...flags.weights, text: FOLD_WEIGHTS },
      flags.besideBase,
      flags.dtype,
      flags.shardSize,
      flags.out,
      flags.force,
      flags.threads,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/adapter_fold.js")).unfold,
  },
  {
    name: "collect coefficients",
    argument: { spelling: "<recipe>", text: "a recipe (.yaml or .yml) with method: adamerging or task_arithmetic" },
    summary: "learn how strong each model is in each tensor, without labels (AdaMerging)",
    details:
      "Minimises the entropy of the merged model's predictions on the tasks' inputs and writes a table of coefficients, " +
      "which recipes use with coefficients: FILE. An interrupted run continues with the same command.",
    examples: [
      "mergewright collect coefficients recipe.yaml --tasks tasks.yaml -o c.safetensors",
      "mergewright collect coefficients recipe.yaml --tasks tasks.yaml --split test --steps 300 --batch 16 --seed 0 -o c.safetensors",
      "mergewright collect coefficients recipe.yaml --tasks tasks.yaml --per model --shuffle --seed 7 -o c.safetensors",
    ],
    flags: [
      flags.tasks,
      flags.collectSplit,
      flags.steps,
      flags.stepBatch,
      flags.rate,
      flags.per,
      flags.noClamp,
      flags.shuffle,
      flags.shuffleSeed,
      flags.headFrom,
      flags.use,
      flags.threads,
      flags.tableOut,
      flags.forceFile,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/collect/coefficients.js")).coefficients,
  },
  {
    name: "collect signs",
    argument: { spelling: "<recipe>", text: "a recipe (.yaml or .yml), whose base, models and exclusions hold" },
    summary: "train a model briefly on all tasks, whose signs TIES can follow (elect: oracle)",
    details:
      "The model learns from a few labelled examples of every task, each with its own frozen head, and is written as a " +
      "checkpoint. An interrupted run continues with the same command.",
    examples: [
      "mergewright collect signs ties.yaml --tasks tasks.yaml -o signs",
      "mergewright merge ties.yaml -p elect=oracle -p oracle=signs -o merged",
    ],
    flags: [
      flags.tasks,
      flags.trainSplit,
      flags.fewExamples,
      flags.signSteps,
      flags.stepBatch,
      flags.signRate,
      flags.start,
      flags.headFrom,
      flags.threads,
      flags.out,
      flags.force,
      flags.json,
      flags.quiet,
    ],
    load: async () => (await import("./verbs/collect/signs.js")).signs,
  },
  {
    name: "verify",
    argument: { spelling: "<folder>", text: "a folder that mergewright merge wrote" },
    summary: "check that a result is complete and unchanged",
    details:
      "Reads every tensor and compares it with the checksums recorded by the merge. Exit code 1 where it differs.",
    examples: ["mergewright verify merged", "mergewright verify merged --inputs"],
    flags: [flags.inputs, flags.threads, flags.json],
    threaded: true,
    load: async () => (await import("./verbs/verify.js")).verify,
  },
  {
    name: "methods",
    argument: { spelling: "[name]", text: "a method; all of them without" },
    summary: "list the merge methods, or show the manual of one",
    details: "",
    examples: ["mergewright methods", "mergewright methods ties", "mergewright methods --use ./my-method.js"],
    flags: [flags.use, flags.json],
    load: async () => (await import("./verbs/methods.js")).methods,
  },
];

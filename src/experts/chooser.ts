/** How the inputs of an opened artifact find their experts: the mode, the experts, and the router where one decides. */
import { defect } from "../artifacts/defect.js";
import type { Artifact, ArtifactPlatform } from "../artifacts/open.js";
import { MergewrightError } from "../errors.js";
import type { Checkpoint } from "../models/model.js";
import type { Choice, Embeddings, Routing } from "../runtime/routing.js";
import type { RunPart } from "../runtime/run_parts.js";
import { readRouter, ROUTER_FILE, ROUTER_FOLDER } from "./router_file.js";
import { routerWeights } from "./router.js";
import { openExperts } from "./stacks.js";
import type { OpenedExperts } from "./stacks.js";

/**
 * `soft`: by the router's weights. `top1`: the expert with the largest one. `oracle`: the task's own. `tokens`: by the
 * gates of the layers.
 */
export type RoutingMode = "soft" | "top1" | "oracle" | "tokens";
export const ROUTING_MODES: readonly RoutingMode[] = ["soft", "top1", "oracle", "tokens"];

/** Told of what was chosen while inputs run. */
export interface ChoiceWatch {
  /** Of every input that a router looked at, its weights, one per task. */
  readonly inputs?: (weights: Float32Array) => void;
  /** Of every part that was run, while its memory is good. */
  readonly parts?: (parts: readonly RunPart[]) => void;
}

export class Chooser {
  private constructor(
    readonly artifact: Artifact,
    readonly mode: RoutingMode,
    /** `null` where the task's own model is run as it is. */
    readonly experts: OpenedExperts | null,
    readonly route: ((embeddings: Float32Array, width: number) => Float32Array) | null,
  ) {}

  /**
   * @param asked `null`: by the artifact: `tokens` for gates, `soft` with a router, else `oracle`.
   * @throws artifact/task for a mode that the artifact has not; artifact/router.
   */
  static async open(artifact: Artifact, platform: ArtifactPlatform, asked: RoutingMode | null): Promise<Chooser> {
    const by = artifact.manifest.routing?.by ?? null;
    const hasRouter = by === "inputs" && (await hasRouterFile(artifact.label, platform));
    const mode = asked ?? (by === "tokens" ? "tokens" : hasRouter ? "soft" : "oracle");
    const wrong = (mode === "tokens" && by !== "tokens") || ((mode === "soft" || mode === "top1") && by !== "inputs");
    if (wrong) {
      throw defect("artifact/task", `the artifact has no experts that are chosen by --routing ${mode}`, {
        where: { file: artifact.label },
        expected: by === null ? "oracle" : by === "tokens" ? "tokens or oracle" : "soft, top1 or oracle",
        found: mode,
        advice: "choose one of these",
      });
    }
    const experts = by === null || (by === "tokens" && mode === "oracle") ? null : await openExperts(artifact);
    const router = mode === "soft" || mode === "top1" ? await readRouter(artifact, platform) : null;
    const route = router && ((embeddings: Float32Array, width: number) => routerWeights(router, embeddings, width));
    return new Chooser(artifact, mode, experts, route);
  }

  /** @param own index of the task whose inputs are run, which `oracle` goes by; below 0 for one that nobody trained. */
  routing(own: number, watch: ChoiceWatch): Routing | null {
    const { experts } = this;
    if (experts === null) return null;
    return {
      examples:
        experts.stacks === null
          ? null
          : {
              experts: experts.stacks,
              choose: async (batch, embed) =>
                this.mode === "oracle"
                  ? this.#told(batch.count, own)
                  : this.#chosen(batch.count, await embed(), watch.inputs),
            },
      tokens: experts.tokens,
      ...(watch.parts && { observe: watch.parts }),
    };
  }

  #told(count: number, own: number): Choice[] {
    const weights = Float32Array.from(this.artifact.tasks, (_, task) => (task === own ? 1 : 0));
    return Array.from({ length: count }, () => ({ expert: own, weights }));
  }

  #chosen(count: number, { width, values }: Embeddings, watch: ChoiceWatch["inputs"]): Choice[] {
    const tasks = this.artifact.tasks.length;
    const all = this.route!(values, width);
    return Array.from({ length: count }, (_, example): Choice => {
      const weights = all.slice(example * tasks, (example + 1) * tasks);
      watch?.(weights);
      return { expert: this.mode === "top1" ? weights.indexOf(Math.max(...weights)) : null, weights };
    });
  }

  /**
   * What a network is opened over: with the task's config and head, the shared model's tensors in place of those that
   * experts add to; the task's own model where nothing chooses.
   * @param task whose config, tokenizer and head are taken.
   */
  async checkpointOf(task: string): Promise<Checkpoint> {
    const { checkpoint, tensors } = await this.artifact.openTask(task);
    if (this.experts === null) return checkpoint;
    return withoutExperts(checkpoint, this.artifact.base, new Set(tensors.map(({ name }) => name)));
  }
}

function withoutExperts(task: Checkpoint, base: Checkpoint, made: ReadonlySet<string>): Checkpoint {
  const tensors = new Map(task.tensors);
  const shift = task.shards.length;
  for (const name of made) {
    const stored = base.tensors.get(name)!;
    tensors.set(name, { ...stored, shard: shift + stored.shard });
  }
  return { ...task, shards: [...task.shards, ...base.shards], tensors };
}

/** @param label the artifact's folder. */
export async function hasRouterFile(
  label: string,
  { openFolder }: Pick<ArtifactPlatform, "openFolder">,
): Promise<boolean> {
  try {
    const { files } = await openFolder(`${label}/${ROUTER_FOLDER}`).list();
    return files.some(({ name }) => name === ROUTER_FILE);
  } catch (error) {
    if (error instanceof MergewrightError && error.code === "checkpoint/missing-file") return false;
    throw error;
  }
}

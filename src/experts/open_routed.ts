/** An artifact as a network to be called: inputs go in, logits come out, and with them what was chosen. */
import { openArtifact } from "../artifacts/open.js";
import type { ArtifactPlatform, OpenArtifactOptions } from "../artifacts/open.js";
import { joined } from "../numbers/joined.js";
import type { Batch, Logits, NetworkOptions, OpenNetwork } from "../runtime/network.js";
import type { RunPart } from "../runtime/run_parts.js";
import { weightsOf } from "../runtime/weights.js";
import { Chooser } from "./chooser.js";
import type { RoutingMode } from "./chooser.js";
import { GATE_OUTPUT } from "./watch.js";

export interface OpenRoutedOptions extends OpenArtifactOptions, Pick<NetworkOptions, "threads"> {
  /** Whose config and head the network has; `oracle` routes by it, too. Default: the first of the artifact. */
  readonly task?: string;
  /** Default: by the artifact: `tokens` for gates, `soft` with a router, else `oracle`. */
  readonly routing?: RoutingMode;
  /** A model whose head is attached instead of the task's own, such as one for a task that nobody trained. */
  readonly head?: string;
}

/** Logits of a batch, and what its inputs chose. */
export interface RoutedLogits extends Logits {
  /** The router's weights, `[examples, experts]`; `null` where no router is asked. */
  readonly weights: Float32Array | null;
  /**
   * By routed layer, in the order in which they run: the gate's shares of every expert, `[tokens, experts]`, tokens of an
   * example one behind the other. Empty where there are no gates.
   */
  readonly gates: ReadonlyMap<string, { readonly rows: number; readonly shares: Float32Array }>;
}

/** Calls may overlap; they are served in order. */
export interface RoutedNetwork {
  readonly routing: RoutingMode;
  /** Names of the artifact's tasks: what weights and shares are of, in this order. */
  readonly experts: readonly string[];
  /** Columns of the logits. */
  readonly classes: number;
  logits(batch: Batch): Promise<RoutedLogits>;
  close(): Promise<void>;
}

/**
 * Opens an artifact with its experts and with what chooses between them. Every part is checked against the record.
 * @param label the artifact's folder.
 * @throws artifact/task for a task or a routing that it has not; artifact/router; what opening throws.
 */
export async function openRouted(
  label: string,
  platform: ArtifactPlatform & { readonly openNetwork: OpenNetwork },
  { task, routing: asked, head: headFrom, base, threads }: OpenRoutedOptions,
): Promise<RoutedNetwork> {
  const artifact = await openArtifact(label, platform, base === undefined ? {} : { base });
  try {
    const chooser = await Chooser.open(artifact, platform, asked ?? null);
    const name = task ?? artifact.tasks[0]!;
    const checkpoint = await chooser.checkpointOf(name);
    const chosen: Float32Array[] = [];
    const gates = new Map<string, Float32Array[]>();
    const routing = chooser.routing(artifact.tasks.indexOf(name), {
      inputs: (weights) => chosen.push(weights),
      parts: (parts) => addGates(gates, parts),
    });
    const head = headFrom === undefined ? null : await platform.openModel(headFrom);
    const plain = weightsOf(checkpoint);
    const network = await platform.openNetwork(chooser.experts?.withStacks(plain) ?? plain, {
      threads,
      ...(head && { head: weightsOf(head) }),
      ...(routing && { routing }),
    });
    // The weights are in the network's memory now.
    await head?.close();
    const experts = artifact.tasks;
    let turn: Promise<unknown> = Promise.resolve();
    const run = async (batch: Batch): Promise<RoutedLogits> => {
      chosen.length = 0;
      gates.clear();
      const logits = await network.logits(batch);
      const shares = [...gates].map(([layer, parts]) => {
        const all = joined(Float32Array, parts);
        return [layer, { rows: all.length / experts.length, shares: all }] as const;
      });
      return { ...logits, weights: chosen.length === 0 ? null : joined(Float32Array, chosen), gates: new Map(shares) };
    };
    return {
      ...{ routing: chooser.mode, experts, classes: network.classes },
      logits(batch) {
        const result = turn.then(() => run(batch));
        turn = result.catch(() => {});
        return result;
      },
      async close() {
        await turn;
        await network.close();
        await artifact.close();
      },
    };
  } catch (error) {
    await artifact.close();
    throw error;
  }
}

function addGates(gates: Map<string, Float32Array[]>, parts: readonly RunPart[]): void {
  for (const { names, handed } of parts) {
    for (const name of names.filter((one) => one.startsWith(GATE_OUTPUT))) {
      const layer = name.slice(GATE_OUTPUT.length);
      const known = gates.get(layer) ?? [];
      gates.set(layer, known);
      known.push(handed(name).values.slice());
    }
  }
}

/** One thread of an algebra crew: does what it is asked, one input at a time. */
import { parentPort } from "node:worker_threads";
import { openAlgebra } from "../../algebra/algebra.js";
import type { AlgebraTask } from "../../algebra/crew.js";
import { toPlainError } from "../../errors.js";
import type { PlainError } from "../../errors.js";

/** A task by where it is found, and its input. */
export interface AlgebraCall {
  readonly module: string;
  readonly name: string;
  readonly input: unknown;
}

export type AlgebraAnswer =
  | { readonly output: unknown; readonly error: null }
  | { readonly output: null; readonly error: PlainError };

const algebra = openAlgebra();

async function answer({ module, name, input }: AlgebraCall): Promise<AlgebraAnswer> {
  try {
    const exported = (await import(module)) as Readonly<Record<string, AlgebraTask<unknown, unknown> | undefined>>;
    const task = exported[name];
    if (task === undefined) throw new RangeError(`${module} exports no task ${name}`);
    return { output: await task.run(algebra, input), error: null };
  } catch (error) {
    return { output: null, error: toPlainError(error) };
  }
}

parentPort!.on("message", (call: AlgebraCall) => {
  void answer(call).then((message) => parentPort!.postMessage(message));
});

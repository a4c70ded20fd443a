/** The golden vectors of AdaMerging: loss and gradients of a toy model, five steps of Adam, the clamp. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { CoefficientLearner } from "../../src/collect/learner.js";

type Matrix = readonly (readonly number[])[];

interface Golden {
  readonly base: { readonly W: Matrix; readonly b: readonly number[] };
  readonly tau: readonly { readonly W: Matrix; readonly b: readonly number[] }[];
  readonly heads: readonly Matrix[];
  readonly X: readonly Matrix[];
  readonly lambda_init: number;
  readonly adam_lr: number;
  readonly loss_at_init: number;
  readonly grad_theta_at_init: { readonly W: Matrix; readonly b: readonly number[] };
  readonly grad_lambda_at_init: Matrix;
  readonly loss_before_each_of_5_steps: readonly number[];
  readonly lambda_raw_after_each_step: readonly Matrix[];
  readonly clamp_probe: { readonly raw: Matrix; readonly grad: Matrix };
}

const golden = (
  JSON.parse(readFileSync(new URL("../../../test/golden/methods.json", import.meta.url), "utf8")) as {
    adamerging: Golden;
  }
).adamerging;

const { base, tau, heads, X } = golden;
const flat = ({ W, b }: Golden["base"]) => [W.flat(), [...b]];
/** Per tensor (W, b) and task. */
const parts = [0, 1].map((tensor) => tau.map((change) => flat(change)[tensor]!));

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, p) => sum + x * b[p]!, 0);

/** Loss and gradient at theta, in f64: logits = tanh(X W^T + b) H^T, the sum over tasks of the mean entropy. */
function lossAt([W, b]: readonly (readonly number[])[]): { loss: number; gradient: number[][] } {
  const [outputs, inputs] = [base.b.length, base.W[0]!.length];
  const gradient = [W!.map(() => 0), b!.map(() => 0)];
  let loss = 0;
  for (const [task, head] of heads.entries()) {
    for (const x of X[task]!) {
      const hidden = b!.map((bias, o) => Math.tanh(bias + dot(W!.slice(o * inputs, (o + 1) * inputs), x)));
      const logits = head.map((row) => dot(row, hidden));
      const top = Math.max(...logits);
      const logSum = top + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
      const logs = logits.map((logit) => logit - logSum);
      const entropy = -logs.reduce((sum, log) => sum + Math.exp(log) * log, 0);
      const share = 1 / X[task]!.length;
      loss += share * entropy;
      const byLogit = logs.map((log) => -share * Math.exp(log) * (log + entropy));
      for (let o = 0; o < outputs; o++) {
        const byHidden = byLogit.reduce((sum, value, c) => sum + value * head[c]![o]!, 0);
        const byInner = byHidden * (1 - hidden[o]! ** 2);
        gradient[1]![o]! += byInner;
        for (let i = 0; i < inputs; i++) gradient[0]![o * inputs + i]! += byInner * x[i]!;
      }
    }
  }
  return { loss, gradient };
}

function thetaOf(learner: CoefficientLearner): number[][] {
  return flat(base).map((values, tensor) =>
    values.map((value, p) =>
      tau.reduce((sum, _, task) => sum + learner.coefficient(tensor, task) * parts[tensor]![task]![p]!, value),
    ),
  );
}

const productsOf = (gradient: readonly (readonly number[])[]) =>
  Float64Array.from(gradient.flatMap((values, tensor) => parts[tensor]!.map((part) => dot(values, part))));

/** The golden file has tasks in rows and tensors in columns. */
const turned = (rows: Matrix) => [0, 1].flatMap((tensor) => rows.map((row) => row[tensor]!));

function close(found: ArrayLike<number>, expected: readonly number[], what: string): void {
  assert.equal(found.length, expected.length);
  for (const [p, value] of expected.entries())
    assert.ok(Math.abs(found[p]! - value) < 1e-9, `${what}[${p}]: ${found[p]}, not ${value}`);
}

const options = { rate: golden.adam_lr, clamp: [0, 1] as const };

describe("the golden vectors of AdaMerging", () => {
  it("the loss, its gradients by the weights and by the coefficients", () => {
    const learner = new CoefficientLearner([0, 1], 2, new Float64Array(4).fill(golden.lambda_init), options);
    const { loss, gradient } = lossAt(thetaOf(learner));
    close([loss], [golden.loss_at_init], "loss");
    close(gradient.flat(), flat(golden.grad_theta_at_init).flat(), "gradient by theta");
    close(learner.gradient(productsOf(gradient)), turned(golden.grad_lambda_at_init), "gradient by lambda");
  });

  it("five steps", () => {
    const learner = new CoefficientLearner([0, 1], 2, new Float64Array(4).fill(golden.lambda_init), options);
    for (const [step, expected] of golden.lambda_raw_after_each_step.entries()) {
      const { loss, gradient } = lossAt(thetaOf(learner));
      close([loss], [golden.loss_before_each_of_5_steps[step]!], `loss before step ${step}`);
      learner.step(productsOf(gradient));
      close(learner.state.raw, turned(expected), `after step ${step}`);
    }
  });

  it("the clamp passes the gradient at its ends and stops it outside", () => {
    const { raw, grad } = golden.clamp_probe;
    const learner = new CoefficientLearner([0, 1], 2, Float64Array.from(turned(raw)), options);
    const { gradient } = lossAt(thetaOf(learner));
    close(learner.gradient(productsOf(gradient)), turned(grad), "gradient");
    assert.ok(turned(grad).includes(0), "some coefficients lie outside");
  });

  it("tensors of one group share their coefficients and add their gradients", () => {
    const shared = new CoefficientLearner([0, 0], 2, Float64Array.of(0.3, 0.3), options);
    assert.deepEqual([...shared.gradient(Float64Array.of(1, 2, 10, 20))], [11, 22]);
    const free = new CoefficientLearner([0], 1, Float64Array.of(1.5), { rate: 0.1, clamp: null });
    assert.equal(free.coefficient(0, 0), 1.5);
    assert.deepEqual([...free.gradient(Float64Array.of(4))], [4]);
  });
});

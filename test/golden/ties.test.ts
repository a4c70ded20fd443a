/** The golden vectors of TIES, through the definition and through the whole path from files to files. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import type { Known, ParameterValue } from "../../src/methods/method.js";
import { ties } from "../../src/methods/ties.js";
import { Folder, merge, tensor } from "../laws/support/family.js";
import { settingsOf } from "../laws/support/twin.js";

interface Case {
  readonly K: number;
  readonly func: string;
  readonly kept_per_row: readonly number[];
  readonly trimmed: readonly (readonly number[])[];
  readonly sign_raw: readonly number[];
  readonly majority: number;
  readonly sign: readonly number[];
  readonly merged: readonly number[];
}

interface Edge extends Omit<Case, "func" | "trimmed" | "merged"> {
  readonly tau: readonly (readonly number[])[];
  readonly merged_dis_mean: readonly number[];
}

const golden = JSON.parse(readFileSync(new URL("../../../test/golden/methods.json", import.meta.url), "utf8")).ties as {
  readonly tau: readonly (readonly number[])[];
  readonly cases: readonly Case[];
  readonly zero_sum_edge: Edge;
  readonly zero_majority_edge: Edge;
  readonly "mergekit_dialect_density0.3_w111": readonly number[];
};

const folder = new Folder();
after(() => folder.remove());

function close(found: ArrayLike<number>, expected: readonly number[], what: string): void {
  assert.equal(found.length, expected.length);
  for (const [p, value] of expected.entries()) {
    assert.ok(Math.abs(found[p]! - value) <= 1e-6 + 1e-5 * Math.abs(value), `${what}[${p}]: ${found[p]}, not ${value}`);
  }
}

/** K above 1 is a percentage. */
const densityOf = (K: number) => (K > 1 ? K / 100 : K);

let written = 0;

/** Merges changes against a base of zeros; each row is cut into two tensors, as a model's vector runs over all of them. */
async function mergeRows(tau: readonly (readonly number[])[], recipe: Readonly<Record<string, unknown>>, cut = 4) {
  const split = (row: readonly number[]) => [
    tensor("a", row.slice(0, cut)),
    ...(cut < row.length ? [tensor("b", row.slice(cut))] : []),
  ];
  const id = written++;
  const base = folder.write(`base${id}`, split(tau[0]!.map(() => 0)));
  const models = tau.map((row, index) => folder.write(`row${id}-${index}`, split(row)));
  const merged = await merge({ method: "ties", ...recipe, base, models }, { out: folder.fresh() });
  const values = [...merged.values("a"), ...(cut < tau[0]!.length ? merged.values("b") : [])];
  return { values, kept: merged.result.result.kept?.map(({ kept }) => kept) };
}

/** The definition alone, with thresholds found by sorting. */
function define(tau: readonly (readonly number[])[], given: Readonly<Record<string, ParameterValue>>) {
  const rows = tau.map((row) => Float32Array.from(row));
  const count = rows[0]!.length;
  const thresholds = rows.map((row) => {
    const sorted = [...row].map(Math.abs).sort((a, b) => b - a);
    return sorted[Math.trunc(count * Number(given.density))]!;
  });
  const settings = settingsOf(
    ties,
    given,
    rows.map(() => ({})),
  );
  const known: Known = { threshold: { thresholds, kept: [], entries: count } };
  const counters: Record<string, number> = {};
  const tile = {
    count,
    base: new Float32Array(count),
    inputs: rows,
    extra: {},
    out: new Float32Array(count),
    counters,
  };
  ties.combine(tile, ties.bind(settings, known));
  const { positive, negative } = counters as { positive: number; negative: number };
  ties.combine(tile, ties.bind(settings, { ...known, votes: { positive, negative } }));
  const trimmed = rows.map((row, model) => row.map((x) => (Math.abs(x) >= thresholds[model]! ? x : 0)));
  return { out: tile.out, votes: positive - negative, trimmed };
}

const MERGE: Readonly<Record<string, string>> = { "dis-mean": "mean", "dis-sum": "sum", "dis-max": "max" };

describe("golden ties", () => {
  for (const { K, func, kept_per_row, trimmed, sign_raw, majority, sign, merged } of golden.cases) {
    it(`K ${K}, ${func}`, async () => {
      const parameters = { density: densityOf(K), merge: MERGE[func]! };
      const definition = define(golden.tau, parameters);
      close(definition.out, merged, "merged");
      definition.trimmed.forEach((row, model) => close(row, trimmed[model]!, `trimmed ${model}`));
      assert.equal(Math.sign(definition.votes), majority);
      assert.equal(
        definition.votes,
        sign_raw.reduce((sum, s) => sum + s, 0),
      );

      const { values, kept } = await mergeRows(golden.tau, { parameters });
      close(values, merged, "merged from files");
      assert.deepEqual(kept, kept_per_row);
      // The result carries the elected sign wherever there is one.
      for (const [p, value] of values.entries()) assert.ok(value === 0 || Math.sign(value) === sign[p]);
    });
  }

  it("each row after the trim", async () => {
    for (const { K, trimmed } of golden.cases.filter(({ func }) => func === "dis-sum")) {
      for (const [model, row] of golden.tau.entries()) {
        const { values } = await mergeRows([row], {
          parameters: { density: densityOf(K), elect: "none", merge: "sum" },
        });
        close(values, trimmed[model]!, `row ${model} at K ${K}`);
      }
    }
  });

  for (const name of ["zero_sum_edge", "zero_majority_edge"] as const) {
    it(name, async () => {
      const { tau, K, kept_per_row, majority, sign_raw, merged_dis_mean } = golden[name];
      const definition = define(tau, { density: K });
      close(definition.out, merged_dis_mean, "merged");
      assert.equal(Math.sign(definition.votes), majority);
      assert.equal(
        definition.votes,
        sign_raw.reduce((sum, s) => sum + s, 0),
      );
      for (const cut of [1, tau[0]!.length]) {
        const { values, kept } = await mergeRows(tau, { parameters: { density: K } }, cut);
        close(values, merged_dis_mean, "merged from files");
        assert.deepEqual(kept, kept_per_row);
      }
    });
  }

  it("mergekit's rules, density 0.3", async () => {
    const { values, kept } = await mergeRows(golden.tau, { dialect: "mergekit", parameters: { density: 0.3 } }, 10);
    close(values, golden["mergekit_dialect_density0.3_w111"], "merged");
    assert.deepEqual(kept, [3, 3, 3]);
  });
});

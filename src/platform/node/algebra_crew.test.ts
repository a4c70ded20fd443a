/** Many matrices on threads: the same results, errors and order of calls as on one. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import type { AlgebraCrew } from "../../algebra/crew.js";
import { algebraTask, soloAlgebraCrew } from "../../algebra/crew.js";
import { random32 } from "../../algebra/fixtures.test.js";
import { truncatedSvdTask } from "../../algebra/tasks.js";
import { createAlgebraCrew } from "./algebra_crew.js";
import { halfTask } from "./half_task.test.js";

const crews: Readonly<Record<string, AlgebraCrew>> = {
  "the calling thread": soloAlgebraCrew(),
  "one thread": createAlgebraCrew(1),
  "three threads": createAlgebraCrew(3),
};
after(() => Promise.all(Object.values(crews).map((crew) => crew.close())));

async function halves(crew: AlgebraCrew, values: readonly number[], signal?: AbortSignal): Promise<number[]> {
  const found: number[] = [];
  await crew.map(halfTask, values.length, {
    input: (index) => values[index]!,
    done: (index, output) => void (found[index] = output),
    ...(signal === undefined ? {} : { signal }),
  });
  return found;
}

for (const [name, crew] of Object.entries(crews)) {
  describe(`a crew: ${name}`, () => {
    it("gives every output its index", async () => {
      const values = Array.from({ length: 40 }, (_, index) => 2 * ((17 * index) % 41));
      assert.deepEqual(
        await halves(crew, values),
        values.map((value) => value / 2),
      );
    });

    it("gives the bits of the algebra itself", async () => {
      const matrices = [3, 1, 2].map((seed) => random32(130, 120 + seed, seed));
      const found: unknown[] = [];
      await crew.map(truncatedSvdTask, 3, {
        input: (index) => ({ matrix: matrices[index]!, rank: 4 }),
        done: (index, output) => void (found[index] = output),
      });
      const alone: unknown[] = [];
      await soloAlgebraCrew().map(truncatedSvdTask, 3, {
        input: (index) => ({ matrix: matrices[index]!, rank: 4 }),
        done: (index, output) => void (alone[index] = output),
      });
      assert.deepEqual(found, alone);
    });

    it("makes inputs in order, one at a time, no more than there are threads ahead, and takes outputs one at a time", async () => {
      const asked: number[] = [];
      let [making, taking, begun, ended] = [0, 0, 0, 0];
      const counts: number[] = [];
      await crew.map(halfTask, 20, {
        async input(index) {
          assert.equal(++making, 1);
          asked.push(index);
          begun++;
          assert.ok(begun - ended <= crew.threads);
          await new Promise((resolve) => setTimeout(resolve, 1));
          making--;
          return 2 * index;
        },
        async done() {
          assert.equal(++taking, 1);
          await new Promise((resolve) => setTimeout(resolve, 1));
          taking--;
          ended++;
        },
        progress: (finished, count) => counts.push(finished, count),
      });
      assert.deepEqual(asked, [...asked.keys()]);
      assert.deepEqual(
        counts,
        asked.flatMap((index) => [index + 1, 20]),
      );
    });

    it("fails with the error of the lowest index, and can be used again", async () => {
      for (let round = 0; round < 3; round++) {
        await assert.rejects(halves(crew, [4, 8, 12, 3, 5, 7, 9, 2, 2, 2]), /3 is odd/);
      }
      assert.deepEqual(await halves(crew, [6]), [3]);
    });

    it("carries errors of the algebra with their code", async () => {
      const asked = crew.map(truncatedSvdTask, 1, {
        input: () => ({ matrix: random32(3, 3), rank: 9 }),
        done: () => assert.fail("nothing is done"),
      });
      await assert.rejects(asked, { name: "MergewrightError", code: "algebra/shape" });
    });

    it("fails with an error of making or taking", async () => {
      const failing = (work: { input?: () => number; done?: () => void }) =>
        crew.map(halfTask, 5, { input: () => 2, done: () => {}, ...work });
      const full = () => {
        throw new RangeError("the disk is full");
      };
      await assert.rejects(failing({ input: full }), /the disk is full/);
      await assert.rejects(failing({ done: full }), /the disk is full/);
    });

    it("stops when it is told to", async () => {
      const stop = new AbortController();
      let taken = 0;
      const stopped = crew.map(halfTask, 1000, {
        input: (index) => 2 * index,
        done() {
          if (++taken === 5) stop.abort();
        },
        signal: stop.signal,
      });
      await assert.rejects(stopped, { code: "interrupted" });
      assert.equal(taken, 5);
      await assert.rejects(halves(crew, [2], AbortSignal.abort()), { code: "interrupted" });
    });

    it("of nothing does nothing", async () => assert.deepEqual(await halves(crew, []), []));
  });
}

it("a task that its module does not export is named", async () => {
  const crew = createAlgebraCrew(2);
  const lost = algebraTask(import.meta.url, "lostTask", () => 1);
  await assert.rejects(crew.map(lost, 1, { input: () => 1, done: () => {} }), /exports no task lostTask/);
  await crew.close();
});

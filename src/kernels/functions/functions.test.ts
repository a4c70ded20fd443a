import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { dice, patterns } from "../../../test/laws/support/random.js";
import { excess, exp, expm1, log1p, tanh } from "../../numbers/functions.js";
import { createMemory, loadKernels } from "../load.js";

const VALUES = 65_536;
const memory = createMemory(VALUES + 2_097_152, false);
const kernels = loadKernels(memory);

/** Every exponent, both signs, subnormals, and many values where the functions bend. */
function inputs(): Float32Array {
  const roll = dice(11);
  const bits = Uint32Array.from({ length: 100_000 }, () => roll(2 ** 32));
  const any = new Float32Array(bits.buffer);
  const bend = Float32Array.from({ length: 100_000 }, () => (roll(2 ** 24) / 2 ** 23 - 1) * [1, 4, 20, 110][roll(4)]!);
  const special = [0, -0, 1, -1, Number.NaN, Infinity, -Infinity, 88.72284, 88.72283, -87.33655, -103.97, -104, 1e-45];
  const around = [1, -1].flatMap((x) => [x * (1 - 2 ** -24), x * (1 + 2 ** -23)]);
  const all = [...any, ...bend, ...special, ...around];
  while (all.length % 4 !== 0) all.push(0);
  return Float32Array.from(all);
}

/** Distance between two f32 in units of the last place of the second one. */
function unitsOff(found: number, expected: number): number {
  const size = Math.abs(expected);
  const exponent = Math.max(Math.floor(Math.log2(size)), -126);
  return Math.abs(found - expected) / 2 ** (exponent - 23);
}

const VALUES_OF = inputs();
const LARGEST = 3.4028235677973366e38;
/** Below, squares are not normal numbers. */
const SMALLEST = 2 ** -125;

/** e^x (x − 1) + 1 as a series where its terms cancel. */
function exactExcess(x: number): number {
  if (Math.abs(x) > 1) return Math.exp(x) * (x - 1) + 1;
  let [sum, power] = [0, 1];
  for (let k = 2; k < 30; k++) {
    power *= x / Math.max(1, k - 2);
    sum += (power * x) / k;
  }
  return sum;
}

const inDomain = (x: number) => x > -1 && Number.isFinite(x);
const cases = [
  { name: "exp", define: exp, most: 1.01, exact: Math.exp, within: () => true },
  { name: "tanh", define: tanh, most: 2, exact: Math.tanh, within: () => true },
  { name: "expm1", define: expm1, most: 3, exact: Math.expm1, within: () => true },
  { name: "log1p", define: log1p, most: 4, exact: Math.log1p, within: inDomain },
  // Near 1, where it is 1, and beyond, its terms are large and of either sign.
  { name: "excess", define: excess, most: 12, exact: exactExcess, within: (x: number) => Math.abs(x) < 80 },
] as const;

for (const { name, define, most, exact, within } of cases) {
  describe(name, () => {
    it("is the same in TypeScript and in the kernel", () => {
      const values = new Float32Array(memory.buffer, VALUES, VALUES_OF.length);
      values.set(VALUES_OF);
      (kernels.exports[`${name}_F32`] as (p: number, count: number) => number)(VALUES, VALUES_OF.length);
      assert.deepEqual(patterns(values), patterns(VALUES_OF.map((x) => define(x))));
    });

    it(`is at most ${most} units in the last place off`, () => {
      let worst = 0;
      for (const x of VALUES_OF) {
        if (!within(x)) continue;
        const [found, expected] = [define(x), exact(x)];
        const isFinite = Math.abs(expected) < LARGEST;
        if (!isFinite || Math.abs(expected) < SMALLEST)
          assert.ok(
            Math.abs(found - Math.fround(expected)) <= SMALLEST || Object.is(found, Math.fround(expected)),
            `${x}: ${found}, not ${expected}`,
          );
        else worst = Math.max(worst, unitsOff(found, expected));
      }
      assert.ok(worst <= most, `${worst} units`);
      assert.ok(worst > 0.4, "the inputs are many enough to meet bad ones");
    });
  });
}

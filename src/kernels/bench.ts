/** What the kernels' benches share. Run one with `node dist/src/kernels/convert/bench.js`. */

/** Entries per call: what a tile has. */
export const TILE = 65_536;

const ROUNDS = 15;
const ROUND_MS = 40;

/** Prints units per second of each subject, the median of interleaved rounds; a subject handles `units` per call. */
export function bench(unit: string, units: number, subjects: Readonly<Record<string, () => void>>): void {
  const rates = Object.entries(subjects).map(([name, run]) => {
    let calls = 0;
    const start = performance.now();
    while (performance.now() - start < 2 * ROUND_MS) {
      run();
      calls++;
    }
    return { name, run, calls: Math.ceil(calls / 2), rates: [] as number[] };
  });
  for (let round = 0; round < ROUNDS; round++) {
    for (const { run, calls, rates: measured } of rates) {
      const start = performance.now();
      for (let call = 0; call < calls; call++) run();
      measured.push((units * calls * 1000) / (performance.now() - start));
    }
  }
  for (const { name, rates: measured } of rates) {
    const median = measured.sort((a, b) => a - b)[ROUNDS >> 1]!;
    process.stdout.write(`${name.padEnd(28)} ${(median / 1e6).toFixed(0).padStart(7)} M ${unit}/s\n`);
  }
}

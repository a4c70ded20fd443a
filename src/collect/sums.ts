/** Sums under way: f64, by tensor. What is added comes in f32 or f64, block by block of examples, in order. */

export interface Sum {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export class Sums {
  /** In the order in which they were first added to. */
  readonly all = new Map<string, Sum>();

  add(name: string, shape: readonly number[], values: Float32Array | Float64Array): void {
    const known = this.all.get(name);
    if (known === undefined) {
      this.all.set(name, { shape, data: Float64Array.from(values) });
      return;
    }
    const { data } = known;
    for (let index = 0; index < data.length; index++) data[index]! += values[index]!;
  }

  /** Adds the squares of what is given. */
  addSquares(name: string, shape: readonly number[], values: Float32Array): void {
    let sum = this.all.get(name);
    if (sum === undefined) this.all.set(name, (sum = { shape, data: new Float64Array(values.length) }));
    const { data } = sum;
    for (let index = 0; index < data.length; index++) data[index]! += values[index]! ** 2;
  }
}

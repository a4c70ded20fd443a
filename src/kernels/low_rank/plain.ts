/** A rectangle of entries inside a matrix of f32. */
export interface Rectangle {
  readonly data: Float32Array;
  /** Entries from one row to the next. */
  readonly stride: number;
  readonly rows: number;
  readonly columns: number;
}

/**
 * target += left · right: the definition that kernel.as.ts gives the same bits as. For every entry the products are added
 * with the index of the rank ascending, each operation rounded to f32; the sum is then added to the target.
 * @param left rows x rank, without gaps.
 * @param right rank x columns, `rightStride` entries from one row to the next.
 */
export function addProduct(
  { data, stride, rows, columns }: Rectangle,
  left: Float32Array,
  right: Float32Array,
  rightStride: number,
  rank: number,
): void {
  const { fround } = Math;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let k = 0; k < rank; k++) {
        sum = fround(sum + fround(left[row * rank + k]! * right[k * rightStride + column]!));
      }
      data[row * stride + column] = fround(data[row * stride + column]! + sum);
    }
  }
}

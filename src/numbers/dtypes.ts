/** The number formats of safetensors: names, sizes and kinds. Conversions live in convert.ts. */

export type Dtype =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "F8_E4M3"
  | "F8_E5M2"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U64"
  | "U32"
  | "U16"
  | "U8"
  | "BOOL";

/** Bytes per entry. */
export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

export type FloatDtype = "F64" | "F32" | "F16" | "BF16" | "F8_E4M3" | "F8_E5M2";

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(DTYPE_BYTES, name);
}

/** Whether entries of this format take part in a merge; integers and booleans are copied. */
export function isFloat(dtype: Dtype): dtype is FloatDtype {
  return dtype.startsWith("F") || dtype === "BF16";
}

/** Names as recipes and config.json use them, on the left; safetensors' names on the right. */
export const DTYPE_OF_RECIPE_NAME: Readonly<Record<string, FloatDtype>> = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  float8_e4m3fn: "F8_E4M3",
  float8_e5m2: "F8_E5M2",
};

/** Number of entries of a shape; the empty shape is a scalar with one entry. */
export function entriesOf(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

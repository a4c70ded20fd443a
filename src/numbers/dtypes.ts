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

/** Bits of exponent and of mantissa: a format holds the values of another that has more of neither. */
export const FLOAT_BITS: Readonly<Record<FloatDtype, { readonly exponent: number; readonly mantissa: number }>> = {
  F64: { exponent: 11, mantissa: 52 },
  F32: { exponent: 8, mantissa: 23 },
  F16: { exponent: 5, mantissa: 10 },
  BF16: { exponent: 8, mantissa: 7 },
  F8_E4M3: { exponent: 4, mantissa: 3 },
  F8_E5M2: { exponent: 5, mantissa: 2 },
};

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

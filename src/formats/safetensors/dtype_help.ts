import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { printable } from "./text.js";

/** Formats that files may carry and this reader does not take, with what they are. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  F4: "4-bit floats, two in a byte",
  F6_E2M3: "6-bit floats",
  F6_E3M2: "6-bit floats",
  F8_E8M0: "8-bit powers of two, the block scales of a quantised checkpoint",
  F8_E4M3FNUZ: "another 8-bit float than F8_E4M3, with other values",
  F8_E5M2FNUZ: "another 8-bit float than F8_E5M2, with other values",
  C64: "complex numbers",
};

export function explainDtype(name: string): {
  readonly found: string;
  readonly expected: string;
  readonly advice: string;
} {
  const meaning = Object.hasOwn(UNSUPPORTED, name) ? ` (${UNSUPPORTED[name]}; not supported)` : "";
  return {
    found: `${printable(name)}${meaning}`,
    expected: `one of ${Object.keys(DTYPE_BYTES).join(", ")}`,
    advice:
      meaning === ""
        ? "check which program wrote the file"
        : "use the checkpoint before quantisation, or convert the tensor to one of the formats above",
  };
}

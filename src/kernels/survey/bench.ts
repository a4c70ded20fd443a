import { bitsOf, normals } from "../../../test/laws/support/random.js";
import { FORMATS } from "../../../test/laws/support/twin.js";
import { narrow } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { bench, TILE } from "../bench.js";
import { KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";

const MODELS = 3;
const CONTEXT = 65_536;
const STREAMS = CONTEXT + 16_384;
const STREAM_BYTES = TILE * 4 + 960;
const BINS = STREAMS + (MODELS + 1) * STREAM_BYTES;
const BIN_BYTES = 1 << 20;

const memory = createMemory(BINS + MODELS * BIN_BYTES, true);
const kernels = loadKernels(memory);
const context = new KernelContext(memory, CONTEXT, MODELS);
const address = (stream: number) => STREAMS + stream * STREAM_BYTES;
/** Where a fifth of the changes is larger; one in a hundred lies between the outer two, as a sample brackets it. */
const [LOW, GUESS, HIGH] = [0.01795, 0.01812, 0.0183].map(bitsOf) as [number, number, number];

context.setRows(MODELS);
for (let row = 0; row < MODELS; row++) {
  context.setPointer(row, address(row));
  [HIGH, GUESS, LOW, BINS + row * BIN_BYTES, 0, 0].forEach((bits, column) => context.setColumnBits(row, column, bits));
}
context.setTile(TILE, 0, address(MODELS), 0, CONTEXT + 8192);
for (const format of FORMATS) {
  for (let stream = 0; stream <= MODELS; stream++) {
    const bytes = new Uint8Array(memory.buffer, address(stream), TILE * DTYPE_BYTES[format]);
    narrow(format, normals(TILE, stream, 0.01), bytes);
  }
  const run = kernels.get(`survey_${format}`);
  bench("entries", TILE, { [`survey ${format}`]: () => run(context.address) });
}

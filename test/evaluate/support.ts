/** Models and data in memory, and a network of one linear layer, so that every score can be worked out by hand. */
import { memorySource } from "../../src/sources/memory.js";
import type { EvaluatePlatform, ResultStore } from "../../src/evaluate/platform.js";
import { layoutHeader } from "../../src/formats/safetensors/layout.js";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { memoryFolder } from "../../src/models/folder.js";
import { listBelow } from "../../src/platform/memory/evaluate.js";
import { type Dtype, DTYPE_BYTES, entriesOf } from "../../src/numbers/dtypes.js";
import { IGNORED, type Network, type OpenNetwork } from "../../src/runtime/network.js";

export interface Stored {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

/** A safetensors file; formats U8, I64 and F32. */
export function safetensors(tensors: Readonly<Record<string, Stored>>): Uint8Array {
  const names = Object.keys(tensors);
  const layout = layoutHeader(names.map((name) => ({ name, ...tensors[name]! })));
  const file = new Uint8Array(layout.fileSize);
  file.set(layout.header);
  for (const { name, offset } of layout.tensors) {
    const { dtype, shape, values } = tensors[name]!;
    const view = new DataView(file.buffer, offset, entriesOf(shape) * DTYPE_BYTES[dtype]);
    for (const [at, value] of values.entries()) {
      if (dtype === "U8") view.setUint8(at, value);
      else if (dtype === "I64") view.setBigInt64(8 * at, BigInt(value), true);
      else view.setFloat32(4 * at, value, true);
    }
  }
  return file;
}

export const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** A model of `classes` classes whose logit of a class is that class's pixel. */
export function pixelModel(classes: number, config: object = {}, sign = 1): Record<string, Uint8Array> {
  const values = Array.from({ length: classes * classes }, (_, at) => (at % (classes + 1) === 0 ? sign : 0));
  return {
    "config.json": text({ model_type: "pixels", ...config }),
    "model.safetensors": safetensors({ "classifier.weight": { dtype: "F32", shape: [classes, classes], values } }),
  };
}

export interface Opened {
  platform: EvaluatePlatform;
  /** Networks opened so far, and those that are still open. */
  readonly count: { opened: number; open: number };
}

export function memoryEvaluation(
  models: Readonly<Record<string, Record<string, Uint8Array>>>,
  files: Readonly<Record<string, Uint8Array>>,
  others: Partial<EvaluatePlatform> = {},
): Opened {
  const count = { opened: 0, open: 0 };
  const openNetwork: OpenNetwork = async (weights, { head }) => {
    count.opened++;
    count.open++;
    const network = await linearNetwork(weights, { threads: 1, ...(head && { head }) });
    return { ...network, close: async () => void count.open-- };
  };
  const platform: EvaluatePlatform = {
    openModel: async (label) => ({ ...(await openCheckpoint(label, memoryFolder(models[label]!))), label }),
    openFile: (path) => memorySource(files[path]!, path),
    listFolder: (folder) => listBelow(Object.keys(files), folder),
    openNetwork,
    jpegDecoder: () => Promise.reject(new RangeError("not asked for here")),
    runCommand: null,
    ...others,
  };
  return { platform, count };
}

/**
 * Images: classifier.weight times the first pixels. Text: every token is as likely as `logits` of the vocabulary say,
 * whatever stands before it.
 */
export const linearNetwork: OpenNetwork = async (weights, { head }) => {
  const source = head ?? weights;
  const [name] = [...source.names];
  const shape = source.shape(name!)!;
  let values = await source.tensor(name!);
  const classes = shape[0]!;
  const unused = () => Promise.reject(new RangeError("not asked for here"));
  const network: Network = {
    architecture: "linear",
    parameters: [name!],
    classes,
    async logits(batch) {
      const rows = batch.count;
      const out = new Float32Array(rows * classes);
      for (let row = 0; row < rows; row++) {
        for (let at = 0; at < classes; at++) {
          let logit = 0;
          for (let i = 0; i < shape[1]!; i++) {
            const input =
              batch.kind === "images"
                ? batch.pixels[row * batch.channels * batch.height * batch.width + i]!
                : batch.ids[row * batch.length + i]!;
            logit += values[at * shape[1]! + i]! * input;
          }
          out[row * classes + at] = logit;
        }
      }
      return { rows, classes, values: out };
    },
    async losses(_, targets) {
      const total = values.reduce((sum, logit) => sum + Math.exp(logit), 0);
      return Float32Array.from(targets, (id) => (id === IGNORED ? 0 : Math.log(total) - values[id]!));
    },
    gradients: unused,
    async load(others) {
      if (head === undefined) values = await others.tensor(name!);
    },
    close: async () => {},
  };
  return network;
};

export function memoryStore(): ResultStore & { readonly texts: Map<string, string> } {
  const texts = new Map<string, string>();
  return {
    texts,
    get: async (key) => texts.get(key) ?? null,
    put: async (key, value) => void texts.set(key, value),
  };
}

/** Images and labels of a split, from a safetensors file. */

import { readHeader } from "../../formats/safetensors/header.js";
import { readTensor } from "../../formats/safetensors/read.js";
import { someOf } from "../../formats/safetensors/text.js";
import type { SafetensorsHeader, TensorEntry } from "../../formats/safetensors/types.js";
import { widen } from "../../numbers/convert.js";
import { type Dtype, DTYPE_BYTES, isFloat } from "../../numbers/dtypes.js";
import type { ByteSource } from "../../sources/source.js";
import { taskDefect } from "../defect.js";
import { sha256 } from "../fingerprint.js";
import type { EvaluatePlatform } from "../platform.js";
import type { ImageTask, Split } from "../task.js";
import { type ImageData, normalised, type WantedImages } from "./image_data.js";

/** @throws tasks/data */
export async function openStoredImages(
  task: ImageTask,
  split: Split,
  wanted: WantedImages,
  platform: EvaluatePlatform,
  need: "needed" | "unused" = "needed",
): Promise<ImageData> {
  const source = await platform.openFile(task.data);
  try {
    const header = await readHeader(source);
    const images = find(header, task, split, "images");
    const isLabelled = need === "needed" || header.tensors.some(({ name }) => name === `${split}.labels`);
    const labels = isLabelled ? find(header, task, split, "labels") : null;
    const layout = layoutOf(task, images, wanted);
    if (layout.count === 0) throw empty(task, split);
    if (labels !== null && (labels.shape.length !== 1 || labels.shape[0] !== layout.count)) {
      throw wrong(task, labels, "images and labels are not equally many", `[${layout.count}]`, shapeText(labels));
    }
    let classes = 0;
    for (const other of header.tensors.filter(({ name }) => name.endsWith(".labels"))) {
      for (const label of await readLabels(task, source, other)) classes = Math.max(classes, label + 1);
    }
    const raw = await readTensor(source, images);
    const { interleaved } = layout;
    return {
      ...layout,
      labels: labels === null ? [] : await readLabels(task, source, labels),
      classes,
      content: `${images.dtype} ${shapeText(images)}${interleaved ? " interleaved" : ""} ${await sha256(raw)}`,
      notes: [],
      pixels: pixelsOf(task, images, raw, layout),
      close: () => {},
    };
  } finally {
    await source.close();
  }
}

function find(header: SafetensorsHeader, task: ImageTask, split: Split, kind: "images" | "labels"): TensorEntry {
  const tensor = header.tensors.find(({ name }) => name === `${split}.${kind}`);
  if (tensor !== undefined) return tensor;
  const splits = header.tensors.flatMap(({ name }) => (name.endsWith(".images") ? [name.slice(0, -7)] : []));
  throw taskDefect(task, "tasks/data", `the data have no ${kind} for the split ${split}`, {
    where: { file: task.data, tensor: `${split}.${kind}` },
    expected: "SPLIT.images and SPLIT.labels",
    found: splits.length === 0 ? `no images; ${someOf(header.tensors.map(({ name }) => name))}` : someOf(splits),
    advice: splits.includes(split) ? "add the labels" : "choose one of these with --split",
  });
}

function empty(task: ImageTask, split: Split) {
  return taskDefect(task, "tasks/data", `the split ${split} has no examples`, {
    where: { file: task.data, tensor: `${split}.images` },
    expected: "one image or more",
    advice: "choose another split, or add data",
  });
}

interface Layout {
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Whether the channels of a pixel lie side by side. */
  readonly interleaved: boolean;
}

function layoutOf(task: ImageTask, images: TensorEntry, wanted: WantedImages): Layout {
  const [count = 0, a = 0, b = 0, c = 0] = images.shape;
  const rank = images.shape.length;
  if (rank !== 3 && rank !== 4) {
    throw wrong(task, images, "images are of no known shape", "[n, h, w], [n, c, h, w] or [n, h, w, c]");
  }
  const planes: Layout = { count, channels: a, height: b, width: c, interleaved: false };
  const grey: Layout = { count, channels: 1, height: a, width: b, interleaved: false };
  const pixels: Layout = { count, channels: c, height: a, width: b, interleaved: true };
  const readings = rank === 3 ? [grey] : [planes, pixels];
  const fits = (layout: Layout) =>
    (["channels", "height", "width"] as const).every((key) => wanted[key] === null || wanted[key] === layout[key]);
  const layout = readings.find(fits);
  if (layout !== undefined) return layout;
  const { channels, height, width } = wanted;
  const size = `${channels ?? "any"} x ${height ?? "any"} x ${width ?? "any"} (channels x height x width)`;
  throw taskDefect(task, "tasks/data", "the images are not of the size that the model looks at", {
    where: { file: task.data, tensor: images.name },
    expected: size,
    found: `images of shape ${shapeText(images)}`,
    advice: "store them in that size, or give them as picture files, which are resized as the preprocessor says",
  });
}

function pixelsOf(task: ImageTask, images: TensorEntry, raw: Uint8Array, layout: Layout): ImageData["pixels"] {
  const { channels, height, width, interleaved } = layout;
  const per = channels * height * width;
  const read = entryReader(images.dtype, raw);
  if (read === null) throw wrong(task, images, "images hold no pixels", "U8, or a floating-point format", images.dtype);
  return (first, count, how) => {
    // What is no integer is taken to be scaled already.
    const factor = isFloat(images.dtype) ? 1 : how.scale;
    return normalised(read(first * per, count * per), layout, interleaved, factor, how);
  };
}

type Reader = (first: number, count: number) => Float32Array | Uint8Array;

/** `null` for formats that hold no pixels. */
function entryReader(dtype: Dtype, raw: Uint8Array): Reader | null {
  if (dtype === "U8") return (first, count) => raw.subarray(first, first + count);
  if (!isFloat(dtype)) return null;
  const bytes = DTYPE_BYTES[dtype];
  return (first, count) => {
    const values = new Float32Array(count);
    widen(dtype, raw.subarray(first * bytes, (first + count) * bytes), values);
    return values;
  };
}

async function readLabels(task: ImageTask, source: ByteSource, tensor: TensorEntry): Promise<number[]> {
  const bytes = await readTensor(source, tensor);
  const read = INTEGERS[tensor.dtype];
  if (read === undefined) {
    throw wrong(task, tensor, "labels are no whole numbers", "an integer format such as U8 or I64", tensor.dtype);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = DTYPE_BYTES[tensor.dtype];
  const labels = Array.from({ length: bytes.length / size }, (_, at) => read(view, at * size));
  const negative = labels.find((label) => label < 0 || label > 1e9);
  if (negative !== undefined) throw wrong(task, tensor, "a label is no class", "0 or more", String(negative));
  return labels;
}

const INTEGERS: Readonly<Partial<Record<Dtype, (view: DataView, at: number) => number>>> = {
  U8: (view, at) => view.getUint8(at),
  I8: (view, at) => view.getInt8(at),
  U16: (view, at) => view.getUint16(at, true),
  I16: (view, at) => view.getInt16(at, true),
  U32: (view, at) => view.getUint32(at, true),
  I32: (view, at) => view.getInt32(at, true),
  U64: (view, at) => Number(view.getBigUint64(at, true)),
  I64: (view, at) => Number(view.getBigInt64(at, true)),
};

function wrong(task: ImageTask, tensor: TensorEntry, summary: string, expected: string, found = shapeText(tensor)) {
  return taskDefect(task, "tasks/data", summary, { where: { file: task.data, tensor: tensor.name }, expected, found });
}

function shapeText({ shape }: TensorEntry): string {
  return `[${shape.join(", ")}]`;
}

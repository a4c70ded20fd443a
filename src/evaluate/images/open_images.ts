/** Images of a split, in whichever form a task has them. */

import { findData } from "../data_files.js";
import { taskDefect } from "../defect.js";
import type { EvaluatePlatform } from "../platform.js";
import type { ImageTask, Split } from "../task.js";
import { type ImageData, normalised, type WantedImages } from "./image_data.js";
import { decodePicture, type Picture } from "./picture.js";
import { fingerprintOf, openFolder, openPictureTable, type Pictures } from "./pictures.js";
import { preprocess, type Preprocessing } from "./preprocess.js";
import { openStoredImages } from "./stored_images.js";

export interface ImagesHow {
  readonly preprocessing: Preprocessing;
  /** Of the head's config: numbers of classes by name. */
  readonly label2id: unknown;
  /** `unused`: a safetensors file without labels will do. */
  readonly labels?: "needed" | "unused" | undefined;
}

/** @throws tasks/data */
export async function openImages(
  task: ImageTask,
  split: Split,
  wanted: WantedImages,
  { preprocessing: how, label2id, labels }: ImagesHow,
  platform: EvaluatePlatform,
): Promise<ImageData> {
  const data = await findData(task, split, platform);
  switch (data.kind) {
    case "file":
      return openStoredImages(task, split, wanted, platform, labels);
    case "folder":
      return decoded(task, wanted, how, await openFolder(task, split, data.files, label2id, platform), platform);
    case "split":
      return decoded(task, wanted, how, await openPictureTable(task, split, data.paths, platform), platform);
  }
}

async function decoded(
  task: ImageTask,
  wanted: WantedImages,
  how: Preprocessing,
  pictures: Pictures,
  platform: EvaluatePlatform,
): Promise<ImageData> {
  const { labels, classes, notes } = pictures;
  const channels = wanted.channels ?? 3;
  if (channels !== 1 && channels !== 3) {
    throw taskDefect(task, "tasks/data", "pictures are not what the model looks at", {
      where: { file: task.data },
      expected: `${channels} channels`,
      found: "1 (grey) or 3 (colour)",
      advice: "give the images as a safetensors file",
    });
  }
  const look = async (index: number): Promise<Picture> => {
    const where = pictures.where(index);
    const bytes = await pictures.read(index);
    const picture = preprocess(await decodePicture(task, where, bytes, platform), channels, how);
    const { height = picture.height, width = picture.width } = { ...sizesOf(wanted) };
    if (picture.height === height && picture.width === width) return picture;
    throw taskDefect(task, "tasks/data", "a picture is not of the size that the model looks at", {
      where,
      expected: `${height} x ${width} (height x width)`,
      found: `${picture.height} x ${picture.width}, after what preprocessor_config.json says`,
      advice: "give the model a preprocessor_config.json whose size: is that of its config",
    });
  };
  const { height, width } = await look(0);
  const { resize, crop } = how;
  return {
    count: labels.length,
    channels,
    height,
    width,
    labels,
    classes,
    notes,
    content: JSON.stringify([resize, crop, channels, await fingerprintOf(pictures)]),
    async pixels(first, count, normalise) {
      const size = channels * height * width;
      const bytes = new Uint8Array(count * size);
      for (let at = 0; at < count; at++) bytes.set((await look(first + at)).data, at * size);
      return normalised(bytes, { channels, height, width }, true, normalise.scale, normalise);
    },
    close: () => pictures.close(),
  };
}

function sizesOf({ height, width }: WantedImages): { height?: number; width?: number } {
  return { ...(height !== null && { height }), ...(width !== null && { width }) };
}

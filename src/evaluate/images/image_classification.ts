/** Which class a network finds most likely for each image, with the task's own head. */

import type { Checkpoint } from "../../models/model.js";
import { IGNORED } from "../../runtime/network.js";
import { isObject } from "../../tokenizers/json.js";
import { taskDefect } from "../defect.js";
import { answersOf, checkClasses } from "../heads.js";
import type { Scorer } from "../scorer.js";
import type { ImageTask, Normalisation } from "../task.js";
import type { WantedImages } from "./image_data.js";
import { openImages } from "./open_images.js";
import { readPreprocessing, usualPreprocessing } from "./preprocess.js";

/** Entries of one batch's pixels, which bounds the memory of a pass. */
const BATCH_PIXELS = 1 << 20;
const LARGEST_BATCH = 64;

export const imageClassification: Scorer<ImageTask> = async (task, { model, head, split, platform, labels }) => {
  const wanted = wantedOf(model.config);
  const written = (await readPreprocessing(model)) ?? (head && (await readPreprocessing(head)));
  const preprocessing = written ?? usualPreprocessing(wanted);
  const label2id = (head ?? model).config?.["label2id"];
  const data = await openImages(task, split, wanted, { preprocessing, label2id, labels }, platform);
  const how = task.normalise ?? preprocessing.normalise;
  checkChannels(task, how, data.channels);
  return {
    content: JSON.stringify([task.type, how, data.content, data.labels]),
    examples: data.count,
    notes: data.notes,
    close: () => data.close(),
    labelled: {
      count: data.count,
      classes: data.classes,
      shape: () => "",
      async batch(examples) {
        const { channels, height, width } = data;
        const pixels = new Float32Array(examples.length * channels * height * width);
        for (const [row, example] of examples.entries()) {
          pixels.set(await data.pixels(example, 1, how), row * channels * height * width);
        }
        return {
          batch: { kind: "images", count: examples.length, channels, height, width, pixels },
          targets: Int32Array.from(examples, (example) => data.labels[example] ?? IGNORED),
        };
      },
    },
    async run(open, during) {
      const network = await open();
      checkClasses(task, network, data.classes, (head ?? model).label);
      const { channels, height, width } = data;
      const step = Math.min(LARGEST_BATCH, Math.max(1, Math.floor(BATCH_PIXELS / (channels * height * width))));
      const answers: number[] = [];
      for (let first = 0; first < data.count; first += step) {
        const count = Math.min(step, data.count - first);
        const pixels = await data.pixels(first, count, how);
        const batch = { kind: "images", count, channels, height, width, pixels } as const;
        const { values, rows, classes } = await during(count, network.logits(batch));
        answers.push(...answersOf(values, rows, classes));
      }
      return { kind: "answers", metric: "accuracy", labels: data.labels, answers };
    },
  };
};

function wantedOf(config: Checkpoint["config"]): WantedImages {
  const vision = isObject(config?.["vision_config"]) ? config["vision_config"] : config;
  const size = vision?.["image_size"];
  const side = (at: number) => countOf(Array.isArray(size) ? (size as unknown[])[at] : size);
  return { channels: countOf(vision?.["num_channels"]), height: side(0), width: side(1) };
}

function countOf(value: unknown): number | null {
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : null;
}

function checkChannels(task: ImageTask, { mean, std }: Normalisation, channels: number): void {
  const fits = (values: readonly number[]) => values.length === 1 || values.length === channels;
  if (fits(mean) && fits(std)) return;
  throw taskDefect(task, "tasks/data", "the normalisation is not for as many channels as the images have", {
    where: { file: task.data },
    expected: `1 or ${channels} numbers for mean and for std`,
    found: `${mean.length} and ${std.length}`,
    advice: "write normalise: {mean: ..., std: ...} in the task",
  });
}

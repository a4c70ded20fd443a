import { command } from "./command.js";
import { imageClassification } from "./images/image_classification.js";
import { languageModelling } from "./language_modelling.js";
import { multipleChoice } from "./multiple_choice.js";
import type { Prepared, ScoreContext, Scorer } from "./scorer.js";
import { sequenceClassification } from "./sequence_classification.js";
import { textToText } from "./text_to_text.js";
import type { Task } from "./task.js";

const SCORERS: { readonly [T in Task["type"]]: Scorer<Task & { type: T }> } = {
  "image-classification": imageClassification,
  "language-modelling": languageModelling,
  "multiple-choice": multipleChoice,
  "sequence-classification": sequenceClassification,
  "text-to-text": textToText,
  command,
};

export function prepare(task: Task, context: ScoreContext): Promise<Prepared> {
  return (SCORERS[task.type] as Scorer<Task>)(task, context);
}

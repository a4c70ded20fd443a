/** Angles of rotary positions (J. Su et al., "RoFormer", 2021) and the ways in which models stretch them. */

import type { Config } from "../config.js";
import type { Tape, Tensor } from "../tape.js";

/** Radians per position for each of a head's size / 2 pairs. */
export function rotaryFrequencies(config: Config, size: number): readonly number[] {
  const newer = config.part("rope_parameters");
  const scaling = config.has("rope_parameters") ? newer : config.part("rope_scaling");
  const theta = newer.has("rope_theta") ? newer.number("rope_theta") : config.number("rope_theta", 10_000);
  const plain = Array.from({ length: size / 2 }, (_, pair) => theta ** ((-2 * pair) / size));
  const kind = scaling.text("rope_type", scaling.text("type", "default"));
  if (kind === "default") return plain;
  if (kind === "linear") return plain.map((frequency) => frequency / scaling.number("factor"));
  if (kind === "llama3") return plain.map((frequency) => llama3(frequency, scaling));
  throw scaling.wrong(scaling.has("rope_type") ? "rope_type" : "type", "default, linear or llama3");
}

/** Llama 3.1: long waves are stretched by the factor, short ones kept, those between mixed. */
function llama3(frequency: number, scaling: Config): number {
  const factor = scaling.number("factor");
  const low = scaling.number("low_freq_factor");
  const high = scaling.number("high_freq_factor");
  const turns = (scaling.number("original_max_position_embeddings") * frequency) / (2 * Math.PI);
  if (turns > high) return frequency;
  if (turns < low) return frequency / factor;
  const share = (turns - low) / (high - low);
  return ((1 - share) * frequency) / factor + share * frequency;
}

/** `[length, size]`: cosines, then sines, of the first positions. */
export function rotaryTable(tape: Tape, frequencies: readonly number[], length: number): Tensor {
  const half = frequencies.length;
  const content = new Float32Array(length * 2 * half);
  for (let position = 0; position < length; position++) {
    for (const [pair, frequency] of frequencies.entries()) {
      // In f32, as the models were trained.
      const angle = Math.fround(position * Math.fround(frequency));
      content[position * 2 * half + pair] = Math.cos(angle);
      content[position * 2 * half + half + pair] = Math.sin(angle);
    }
  }
  return tape.input("rotary table", length, 2 * half, content);
}

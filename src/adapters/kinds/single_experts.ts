/**
 * Experts that the base stores one by one (`experts.3.gate_proj`) while the adapter has them in one parameter
 * (`experts.gate_up_proj`), and the other way round, as transformers converts checkpoints since version 5:
 *
 *     gate_up_proj[e] = [gate_proj of expert e; up_proj of expert e]        w1 and w3 in Mixtral
 *     down_proj[e]    = down_proj of expert e                               w2
 *
 * Experts stored (E, in, out), and gates interleaved with ups (gpt_oss), have no such mapping here.
 * Source: transformers 5.23, conversion_mapping.py; peft 0.21.2, utils/transformers_weight_conversion.py.
 */
import type { LoraModule } from "../adapter.js";
import type { BaseNames } from "../target.js";
import { refuseShape, sameShape } from "./kind.js";
import type { Applied, Seen, Target } from "./kind.js";

const NAMES = [
  ["gate_proj", "up_proj", "down_proj"],
  ["w1", "w3", "w2"],
] as const;
const SINGLE = /^(.*\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj|w1|w2|w3)$/;

/** What layers of experts are called in checkpoints and in transformers 5. */
function containersOf(path: string): string[] {
  return [
    ...new Set([
      path,
      path.replace("mlp.experts", "block_sparse_moe.experts"),
      path.replace("block_sparse_moe.experts", "mlp.experts"),
    ]),
  ];
}

/** A tensor of the base that holds some rows of one expert's matrix. */
export interface SingleExpert {
  /** The base's name for it. */
  readonly name: string;
  readonly expert: number;
  /** Its first row in the adapter's matrix of the expert. */
  readonly row: number;
}

/**
 * Where a module of experts lies in a base that stores them one by one; `null`: it does not.
 * @param shapeOf a tensor of the base.
 */
export function singleExperts(
  { path, parameters, experts, a, b }: LoraModule,
  names: BaseNames,
  shapeOf: (name: string) => readonly number[] | null,
): SingleExpert[] | null {
  const [out, width] = [b.shape[0]!, a.shape[1]!];
  for (const container of containersOf(path.replaceAll(".base_layer", ""))) {
    for (const [gate, up, down] of NAMES) {
      const found = names.find(`${container}.0.${down}`, "dotted");
      if (found === null) continue;
      const prefix = found.slice(0, -`.0.${down}`.length);
      const named = (expert: number, name: string) => `${prefix}.${expert}.${name}.weight`;
      if (shapeOf(named(experts, down)) !== null || shapeOf(named(experts - 1, down)) === null) return null;
      const all = Array.from({ length: experts }, (_, expert) => expert);
      const ofGate = shapeOf(named(0, gate));
      if (
        parameters.includes("gate_up_proj") &&
        ofGate !== null &&
        sameShape([2 * ofGate[0]!, ofGate[1]!], [out, width])
      ) {
        return all.flatMap((expert) => [
          { name: named(expert, gate), expert, row: 0 },
          { name: named(expert, up), expert, row: out / 2 },
        ]);
      }
      const fitsDown = sameShape(shapeOf(named(0, down))!, [out, width]);
      if (parameters.includes("down_proj") && fitsDown)
        return all.map((expert) => ({ name: named(expert, down), expert, row: 0 }));
    }
  }
  return null;
}

/** The part of a module of experts that belongs to one tensor. */
export function singleExpertTerm(
  applied: Applied,
  module: LoraModule,
  target: Target,
  { expert, row }: SingleExpert,
): Seen {
  const { a, b, rank, scaling, experts, path } = module;
  const [width, rows] = [a.shape[1]!, target.shape[0]!];
  if (target.shape.length !== 2 || target.shape[1] !== width || row + rows > b.shape[0]!) {
    refuseShape(applied, path, a, target, { expected: `[${b.shape[0]! - row}, ${width}] at most` });
  }
  const left = {
    values: applied.values(b, path),
    strides: [0, rank * experts, experts],
    start: row * rank * experts + expert,
  } as const;
  const right = { values: applied.values(a, path), strides: [0, 1, width], start: expert * rank * width } as const;
  return {
    batch: 1,
    rows,
    columns: width,
    term: { kind: "product", scale: applied.weight * scaling, rank, left, right },
  };
}

/** The parameter that a module of one expert is part of; `null`: it is no such module, or the base has no such parameter. */
export function fusedExpert(
  path: string,
  names: BaseNames,
): { readonly name: string; readonly expert: number; readonly part: "gate" | "up" | "down" } | null {
  const [, container, expert, projection] = SINGLE.exec(path) ?? [];
  if (container === undefined) return null;
  const set = NAMES.find((one) => (one as readonly string[]).includes(projection!))!;
  const part = (["gate", "up", "down"] as const)[(set as readonly string[]).indexOf(projection!)]!;
  const parameter = part === "down" ? "down_proj" : "gate_up_proj";
  for (const candidate of containersOf(container)) {
    const found = names.find(candidate, "dotted", parameter);
    if (found !== null) return { name: `${found}.${parameter}`, expert: Number(expert), part };
  }
  return null;
}

/** A module of one expert as rows of one matrix of the parameter. */
export function fusedExpertTerm(
  applied: Applied,
  module: LoraModule,
  target: Target,
  { expert, part }: { readonly expert: number; readonly part: "gate" | "up" | "down" },
): Seen {
  const { a, b, rank, scaling, path } = module;
  const [out, width] = [b.shape[0]!, a.shape[1]!];
  const rows = part === "down" ? out : 2 * out;
  const [experts] = target.shape as [number];
  if (!sameShape(target.shape, [experts, rows, width]) || expert >= experts) {
    refuseShape(applied, path, a, target, {
      expected: `[more than ${expert}, ${rows}, ${width}] (experts, out, in)`,
      advice:
        "fold into a base that stores its experts one by one: where a base stores them otherwise, gates and ups may lie in another order",
    });
  }
  const left = { values: applied.values(b, path), strides: [0, rank, 1] } as const;
  const right = { values: applied.values(a, path), strides: [0, 1, width] } as const;
  const block = { matrix: expert, row: part === "up" ? out : 0, rows: out };
  const term = { kind: "product", scale: applied.weight * scaling, rank, left, right, block } as const;
  return { batch: experts, rows, columns: width, term };
}

import { alongArc } from "../statistics/arc.js";
import type { MixtureMethod } from "./method.js";

/** mergekit's switch to the straight line. */
const MERGEKIT_LINEAR = 0.9995;

export const slerp: MixtureMethod = {
  name: "slerp",
  title: "Spherical linear interpolation between two models",
  paper: { title: "Animating rotation with quaternion curves", authors: "Shoemake", where: "SIGGRAPH 1985" },
  description: `theta = (sin((1-t) phi) a + sin(t phi) b) / sin phi,   cos phi = <a, b> / (|a| |b|)

a and b are a tensor's entries in the two models, each tensor as one vector with an angle of its own. t = 0 gives a, t = 1
gives b. a is the base where one is given (and the recipe then names one model), else the first model. The factors apply
to the tensors as they are, not to their directions, as in every tool that offers this method.

Fine-tunes of one base are nearly parallel, and there the arc and the straight line (1-t) a + t b are the same up to
phi squared. The line is taken where the angle is within 1e-4 of none or of half a turn, where the magnitude of the cosine
is above \`linear_above\`, and, with \`zero: line\`, where a tensor is all zeros and has no direction.

The angle is computed in f64 from inner products over the whole tensor; entry positions at which a or b is not finite are
left out of them. A tensor that one of the two lacks (missing: skip) is taken from the other.`,
  base: "member",
  models: { min: 2, max: 2 },
  parameters: {
    t: { type: "number", default: 0.5, per: "tensor", meaning: "way from the first (0) to the second (1)" },
    linear_above: {
      type: "number",
      default: 1,
      min: 0,
      max: 1,
      per: "tensor",
      meaning: "magnitude of the cosine above which the straight line is taken",
    },
    zero: {
      type: "choice",
      default: "line",
      per: "recipe",
      choices: { line: "the straight line", quarter: "as if at right angles to the other" },
      meaning: "what becomes of a tensor that is all zeros in one model",
    },
  },
  dialects: {
    arc: { meaning: "the arc wherever there is one", values: {} },
    mergekit: {
      meaning: "the straight line already for cosines beyond 0.9995",
      values: { linear_above: MERGEKIT_LINEAR, zero: "quarter" },
    },
  },
  inputs: "weights",
  grain: "mixture",
  counters: {},

  quirk({ global }) {
    if (global.linear_above === MERGEKIT_LINEAR && global.zero === "quarter") return null;
    return `mergekit 0.1.5 takes the straight line where the cosine's magnitude is above ${MERGEKIT_LINEAR}, and the arc of a quarter turn for a tensor of zeros`;
  },

  vectors: () => "tensor",

  mix(gram, { global }) {
    if (gram.vectors === 1) return { base: 0, models: [1] };
    const { t, linear_above: linearAbove, zero } = global;
    const isMember = gram.base === "member";
    const rule = { linearAbove: Number(linearAbove), zero: String(zero) };
    const [first, second] = alongArc(gram, isMember ? 1 : 0, isMember ? 0 : 1, Number(t), rule);
    return isMember ? { base: first, models: [second] } : { base: 0, models: [first, second] };
  },
};

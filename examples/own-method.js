// A merge method in one file. Try it:
//   mergewright merge --use ./examples/own-method.js --method agreement \
//     --base zoo/vision/base zoo/vision/mnist zoo/vision/fashion --exclude 'classifier.*' -p power=2 -o merged
const { fround, abs, pow } = Math;

/** @type {import("mergewright").OwnMethod} */
export default {
  name: "agreement",
  title: "Mean of the changes, damped where they disagree",
  description: `theta = theta_0 + lambda a^power m
m = (w_1 tau_1 + … + w_n tau_n) / n,   a = |w_1 tau_1 + … + w_n tau_n| / (|w_1 tau_1| + … + |w_n tau_n|)`,
  parameters: {
    lambda: { type: "number", default: 1, meaning: "scale of the merged change" },
    power: { type: "number", default: 1, min: 0, meaning: "how much disagreement damps; 0 is the plain mean" },
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model" },
  },
  counters: { opposed: "columns in which the changes cancel to less than half" },

  combine({ count, base, inputs, out, counters }, { scalars, columns }) {
    for (let p = 0; p < count; p++) {
      let sum = 0;
      let size = 0;
      for (const [i, changes] of inputs.entries()) {
        const change = fround(changes[p] * columns.weight[i]);
        sum = fround(sum + change);
        size = fround(size + abs(change));
      }
      const agreement = size === 0 ? 1 : fround(abs(sum) / size);
      if (agreement < 0.5) counters.opposed = (counters.opposed ?? 0) + 1;
      const mean = fround(sum / inputs.length);
      out[p] = base[p] + fround(scalars.lambda * fround(pow(agreement, scalars.power) * mean));
    }
  },
};

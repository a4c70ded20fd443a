import { benchMethod } from "../../../test/laws/support/bench.js";
import type { Known } from "../../methods/method.js";
import { pcb } from "../../methods/pcb.js";

const row = { scores: 100, positive: 50, least: -1, most: 5, ranked: [0.001, 0.02], sum: 0 };
const rows = [row, row, row];
const known: Known = { scores: { magnitude: { per: "model", rows }, score: { per: "model", rows } } };

const pairs = Array.from({ length: 6 }, () => ({ ...row, sum: 120 }));
const paper: Known = {
  scores: {
    product: { per: "pair", rows: pairs },
    likeness: { per: "pair", rows: pairs },
    score: { per: "model", rows },
  },
};

benchMethod(pcb, { variant: "paper" }, paper);
for (const variant of ["es", "readme", "vision"]) benchMethod(pcb, { variant }, known);

import { benchMethod } from "../../../test/laws/support/bench.js";
import type { Known } from "../../methods/method.js";
import { pcb } from "../../methods/pcb.js";

const row = { scores: 100, positive: 50, least: -1, most: 5, ranked: [0.001, 0.02], sum: 0 };
const rows = [row, row, row];
const known: Known = { scores: { magnitude: { per: "model", rows }, score: { per: "model", rows } } };

for (const variant of ["es", "readme", "vision"]) benchMethod(pcb, { variant }, known);

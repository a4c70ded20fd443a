import { benchMethod } from "../../../test/laws/support/bench.js";
import { ties } from "../../methods/ties.js";

const known = { threshold: { thresholds: [0.012, 0.012, 0.012], kept: [0, 0, 0], entries: 0 } };
benchMethod(ties, {}, known);
benchMethod(ties, { weight: 0.5 }, known);

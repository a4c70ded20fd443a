import { benchMethod } from "../../../test/laws/support/bench.js";
import { fisher } from "../../methods/fisher.js";

benchMethod(fisher, {}, { collected: { counts: [256, 256, 256], norms: [1, 2, 3], tensorNorms: [1, 2, 3] } });

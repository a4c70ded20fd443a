import { benchMethod } from "../../../test/laws/support/bench.js";
import { ram } from "../../methods/ram.js";

benchMethod(ram, { epsilon: 0.004 });

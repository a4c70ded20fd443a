import { benchMethod } from "../../../test/laws/support/bench.js";
import { nearswap } from "../../methods/nearswap.js";

benchMethod(nearswap, {});

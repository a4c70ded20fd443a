import { benchMethod } from "../../../test/laws/support/bench.js";
import { consensus } from "../../methods/consensus.js";

benchMethod(consensus, {});

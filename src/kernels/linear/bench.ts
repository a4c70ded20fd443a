import { benchMethod } from "../../../test/laws/support/bench.js";
import { average } from "../../methods/average.js";

benchMethod(average, {});

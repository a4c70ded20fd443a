import { benchMethod } from "../../../test/laws/support/bench.js";
import { magmax } from "../../methods/magmax.js";

benchMethod(magmax, {});

import { benchMethod } from "../../../test/laws/support/bench.js";
import { trainDifference } from "../../methods/train_difference.js";

benchMethod(trainDifference, {});

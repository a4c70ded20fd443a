import { benchMethod } from "../../../test/laws/support/bench.js";
import { taskArithmetic } from "../../methods/task_arithmetic.js";

benchMethod(taskArithmetic, {});

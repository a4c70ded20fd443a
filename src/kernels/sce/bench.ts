import { benchMethod } from "../../../test/laws/support/bench.js";
import { sce } from "../../methods/sce.js";

benchMethod(sce, {});
benchMethod(sce, { select_topk: 0.4 });

import { benchMethod } from "../../../test/laws/support/bench.js";
import { emr } from "../../methods/emr.js";
import { tallMasks } from "../../methods/tall_masks.js";

benchMethod(emr, {});
benchMethod(tallMasks, {});

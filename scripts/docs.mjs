// Writes docs/methods.md from the methods' own declarations.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { methods } from "../dist/src/methods/catalogue.js";
import { methodsPage } from "../dist/src/report/manual.js";

writeFileSync(fileURLToPath(new URL("../docs/methods.md", import.meta.url)), methodsPage(methods));

// Writes src/methods/catalogue.ts: every file in src/methods that exports a method. A new method needs no other edit.
import { readdirSync, readFileSync, writeFileSync, existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import path from "node:path";

const folder = fileURLToPath(new URL("../src/methods", import.meta.url));
const entries = readdirSync(folder)
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
  .flatMap((name) => {
    const text = readFileSync(path.join(folder, name), "utf8");
    const match = /^export const (\w+): (?:Tile|Mixture|Matrix)Method = /m.exec(text);
    return match === null ? [] : [{ identifier: match[1], file: name.replace(/\.ts$/, ".js") }];
  })
  .sort((a, b) => a.file.localeCompare(b.file));

const list = `export const methods: readonly Method[] = [`;
const names = entries.map(({ identifier }) => identifier);
const short = `${list}${names.join(", ")}];`;
// As the formatter has it: in one line where it fits.
const listed = short.length <= 120 ? short : `${list}\n${names.map((name) => `  ${name},\n`).join("")}];`;

const text = `// Written by scripts/catalogue.mjs from the files beside it; not to be edited.
import type { Method } from "./method.js";
${entries.map(({ identifier, file }) => `import { ${identifier} } from "./${file}";`).join("\n")}

/** Every merge method, sorted by file name. */
${listed}

export function findMethod(name: string): Method | undefined {
  return methods.find((method) => method.name === name);
}
`;
const target = path.join(folder, "catalogue.ts");
if (!existsSync(target) || readFileSync(target, "utf8") !== text) writeFileSync(target, text);

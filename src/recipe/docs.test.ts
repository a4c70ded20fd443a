import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { methods } from "../methods/catalogue.js";
import { parseRecipe } from "./native.js";
import { overrideRecipe } from "./options.js";

/** The folder of package.json above the compiled test. */
function root(): string {
  let folder = import.meta.dirname;
  while (!existsSync(path.join(folder, "package.json"))) folder = path.dirname(folder);
  return folder;
}

const page = readFileSync(path.join(root(), "docs", "recipes.md"), "utf8");

describe("docs/recipes.md", () => {
  const examples = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text]) => text!);

  it("has recipes that parse", () => {
    assert.equal(examples.length, 10);
    for (const text of examples) parseRecipe(text, { methods });
  });

  it("shows every key, and with its default where the table says so", () => {
    const [smallest, complete] = examples.map((text) => parseRecipe(text, { methods }));
    for (const [, key] of page.matchAll(/^\| `([\w.]+)` \| .* \| .* \|$/gm)) {
      assert.ok(Object.hasOwn(complete!.positions, key!), `${key} is in the table but not in the example`);
    }
    const { heads, missing, seed, output, exclude } = smallest!;
    assert.deepEqual(
      [heads, missing, seed, output, exclude],
      ["base", "error", 0, { dtype: null, shardSize: 5e9 }, []],
    );
  });

  it("shows assignments that work", () => {
    const assignments = page.slice(page.indexOf("## Flags"), page.indexOf("## YAML"));
    const parameters = [...assignments.matchAll(/^\| `(\S+=\S+)` \|/gm)].map(([, text]) => text!);
    assert.equal(parameters.length, 5);
    const file = "method: ties\nbase: b\nmodels: [fashion, mnist]\n";
    overrideRecipe(
      file,
      { parameters, rescale: "norm", dare: ["0.9", "rescale=false", "mnist.drop=0.5", "drop@*.mlp.*=0.5"] },
      { methods },
    );
    const prune = ["magnitude", "density=0.2", "mnist.density=0.5", "density@*.mlp.*=0.5"];
    overrideRecipe(file, { prune, rescale: "inverse" }, { methods });
  });
});

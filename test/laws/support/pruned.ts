/** The models by which methods that prune are computed by hand. */
import { after } from "node:test";
import { Folder, merge, tensor } from "./family.js";

/** Changes of the tensors v and w; a third, s, has one entry. */
export const V = [5, -4, 3, -2, 1];
export const W = [-1, 40, -20, 10, 10];
const folder = new Folder();
after(() => folder.remove());

const write = (name: string, by: number) =>
  folder.write(
    name,
    [V, W, [1]].map((values, index) =>
      tensor(
        "vws"[index]!,
        values.map((x) => by * x),
      ),
    ),
  );

/** One model with these changes from zeros and, where `second` is given, another with so many times them. */
export async function runPruned(method: string, parameters: object, second: number | null = null, dialect = "paper") {
  const models = [write("one", 1), ...(second === null ? [] : [write("two", second)])];
  const merged = await merge({ method, dialect, parameters, base: write("base", 0), models }, { out: folder.fresh() });
  // Adding zero makes of minus zero what the base made of it.
  const values = (name: string) => [...merged.values(name)].map((x) => x + 0);
  return { v: values("v"), w: values("w"), s: values("s") };
}

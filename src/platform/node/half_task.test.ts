/** A task for the tests of crews, in a module that threads can load without running tests. */
import { algebraTask } from "../../algebra/crew.js";

/** Half of an even number, after a while; an error for an odd one. */
export const halfTask = algebraTask(import.meta.url, "halfTask", async (_, value: number) => {
  if (value % 2 !== 0) throw new RangeError(`${value} is odd`);
  await new Promise((resolve) => setTimeout(resolve, value % 7));
  return value / 2;
});

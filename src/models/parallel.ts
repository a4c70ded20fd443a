const AT_ONCE = 8;

/** Like `Promise.all` over a map, with a few calls under way at a time; the error of the first failing item, in order. */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  call: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const settled: PromiseSettledResult<Result>[] = [];
  let next = 0;
  let failed = false;
  async function lane(): Promise<void> {
    while (next < items.length && !failed) {
      const at = next++;
      try {
        settled[at] = { status: "fulfilled", value: await call(items[at]!) };
      } catch (reason) {
        settled[at] = { status: "rejected", reason };
        failed = true;
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return settled.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}

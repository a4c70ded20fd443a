/** Works on items in order, so many at a time; each lane has a number. */
export async function eachInLanes<T>(
  items: readonly T[],
  lanes: number,
  work: (item: T, lane: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async (index: number) => {
    try {
      while (next < items.length) await work(items[next++]!, index);
    } catch (error) {
      next = items.length;
      throw error;
    }
  };
  // A failure is told when every lane has stopped, so that nothing goes on behind it.
  const ends = await Promise.allSettled(Array.from({ length: lanes }, (_, index) => lane(index)));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

/**
 * Milliseconds of processor time that a synchronous piece of work takes in this process. Bounds on it find work that
 * explodes without failing where the machine is busy.
 */
export function processorTime(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

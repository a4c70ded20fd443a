import { MergewrightError } from "../errors.js";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Runs `work`, which a signal ends early: the promise is rejected at once and the caller ends the process, since
 * threads may still be at work.
 * @param stopped puts things in order; what it returns is the advice to the user.
 */
export function interruptible<T>(work: () => Promise<T>, stopped: () => string): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (signal: NodeJS.Signals) => {
      const advice = stopped();
      reject(new MergewrightError(`stopped by ${signal}`, { kind: "environment", code: "interrupted", advice }));
    };
    for (const signal of SIGNALS) process.once(signal, stop);
    work()
      .finally(() => {
        for (const signal of SIGNALS) process.off(signal, stop);
      })
      .then(resolve, reject);
  });
}

import { spawn } from "node:child_process";
import type { Finished, RunCommand } from "../../evaluate/platform.js";

/** Characters kept of what a program prints: its end. */
const KEPT = 1 << 16;

/** A list of words is started as it is, a text is a line for the shell. */
export const runCommand: RunCommand = (command, { timeout, variables }) =>
  new Promise((resolve) => {
    const [file, ...words] = typeof command === "string" ? [command] : command;
    const child = spawn(file!, words, {
      env: { ...process.env, ...variables },
      shell: typeof command === "string",
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that what it starts ends with it.
      detached: process.platform !== "win32",
    });
    const end = () => {
      try {
        if (process.platform === "win32" || child.pid === undefined) child.kill("SIGKILL");
        else process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended already.
      }
    };
    process.once("exit", end);
    let timedOut = false;
    const texts = { stdout: "", stderr: "" };
    const finish = (ended: Finished["ended"], status: string) => {
      clearTimeout(timer);
      process.removeListener("exit", end);
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ ended: timedOut ? "timeout" : ended, status, ...texts });
    };
    const timer = setTimeout(() => {
      timedOut = true;
      end();
      // What it started may have left its group and hold the pipes open.
      setTimeout(() => finish("timeout", "SIGKILL"), 1000).unref();
    }, timeout * 1000);
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        texts[name] = (texts[name] + text).slice(-KEPT);
      });
    }
    child.once("error", (error) => finish("not-started", error.message));
    child.once("close", (code, signal) => finish(signal === null ? "exit" : "signal", signal ?? String(code)));
  });

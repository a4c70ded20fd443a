import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { constants, devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it, mock } from "node:test";
import { rejects, sourceContract } from "../../../test/contracts/source.js";
import { fileSink, fileSource, systemError, writeAll } from "./files.js";

let folder: string;
const path = (name: string) => join(folder, name);

before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), "mergewright-files-"));
});

after(() => fs.rmSync(folder, { recursive: true }));

afterEach(() => {
  mock.restoreAll();
  syncBuiltinESMExports();
});

/** Replaces a function of node:fs for one test. */
function pretend<Name extends "readSync" | "writeSync" | "fdatasyncSync" | "closeSync">(
  name: Name,
  implementation: (original: (typeof fs)[Name]) => (typeof fs)[Name],
): void {
  mock.method(fs, name, implementation(fs[name]));
  syncBuiltinESMExports();
}

sourceContract("a local file", (bytes) => {
  fs.writeFileSync(path("contract"), bytes);
  return { source: fileSource(path("contract")) };
});

sourceContract("a link to a local file", (bytes) => {
  fs.writeFileSync(path("blob"), bytes);
  fs.rmSync(path("link"), { force: true });
  fs.symlinkSync("blob", path("link"));
  return { source: fileSource(path("link")) };
});

describe("a local file as a source", () => {
  it("is identified by size and time of change in nanoseconds, and found by its real path", () => {
    fs.writeFileSync(path("a"), "abc");
    fs.utimesSync(path("a"), 1_700_000_000.25, 1_700_000_000.25);
    fs.symlinkSync("a", path("to-a"));
    const source = fileSource(path("to-a"), "as written");
    assert.deepEqual(source.stamp, { size: 3, version: "1700000000250000000" });
    assert.deepEqual(source.address, { kind: "file", path: fs.realpathSync(path("a")) });
    assert.equal(source.label, "as written");
    void source.close();
  });

  it("is read to the end where the system gives less than asked for", async () => {
    fs.writeFileSync(
      path("short"),
      Uint8Array.from({ length: 100 }, (_, index) => index),
    );
    pretend(
      "readSync",
      (original) =>
        ((descriptor: number, into: NodeJS.ArrayBufferView, ...rest: number[]) =>
          original(descriptor, into, rest[0]!, Math.min(rest[1]!, 7), rest[2]!)) as typeof fs.readSync,
    );
    const source = fileSource(path("short"));
    const into = new Uint8Array(50);
    await source.read(20, into);
    assert.deepEqual(
      into,
      Uint8Array.from({ length: 50 }, (_, index) => 20 + index),
    );
    void source.close();
  });

  it("is noticed to be cut short", async () => {
    fs.writeFileSync(path("cut"), "0123456789");
    const source = fileSource(path("cut"));
    fs.truncateSync(path("cut"), 4);
    const error = await rejects("input/changed", () => source.read(2, new Uint8Array(5)));
    assert.match(error.message, /10 bytes.*4 bytes/s);
    void source.close();
  });

  it("that is not there is one that vanished", async () => {
    const error = await rejects("input/vanished", () => fileSource(path("nothing")));
    assert.equal(error.kind, "environment");
    assert.equal(error.where.file, path("nothing"));
  });

  it("is neither a folder nor a pipe", async () => {
    assert.match((await rejects("io/read", () => fileSource(folder))).message, /a folder/);
    execFileSync("mkfifo", [path("pipe")]);
    assert.match((await rejects("io/read", () => fileSource(path("pipe")))).message, /pipe/);
    assert.match((await rejects("io/read", () => fileSource(devNull))).message, /device/);
  });

  it("reports a failing disk", async () => {
    fs.writeFileSync(path("bad"), "abc");
    const source = fileSource(path("bad"));
    pretend("readSync", () => () => {
      throw Object.assign(new Error("EIO: i/o error, read"), { code: "EIO" });
    });
    const error = await rejects("io/read", () => source.read(0, new Uint8Array(3)));
    assert.equal(error.kind, "environment");
    assert.match(error.message, /EIO.*continues where it stopped/s);
    void source.close();
  });
});

describe("a local file as a sink", () => {
  it("has its size at once, takes bytes anywhere, and is continued without losing any", () => {
    const first = fileSink(path("out"), "create", 10);
    assert.equal(fs.statSync(path("out")).size, 10);
    first.write(8, Uint8Array.of(9, 10));
    first.write(0, Uint8Array.of(1));
    first.write(10, new Uint8Array(0));
    first.flush();
    first.close();
    first.close();
    const second = fileSink(path("out"), "continue", 10);
    second.write(1, Uint8Array.of(2));
    second.close();
    assert.deepEqual([...fs.readFileSync(path("out"))], [1, 2, 0, 0, 0, 0, 0, 0, 9, 10]);
  });

  it("is emptied when it is created again", () => {
    fs.writeFileSync(path("again"), "old bytes that are longer");
    fileSink(path("again"), "create", 3).close();
    assert.deepEqual([...fs.readFileSync(path("again"))], [0, 0, 0]);
  });

  it("takes bytes from shared WebAssembly memory", () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const view = new Uint8Array(memory.buffer, 64, 3);
    view.set([7, 8, 9]);
    const sink = fileSink(path("shared"), "create", 3);
    sink.write(0, view);
    sink.close();
    assert.deepEqual([...fs.readFileSync(path("shared"))], [7, 8, 9]);
  });

  it("is written to the end where the system takes less than it is given", () => {
    pretend(
      "writeSync",
      (original) =>
        ((descriptor: number, bytes: NodeJS.ArrayBufferView, ...rest: number[]) =>
          original(descriptor, bytes, rest[0], Math.min(rest[1]!, 3), rest[2])) as typeof fs.writeSync,
    );
    const sink = fileSink(path("slow"), "create", 12);
    sink.write(
      2,
      Uint8Array.from({ length: 10 }, (_, index) => index + 1),
    );
    sink.close();
    assert.deepEqual([...fs.readFileSync(path("slow"))], [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  for (const [offset, length] of [
    [10, 1],
    [9, 2],
    [-1, 1],
    [0.5, 1],
  ] as const) {
    it(`refuses ${length} bytes at ${offset} of 10`, async () => {
      const sink = fileSink(path("fixed"), "create", 10);
      await rejects("io/write", () => sink.write(offset, new Uint8Array(length)));
      sink.close();
      assert.equal(fs.statSync(path("fixed")).size, 10);
    });
  }

  it("refuses to write after it was closed", async () => {
    const sink = fileSink(path("closed"), "create", 10);
    sink.close();
    await rejects("io/write", () => sink.write(0, new Uint8Array(1)));
    await rejects("io/write", () => sink.flush());
  });

  it("needs its folder", async () => {
    await rejects("io/write", () => fileSink(path("no/such/folder"), "create", 1));
    await rejects("io/write", () => fileSink(path("not-there"), "continue", 1));
    await rejects("io/write", () => fileSink(folder, "create", 1));
  });

  it("reports a full disk, and that the work can go on", async () => {
    // Linux has a device that is always full.
    const full = process.platform === "linux" ? fs.openSync("/dev/full", "w") : null;
    if (full === null) {
      pretend("writeSync", () => () => {
        throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
      });
    }
    const error = await rejects("io/disk-full", () => writeAll(full ?? 1, "out.safetensors", 0, new Uint8Array(10)));
    if (full !== null) fs.closeSync(full);
    assert.equal(error.kind, "environment");
    assert.equal(error.where.file, "out.safetensors");
    assert.match(error.message, /ENOSPC.*free some space.*continues where it stopped/s);
  });

  it("reports a flush and a close that fail", async () => {
    const sink = fileSink(path("flush"), "create", 1);
    pretend("fdatasyncSync", () => () => {
      throw Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" });
    });
    await rejects("io/write", () => sink.flush());
    pretend("closeSync", (original) => (descriptor) => {
      original(descriptor);
      throw Object.assign(new Error("EDQUOT"), { code: "Unknown system error -122", errno: -constants.errno.EDQUOT });
    });
    await rejects("io/disk-full", () => sink.close());
    // The descriptor is not closed a second time: it may be another file's by then.
    sink.close();
  });
});

describe("a failed system call", () => {
  const cases = [
    { code: "ENOSPC", read: "io/disk-full", write: "io/disk-full" },
    { code: "EIO", read: "io/read", write: "io/write" },
    { code: "ESTALE", read: "io/read", write: "io/write" },
    { code: "EACCES", read: "io/read", write: "io/write" },
    { code: "EPERM", read: "io/read", write: "io/write" },
    { code: "EROFS", read: "io/read", write: "io/write" },
    { code: "EFBIG", read: "io/read", write: "io/write" },
    { code: "EMFILE", read: "io/read", write: "io/write" },
    { code: "ENOENT", read: "input/vanished", write: "io/write" },
    { code: "ESOMETHING", read: "io/read", write: "io/write" },
  ] as const;
  for (const { code, read, write } of cases) {
    it(`with ${code} is ${read} or ${write}, with advice, and may pass`, () => {
      for (const action of ["read", "write"] as const) {
        const error = systemError(action, "x", Object.assign(new Error(`${code}: reason`), { code }));
        assert.equal(error.code, action === "read" ? read : write);
        assert.equal(error.kind, "environment");
        assert.ok(error.advice!.length > 0);
        assert.match(error.found!, /reason/);
      }
    });
  }
});

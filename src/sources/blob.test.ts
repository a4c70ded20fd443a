import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { rejects, sourceContract } from "../../test/contracts/source.js";
import { blobSource } from "./blob.js";

sourceContract("a blob", (bytes) => ({ source: blobSource(new Blob([bytes.slice()])) }));
sourceContract("a blob of several parts", (bytes) => ({
  source: blobSource(new Blob([bytes.slice(0, 1000), bytes.slice(1000)]), "upload"),
}));

/** A blob whose content can no longer be read. */
class BrokenBlob extends Blob {
  constructor(private readonly reason: unknown) {
    super([new Uint8Array(10)]);
  }

  override slice(): Blob {
    const { reason } = this;
    return Object.assign(new Blob(), { arrayBuffer: () => Promise.reject(reason) });
  }
}

describe("a blob as a source", () => {
  it("takes name and time of change from a file", () => {
    const file = Object.assign(new Blob(["abc"]), { name: "model.safetensors", lastModified: 1_700_000_000_123 });
    const source = blobSource(file);
    assert.equal(source.label, "model.safetensors");
    assert.deepEqual(source.stamp, { size: 3, version: "1700000000123000000" });
    assert.equal(source.address, null);
  });

  const failures = [
    { reason: new DOMException("gone", "NotFoundError"), code: "input/vanished" },
    { reason: new DOMException("newer", "NotReadableError"), code: "input/changed" },
    { reason: new Error("surprise"), code: "io/read" },
  ] as const;
  for (const { reason, code } of failures) {
    it(`turns ${reason.name} into ${code}`, async () => {
      await rejects(code, () => blobSource(new BrokenBlob(reason), "x").read(0, new Uint8Array(1)));
    });
  }
});

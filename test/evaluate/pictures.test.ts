/** Picture files and filters, held to Pillow's pixels; fixtures by peers/data_fixtures.py. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { MergewrightError } from "../../src/errors.js";
import { decodePicture, type Picture } from "../../src/evaluate/images/picture.js";
import { preprocess, usualPreprocessing } from "../../src/evaluate/images/preprocess.js";
import { resize } from "../../src/evaluate/images/resize.js";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import { evaluatePlatform } from "../../src/platform/node/evaluate.js";
import { root } from "../cli/support.js";

const fixtures = JSON.parse(readFileSync(path.join(root, "test/evaluate/fixtures/pictures.json"), "utf8"));
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
const [task] = parseTasks("tasks: [{name: t, type: image-classification, data: d}]");
const decode = (bytes: Uint8Array) => decodePicture(task!, { file: "p" }, bytes, evaluatePlatform);

describe("picture files", () => {
  for (const [name, expected] of Object.entries<Record<string, never>>(fixtures.pictures)) {
    it(`${name}: pixels as Pillow's`, async () => {
      const picture = await decode(bytesOf(expected["file"]!));
      const grey = expected["mode"] === "L";
      const { data } = preprocess(picture, grey ? 1 : 3, usualPreprocessing(UNKNOWN));
      const wanted = bytesOf(expected["pixels"]!);
      assert.deepEqual([picture.width, picture.height], expected["size"]);
      assert.equal(data.length, wanted.length);
      assert.deepEqual([...data], [...wanted]);
    });
  }

  it("reads a picture in the middle of other bytes, where Node's own buffers share memory", async () => {
    for (const kind of ["colour", "jpeg"]) {
      const file = bytesOf(fixtures.pictures[kind].file);
      const inside = Buffer.concat([new Uint8Array(100), file, new Uint8Array(7)]).subarray(100, 100 + file.length);
      assert.deepEqual(await decode(inside), await decode(file));
    }
  });

  it("refuses what is none, and files that are cut, by name", async () => {
    const refused = async (bytes: Uint8Array) => {
      const error = await decode(bytes).catch((caught: unknown) => caught);
      assert.ok(error instanceof MergewrightError && error.code === "tasks/data", String(error));
      assert.equal(error.where?.file, "p");
    };
    await refused(new Uint8Array());
    await refused(new TextEncoder().encode("GIF89a"));
    const png = bytesOf(fixtures.pictures.colour.file);
    for (const length of [9, 30, 200, png.length - 20]) await refused(png.slice(0, length));
    const huge = png.slice();
    new DataView(huge.buffer).setUint32(16, 1 << 30);
    await refused(huge);
  });

  it("never fails in another way on damaged files", async () => {
    for (const kind of ["colour", "palette", "jpeg", "jpeg-progressive"]) {
      const whole = bytesOf(fixtures.pictures[kind].file);
      await fc.assert(
        fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
          const bytes = whole.slice();
          bytes[at]! ^= flip;
          const result: unknown = await decode(bytes).catch((error: unknown) => error);
          assert.ok(!(result instanceof Error) || result instanceof MergewrightError, String(result));
        }),
        { numRuns: 60, seed: 1 },
      );
    }
  });
});

const UNKNOWN = { channels: null, height: null, width: null };
describe("resizing", () => {
  it("gives Pillow's bytes for every filter, larger and smaller, grey and colour", () => {
    for (const { mode, before, after, resample, from, to } of fixtures.resized) {
      if (mode === "luma") continue;
      const channels = mode === "L" ? 1 : 3;
      const picture: Picture = { width: before[0], height: before[1], channels, data: bytesOf(from) };
      const resized = resize(picture, after[0], after[1], resample);
      assert.deepEqual([...resized.data], [...bytesOf(to)], `${mode} ${resample} ${before} -> ${after}`);
    }
  });

  it("grey is Pillow's luma", () => {
    const { from, to } = fixtures.resized.find(({ mode }: { mode: string }) => mode === "luma");
    const picture: Picture = { width: 16, height: 16, channels: 3, data: bytesOf(from) };
    assert.deepEqual([...preprocess(picture, 1, usualPreprocessing(UNKNOWN)).data], [...bytesOf(to)]);
  });

  it("the shorter side first, then the centre: the sides of CLIP's preprocessor", () => {
    const data = Uint8Array.from({ length: 40 * 20 }, (_, at) => 6 * (at % 40));
    const how = { ...usualPreprocessing(UNKNOWN), crop: { height: 8, width: 8 } };
    const resized = { to: { shortest: 10 }, resample: "bilinear" } as const;
    const {
      width,
      height,
      data: cut,
    } = preprocess({ width: 40, height: 20, channels: 1, data }, 1, {
      ...how,
      resize: resized,
    });
    assert.deepEqual([width, height], [8, 8]);
    // 20 columns of 10 rows are left; of those the middle eight, symmetric about the middle of a ramp.
    for (let x = 0; x < 8; x++) assert.ok(Math.abs(cut[x]! + cut[7 - x]! - 6 * 39) <= 1);
  });
});

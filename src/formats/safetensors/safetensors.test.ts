import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { rejects } from "../../../test/contracts/source.js";
import {
  DTYPE_BYTES,
  isDtype,
  layoutHeader,
  memorySink,
  memorySource,
  parseHeader,
  readHeader,
  readTensor,
  SafetensorsWriter,
  shardTensors,
  streamTensor,
  type ByteSink,
  type ByteSource,
  type TensorSpec,
} from "./index.js";

const SEEDED = { seed: 20_251 };

const dtypes = fc.constantFrom(...Object.keys(DTYPE_BYTES).filter(isDtype));
/** Names of any characters that UTF-8 can hold. */
const text = fc.string({ unit: "grapheme", maxLength: 20 });
const names = fc
  .oneof(text, fc.constantFrom("__proto__", "constructor", "0", "10", ""))
  .filter((name) => name !== "__metadata__");
const specs: fc.Arbitrary<TensorSpec[]> = fc.uniqueArray(
  fc.record({ name: names, dtype: dtypes, shape: fc.array(fc.nat(5), { maxLength: 4 }) }),
  { selector: ({ name }) => name, maxLength: 12 },
);
const metadata = fc.dictionary(fc.oneof(text, fc.constant("__proto__")), text, { maxKeys: 5 });

function asText(header: Uint8Array): string {
  return new TextDecoder().decode(header.subarray(8));
}

describe("a safetensors file", () => {
  it("comes back as it was written", async () => {
    await fc.assert(
      fc.asyncProperty(specs, metadata, fc.integer({ min: 1, max: 50 }), async (tensors, about, chunk) => {
        const layout = layoutHeader(tensors, about);
        const sink = memorySink(layout.fileSize);
        const writer = new SafetensorsWriter(sink, layout);
        for (const [seed, { name, length }] of layout.tensors.entries()) {
          for (let at = 0; at < length; at += chunk)
            await writer.write(name, data(seed, at, Math.min(chunk, length - at)), at);
        }
        await writer.close();

        const source = memorySource(sink.bytes);
        const header = await readHeader(source);
        assert.deepEqual({ ...header.metadata }, { ...about });
        assert.deepEqual(new Set(header.tensors), new Set(layout.tensors));
        assert.equal(header.dataStart, layout.header.length);
        for (const [seed, entry] of layout.tensors.entries()) {
          assert.deepEqual(await readTensor(source, entry), data(seed, 0, entry.length));
        }
      }),
      { ...SEEDED, numRuns: 200 },
    );
  });

  it("is streamed in pieces that hold whole entries", async () => {
    const bytes = data(1, 0, 1000);
    const source = memorySource(bytes);
    for (const [chunkBytes, sizes] of [
      [100, [96, 96, 96, 96, 96, 20]],
      [1, Array<number>(62).fill(8).concat(4)],
      [1 << 20, [500]],
    ] as const) {
      const pieces: Uint8Array[] = [];
      for await (const piece of streamTensor(source, { offset: 3, length: 500 }, chunkBytes)) pieces.push(piece);
      assert.deepEqual(
        pieces.map(({ length }) => length),
        sizes,
      );
      assert.deepEqual(Buffer.concat(pieces), Buffer.from(bytes.subarray(3, 503)));
    }
    for await (const piece of streamTensor(source, { offset: 3, length: 0 })) assert.fail(`a piece of ${piece.length}`);
  });

  it("has a hash of its header alone", () => {
    const spec = [{ name: "a", dtype: "F32", shape: [1] }] as const;
    const layout = layoutHeader(spec);
    const file = new Uint8Array(layout.fileSize);
    file.set(layout.header);
    const { hash } = parseHeader(file);
    assert.match(hash, /^[0-9a-f]{16}$/);
    file[layout.fileSize - 1] = 7;
    assert.equal(parseHeader(file).hash, hash);
    const other = layoutHeader([{ ...spec[0], name: "b" }]);
    assert.notEqual(parseHeader(other.header, { fileSize: other.fileSize }).hash, hash);
  });

  it("is read with one request where the header is short, with two where it is long", async () => {
    for (const [count, requests] of [
      [3, 1],
      [3000, 2],
    ] as const) {
      const tensors = Array.from({ length: count }, (_, index) => ({
        name: `t${index}`,
        dtype: "U8" as const,
        shape: [1],
      }));
      const layout = layoutHeader(tensors);
      const file = new Uint8Array(layout.fileSize);
      file.set(layout.header);
      const counting = countReads(memorySource(file));
      assert.equal((await readHeader(counting.source)).tensors.length, count);
      assert.equal(counting.reads, requests);
    }
  });

  it("is not given a header that no reader takes", async () => {
    await rejects("safetensors/limit", () => layoutHeader([{ name: "n".repeat(100_000_000), dtype: "U8", shape: [] }]));
  });
});

describe("layoutHeader", () => {
  it("writes these bytes", () => {
    const { header, tensors, fileSize } = layoutHeader(
      [
        { name: "b", dtype: "F32", shape: [2, 3] },
        { name: 'a"\n', dtype: "BF16", shape: [] },
      ],
      { z: "1", format: "pt" },
    );
    assert.equal(
      asText(header),
      '{"__metadata__":{"format":"pt","z":"1"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},' +
        '"a\\"\\n":{"dtype":"BF16","shape":[],"data_offsets":[24,26]}}     ',
    );
    assert.deepEqual([...header.subarray(0, 8)], [160, 0, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual(
      tensors.map(({ offset, length }) => [offset, length]),
      [
        [168, 24],
        [192, 2],
      ],
    );
    assert.equal(fileSize, 194);
  });

  it("begins the data at a multiple of 8, in the order given", () => {
    fc.assert(
      fc.property(specs, metadata, (tensors, about) => {
        const { header, tensors: entries } = layoutHeader(tensors, about);
        assert.equal(header.length % 8, 0);
        assert.deepEqual(
          entries.map(({ name }) => name),
          tensors.map(({ name }) => name),
        );
      }),
      SEEDED,
    );
  });

  it("does not depend on the order of the metadata", () => {
    const [a, b] = [
      { x: "1", y: "2" },
      { y: "2", x: "1" },
    ].map((about) => layoutHeader([], about).header);
    assert.deepEqual(a, b);
  });

  const wrong: readonly { title: string; tensors: TensorSpec[]; about?: Record<string, string> }[] = [
    { title: "two tensors of one name", tensors: [spec("a", [1]), spec("a", [2])] },
    { title: "a tensor named __metadata__", tensors: [spec("__metadata__", [1])] },
    { title: "a negative dimension", tensors: [spec("a", [-1])] },
    { title: "half a dimension", tensors: [spec("a", [0.5])] },
    { title: "more than 2^53 bytes in a tensor", tensors: [spec("a", [2 ** 50, 2])] },
    { title: "more than 2^53 bytes in a file", tensors: [spec("a", [2 ** 50]), spec("b", [2 ** 50]), spec("c", [1])] },
    { title: "half a surrogate pair in a name", tensors: [spec("\ud800", [1])] },
    { title: "half a surrogate pair in the metadata", tensors: [], about: { a: "\udc00" } },
  ];
  for (const { title, tensors, about } of wrong) {
    it(`refuses ${title}`, async () => {
      await rejects("safetensors/write", () => layoutHeader(tensors, about));
    });
  }
});

describe("SafetensorsWriter", () => {
  const tensors = [spec("a", [4]), spec("b", [0])];

  function start(sink: Partial<ByteSink> = {}) {
    let written: ReturnType<typeof memorySink> | null = null;
    const writer = SafetensorsWriter.create((size) => {
      written = memorySink(size, "out");
      return { ...written, ...sink };
    }, tensors);
    return { writer, bytes: () => written!.bytes };
  }

  it("takes a tensor's bytes in any order, each once", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], { minLength: 17 }),
        async (order) => {
          const { writer, bytes } = start();
          for (const [step, at] of order.entries()) {
            const part = Uint8Array.of(at).subarray(0, at < 16 ? 1 : 0);
            await writer.write("a", part, at);
            if (part.length > 0 && step % 5 === 0)
              await rejects("safetensors/write", () => writer.write("a", part, at));
          }
          await writer.close();
          assert.deepEqual(
            [...bytes().subarray(-16)],
            order.filter((at) => at < 16).sort((a, b) => a - b),
          );
        },
      ),
      { ...SEEDED, numRuns: 50 },
    );
  });

  it("refuses bytes that overlap earlier ones on either side", async () => {
    const { writer } = start();
    await writer.write("a", new Uint8Array(4), 6);
    for (const [at, length] of [
      [0, 7],
      [9, 7],
      [0, 16],
      [7, 1],
    ] as const) {
      await rejects("safetensors/write", () => writer.write("a", new Uint8Array(length), at));
    }
    await writer.write("a", new Uint8Array(6), 0);
    await writer.write("a", new Uint8Array(6), 10);
    await writer.close();
  });

  it("leaves no header in a file that is not complete", async () => {
    const { writer, bytes } = start();
    await writer.write("a", new Uint8Array(8), 8);
    const error = await rejects("safetensors/write", () => writer.close());
    assert.match(error.message, /out, tensor a.*16 bytes.*nothing at byte 0/s);
    assert.deepEqual(bytes().subarray(0, 8), new Uint8Array(8));
    await writer.write("a", new Uint8Array(7), 0);
    assert.match((await rejects("safetensors/write", () => writer.close())).message, /nothing at byte 7/);
    await writer.write("a", new Uint8Array(1), 7);
    await writer.close();
    assert.equal(parseHeader(bytes()).tensors.length, 2);
    await writer.close();
    await rejects("safetensors/write", () => writer.write("b", new Uint8Array(0)));
  });

  const wrong = [
    { title: "an unknown tensor", name: "c", at: 0, length: 1 },
    { title: "a place past the end", name: "a", at: 16, length: 1 },
    { title: "bytes across the end", name: "a", at: 15, length: 2 },
    { title: "a negative place", name: "a", at: -1, length: 1 },
    { title: "bytes for an empty tensor", name: "b", at: 0, length: 1 },
  ];
  for (const { title, name, at, length } of wrong) {
    it(`refuses ${title}`, async () => {
      await rejects("safetensors/write", () => start().writer.write(name, new Uint8Array(length), at));
    });
  }

  it("lets bytes be written again whose write failed", async () => {
    let failures = 1;
    const { writer } = start({
      write() {
        if (failures-- > 0) throw new Error("no");
      },
    });
    await writer.write("a", new Uint8Array(0), 16);
    await assert.rejects(() => writer.write("a", new Uint8Array(16)), /no/);
    await writer.write("a", new Uint8Array(16));
    await writer.close();
  });

  it("is not closed under a write", async () => {
    const finish: (() => void)[] = [];
    const { writer } = start({ write: () => new Promise<void>((resolve) => void finish.push(resolve)) });
    const writing = writer.write("a", new Uint8Array(16));
    await rejects("safetensors/write", () => writer.close());
    for (const resolve of finish) resolve();
    await writing;
  });
});

describe("shardTensors", () => {
  const many = ["b", "c", "a", "10", "9"].map((name) => spec(name, [2]));

  it("puts everything that fits into one file without an index", () => {
    for (const tensors of [many, []]) {
      assert.deepEqual(shardTensors(tensors, 40), { files: [{ name: "model.safetensors", tensors }], index: null });
    }
  });

  it("fills files in order and writes the index sorted", () => {
    const { files, index } = shardTensors(many, 20);
    assert.deepEqual(
      files.map(({ name, tensors }) => [name, tensors.map((tensor) => tensor.name).join()]),
      [
        ["model-00001-of-00003.safetensors", "b,c"],
        ["model-00002-of-00003.safetensors", "a,10"],
        ["model-00003-of-00003.safetensors", "9"],
      ],
    );
    assert.equal(index?.name, "model.safetensors.index.json");
    assert.equal(
      index?.text,
      `{
  "metadata": {
    "total_size": 40
  },
  "weight_map": {
    "10": "model-00002-of-00003.safetensors",
    "9": "model-00003-of-00003.safetensors",
    "a": "model-00002-of-00003.safetensors",
    "b": "model-00001-of-00003.safetensors",
    "c": "model-00001-of-00003.safetensors"
  }
}
`,
    );
  });

  it("gives a tensor that is too large a file of its own", () => {
    const { files } = shardTensors(
      [spec("small", [1]), spec("large", [100]), spec("empty", [0]), spec("last", [1])],
      8,
    );
    assert.deepEqual(
      files.map(({ tensors }) => tensors.map(({ name }) => name).join()),
      ["small", "large", "empty,last"],
    );
  });

  it("refuses a tensor that no file can hold", async () => {
    await rejects("safetensors/limit", () => shardTensors([spec("a", [2 ** 50, 16])], 8));
  });

  it("never passes the limit with more than one tensor, and loses nothing", () => {
    fc.assert(
      fc.property(specs, fc.integer({ min: 1, max: 2000 }), (tensors, maxBytes) => {
        const { files, index } = shardTensors(tensors, maxBytes);
        assert.deepEqual(
          files.flatMap((file) => file.tensors),
          tensors,
        );
        for (const file of files) {
          const { tensors: entries } = layoutHeader(file.tensors);
          const size = entries.reduce((sum, { length }) => sum + length, 0);
          assert.ok(size <= maxBytes || entries.filter(({ length }) => length > 0).length === 1);
        }
        if (index !== null) {
          const parsed = JSON.parse(index.text) as { weight_map: Record<string, string> };
          const expected = files.flatMap(({ name, tensors: inside }) =>
            inside.map((tensor) => [tensor.name, name] as const),
          );
          assert.deepEqual(
            new Map(Object.entries(parsed.weight_map)),
            new Map(expected.sort(([a], [b]) => order(parsed, a, b))),
          );
        }
      }),
      SEEDED,
    );
  });
});

function order({ weight_map: map }: { weight_map: Record<string, string> }, a: string, b: string): number {
  const keys = Object.keys(map);
  return keys.indexOf(a) - keys.indexOf(b);
}

function spec(name: string, shape: number[]): TensorSpec {
  return { name, dtype: "F32", shape };
}

function data(seed: number, from: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (seed * 37 + (from + index) * 11) & 0xff);
}

function countReads(inner: ByteSource): { source: ByteSource; reads: number } {
  const counting = {
    reads: 0,
    source: {
      ...inner,
      read(offset: number, into: Uint8Array) {
        counting.reads++;
        return inner.read(offset, into);
      },
    },
  };
  return counting;
}

/** Whatever the bytes, the answer is a header that can be written again, or one of our errors; never anything else. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import { layoutHeader, parseHeader, type SafetensorsHeader } from "../../src/formats/safetensors/index.js";
import { rawFile } from "../contracts/checkpoint_files.js";

const SEED = 0x5afe7e50;
const CASES = 40_000;

/** mulberry32: small, seeded, good enough to choose mutations. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const SEEDS: readonly Uint8Array[] = [
  rawFile("{}"),
  rawFile('{"__metadata__":{"format":"pt","é":"\\u00e9\\n"}}  '),
  rawFile('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', new Uint8Array(8)),
  rawFile(
    '{"__metadata__":{"format":"pt"},"w.0":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},' +
      '"scalar":{"dtype":"I64","shape":[],"data_offsets":[12,20]},"e":{"dtype":"U8","shape":[0,5],"data_offsets":[20,20]}}',
    new Uint8Array(20),
  ),
];

/** Pieces of headers; most mutants keep the shape of JSON and so get past the first checks. */
// biome-ignore format: a list of words
const PIECES = [
  "{", "}", "[", "]", ",", ":", '"', "\\", " ", "0", "1", "8", "-", ".", "e9", "null", "9007199254740991", "18446744073709551615",
  '"a"', '"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"__proto__"', '"F32"', '"F4"', '"BOOL"', "\\u0061", "\\ud800",
  '{"dtype":"F32","shape":[],"data_offsets":[0,4]}', "[0,0]", "[8,0]", "[0,8]", "\u0000", "\ufeff", "😀", "é",
].map((piece) => new TextEncoder().encode(piece));

function mutated(next: (below: number) => number): Uint8Array {
  let bytes = [...SEEDS[next(SEEDS.length)]!];
  for (let changes = 1 + next(3); changes > 0; changes--) {
    const at = next(bytes.length + 1);
    const piece = PIECES[next(PIECES.length)]!;
    switch (next(7)) {
      case 0:
        bytes[at % bytes.length] = next(256);
        break;
      case 1:
        bytes.splice(at, 1 + next(8));
        break;
      case 2:
        bytes.splice(at, 0, ...piece);
        break;
      case 3:
        bytes.splice(at, piece.length, ...piece);
        break;
      case 4: {
        const from = next(bytes.length + 1);
        bytes.splice(at, 0, ...bytes.slice(from, from + next(40)));
        break;
      }
      case 5:
        bytes = bytes.slice(0, Math.max(at, 8));
        break;
      default:
        bytes.push(...Array.from({ length: next(9) }, () => 0x20));
    }
  }
  const file = Uint8Array.from(bytes);
  // Half of them get an honest length, or most would fail there.
  if (next(2) === 0 && file.length >= 8) {
    const end = file.lastIndexOf(0x7d) + 1;
    new DataView(file.buffer).setBigUint64(0, BigInt(Math.max(0, end - 8)), true);
  }
  return file;
}

function content({ tensors, metadata, dataStart, fileSize }: SafetensorsHeader): unknown {
  return {
    tensors: tensors.map((entry) => ({ ...entry, offset: entry.offset - dataStart })),
    metadata: { ...metadata },
    data: fileSize - dataStart,
  };
}

describe("mutated headers", () => {
  it(`${CASES} of them parse and can be written again, or are refused with a reason`, () => {
    const next = random(SEED);
    const codes = new Map<string, number>();
    const count = (code: string) => codes.set(code, (codes.get(code) ?? 0) + 1);
    for (let run = 0; run < CASES; run++) {
      const file = mutated(next);
      let header: SafetensorsHeader;
      try {
        header = parseHeader(file);
      } catch (error) {
        if (!(error instanceof MergewrightError)) {
          assert.fail(`run ${run}: ${String(error)} for ${JSON.stringify(new TextDecoder().decode(file))}`);
        }
        count(error.code);
        continue;
      }
      count("parsed");
      const layout = layoutHeader(header.tensors, header.metadata);
      const again = parseHeader(layout.header, { fileSize: layout.fileSize });
      assert.deepEqual(content(again), content(header), `run ${run}`);
    }
    // A fuzz that never gets past a check does not test what lies behind it.
    for (const code of ["parsed", "safetensors/header", "safetensors/layout", "safetensors/limit"]) {
      assert.ok((codes.get(code) ?? 0) > 100, `${code}: ${codes.get(code)}`);
    }
  });

  it("agree with JSON.parse wherever they are accepted", () => {
    const next = random(SEED + 1);
    let accepted = 0;
    for (let run = 0; run < CASES / 4; run++) {
      const file = mutated(next);
      let header: SafetensorsHeader;
      try {
        header = parseHeader(file);
      } catch {
        continue;
      }
      accepted++;
      const json: unknown = JSON.parse(new TextDecoder().decode(file.subarray(8, header.dataStart)));
      const expected = new Map(Object.entries(json as Record<string, unknown>));
      expected.delete("__metadata__");
      const found = header.tensors.map(({ name, dtype, shape, offset, length }) => {
        const begin = offset - header.dataStart;
        return [name, { dtype, shape, data_offsets: [begin, begin + length] }] as const;
      });
      assert.deepEqual(new Map(found), new Map([...expected].sort(byPlaceIn(found))));
    }
    assert.ok(accepted > 100);
  });
});

function byPlaceIn(found: readonly (readonly [string, unknown])[]) {
  const place = new Map(found.map(([name], index) => [name, index]));
  return ([a]: [string, unknown], [b]: [string, unknown]) => place.get(a)! - place.get(b)!;
}

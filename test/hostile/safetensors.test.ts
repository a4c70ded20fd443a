/** Every way in which a safetensors header can be wrong, as literal bytes, and what is said about it. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ErrorCode } from "../../src/errors.js";
import { parseHeader, readHeader } from "../../src/formats/safetensors/header.js";
import { memorySource } from "../../src/sources/memory.js";
import { rawFile } from "../contracts/checkpoint_files.js";
import { rejects } from "../contracts/source.js";
import { processorTime } from "../processor_time.js";

interface Attack {
  readonly title: string;
  readonly file: Uint8Array;
  readonly code: ErrorCode;
  /** What the message must contain. */
  readonly says?: RegExp;
  readonly tensor?: string;
}

const bytes = (length: number) => new Uint8Array(length);
const tensor = (shape: string, offsets: string, dtype = '"F32"') =>
  `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
const one = (entry: string) => `{"a":${entry}}`;
const GOOD = one(tensor("[2]", "[0,8]"));

const LENGTHS: readonly Attack[] = [
  { title: "an empty file", file: bytes(0), code: "safetensors/header", says: /an empty file/ },
  { title: "a file shorter than the length", file: bytes(7), code: "safetensors/header", says: /7 bytes/ },
  { title: "a length of zero", file: bytes(8), code: "safetensors/header", says: /empty/ },
  { title: "a length of one", file: rawFile("{", bytes(0)), code: "safetensors/header", says: /empty/ },
  {
    title: "a length of 100 000 001 bytes",
    file: rawFile("{}", bytes(0), 100_000_001n),
    code: "safetensors/limit",
    says: /at most 100000000/,
  },
  {
    title: "the largest length there is",
    file: rawFile("{}", bytes(0), 2n ** 64n - 1n),
    code: "safetensors/limit",
    says: /18446744073709551615/,
  },
  {
    title: "a length of one byte more than the file",
    file: rawFile("{}", bytes(0), 3n),
    code: "safetensors/header",
    says: /at least 11 bytes.*10 bytes.*download/is,
  },
  {
    title: "a length that cuts the header",
    file: rawFile(GOOD, bytes(8), 20n),
    code: "safetensors/header",
    tensor: "a",
    says: /found: +the end of the header/,
  },
];

const OTHER_FILES: readonly Attack[] = (
  [
    ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", /git lfs pull/],
    ["a web page", "<!DOCTYPE html><html><body>Sign in</body></html>", /web page/],
    ["a zip of pickles", "PK\u0003\u0004aaaaaaaaaaaaaaaa", /PyTorch/],
    ["GGUF", "GGUF\u0003\u0000\u0000\u0000\u0001\u0000\u0000\u0000", /GGUF/],
  ] as const
).map(([title, text, says]) => ({
  title,
  file: new TextEncoder().encode(text),
  code: "safetensors/header" as const,
  says,
}));

const SYNTAX: readonly Attack[] = (
  [
    ["a list", "[]"],
    ["a space before the object", ` ${GOOD}`],
    ["a byte order mark", `\uFEFF${GOOD}`],
    ["no end", GOOD.slice(0, -1)],
    ["an end in a name", '{"a'],
    ["an end after a backslash", '{"a\\'],
    ["an end in an escape", '{"a\\u12'],
    ["a comma at the end of the object", GOOD.replace(/\}$/, ",}")],
    ["a comma at the end of a list", one(tensor("[2,]", "[0,8]")), "a"],
    ["a missing comma", `{"a":${tensor("[2]", "[0,8]")} "b":${tensor("[0]", "[8,8]")}}`],
    ["a missing colon", GOOD.replace('"a":', '"a" ')],
    ["a name without quotes", GOOD.replace('"a"', "a")],
    ["a name in single quotes", GOOD.replace('"a"', "'a'")],
    ["a comment", GOOD.replace("{", "{/**/")],
    ["a control character in a name", GOOD.replace('"a"', '"a\u0001"')],
    ["a line break in a name", GOOD.replace('"a"', '"a\n"')],
    ["an unknown escape", GOOD.replace('"a"', '"\\x"')],
    ["a bad unicode escape", GOOD.replace('"a"', '"\\u00g0"')],
    ["a lone high surrogate", GOOD.replace('"a"', '"\\ud800"')],
    ["a lone low surrogate", GOOD.replace('"a"', '"\\udc00"')],
    ["a high surrogate before another character", GOOD.replace('"a"', '"\\ud800\\u0041"')],
    ["a second object", `${GOOD}{}`],
    ["a zero byte at the end", `${GOOD}\u0000`],
    ["a line break at the end", `${GOOD}\n`],
    ["deep nesting in place of a tensor", `{"a":${"[".repeat(100_000)}`, "a"],
    ["deep nesting in place of a shape", one(tensor("[".repeat(100_000), "[0,8]")), "a"],
    ["deep nesting in the metadata", `{"__metadata__":${'{"a":'.repeat(100_000)}`],
    ["a number in place of a tensor", '{"a":1}', "a"],
    ["null in place of a tensor", '{"a":null}', "a"],
  ] as const
).map(([title, json, name]) => ({
  title,
  file: rawFile(json, bytes(8)),
  code: "safetensors/header" as const,
  ...(name === undefined ? {} : { tensor: name }),
}));

const ENTRIES: readonly Attack[] = (
  [
    ["a negative dimension", tensor("[-2]", "[0,8]"), /whole number/],
    ["a fraction", tensor("[2.0]", "[0,8]"), /whole number/],
    ["an exponent", tensor("[2e0]", "[0,8]"), /whole number/],
    ["a leading zero", tensor("[02]", "[0,8]"), /whole number/],
    ["a plus sign", tensor("[+2]", "[0,8]"), /whole number/],
    ["a hexadecimal number", tensor("[0x2]", "[0,8]")],
    ["NaN", tensor("[NaN]", "[0,8]"), /whole number/],
    ["Infinity", tensor("[2]", "[0,Infinity]"), /whole number/],
    ["a number in quotes", tensor('["2"]', "[0,8]"), /whole number/],
    ["a negative offset", tensor("[2]", "[-8,0]"), /whole number/],
    ["true as an offset", tensor("[2]", "[false,8]"), /whole number/],
    ["a shape that is no list", tensor("2", "[0,8]")],
    ["a list in a shape", tensor("[[2]]", "[0,8]")],
    ["one offset", tensor("[2]", "[8]"), /pair of data_offsets/],
    ["no offsets", tensor("[2]", "[]"), /pair of data_offsets/],
    ["no dtype", '{"shape":[2],"data_offsets":[0,8]}', /no dtype/],
    ["no shape", '{"dtype":"F32","data_offsets":[0,8]}', /no shape/],
    ["an entry without anything", "{}", /no dtype/],
    ["an unknown key", '{"dtype":"F32","shape":[2],"data_offsets":[0,8],"extra":1}', /unknown key.*"extra"/s],
    ["a key twice", '{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}', /key twice.*"shape"/s],
    ["a dtype that is no string", tensor("[2]", "[0,8]", "32")],
    ["an unknown dtype", tensor("[2]", "[0,8]", '"F31"'), /one of F64, F32.*F31/s],
    ["a dtype in lower case", tensor("[2]", "[0,8]", '"f32"'), /one of F64, F32/],
    ["a dtype that every object has", tensor("[2]", "[0,8]", '"constructor"'), /constructor/],
    ["4-bit floats", tensor("[16]", "[0,8]", '"F4"'), /F4 \(4-bit floats/],
    ["6-bit floats", tensor("[8]", "[0,6]", '"F6_E2M3"'), /F6_E2M3 \(6-bit floats/],
    ["block scales", tensor("[8]", "[0,8]", '"F8_E8M0"'), /F8_E8M0 .*block scales.*before quantisation/s],
    ["complex numbers", tensor("[1]", "[0,8]", '"C64"'), /C64 \(complex numbers/],
  ] as const
).map(([title, entry, says]) => ({
  title,
  file: rawFile(one(entry), bytes(8)),
  code: "safetensors/header" as const,
  tensor: "a",
  ...(says === undefined ? {} : { says }),
}));

const HUGE: readonly Attack[] = (
  [
    ["a dimension of 2^53", tensor("[9007199254740992]", "[0,8]")],
    ["a dimension of 400 digits", tensor(`[${"9".repeat(400)}]`, "[0,8]")],
    ["an offset of 2^64", tensor("[2]", "[0,18446744073709551616]")],
    ["a product past 2^53", tensor("[4294967296,4294967296]", "[0,8]")],
    ["a product that 64 bits would round to 8 bytes", tensor("[4294967296,4294967296,2]", "[0,8]")],
    ["a product past 2^53 before a zero", tensor("[4294967296,4294967296,0]", "[0,0]")],
    ["bytes past 2^53", tensor("[9007199254740991]", "[0,8]")],
    ["65 dimensions", tensor(`[${Array(65).fill(1).join(",")}]`, "[0,4]")],
    ["a million dimensions", tensor(`[${Array(1e6).fill(1).join(",")}]`, "[0,4]")],
    ["three offsets", tensor("[2]", "[0,8,8]")],
  ] as const
).map(([title, entry]) => ({
  title,
  file: rawFile(one(entry), bytes(8)),
  code: "safetensors/limit" as const,
  tensor: "a",
}));

const pair = (first: string, second: string) => `{"a":${first},"b":${second}}`;

const LAYOUTS: readonly Attack[] = (
  [
    ["a tensor beyond the file", one(tensor("[3]", "[0,12]")), 8, "a", /ends before its data.*download/is],
    ["a file cut by one byte", GOOD, 7, "a", /ends before its data/],
    ["a file without its data", GOOD, 0, "a", /ends before its data/],
    ["a far offset", one(tensor("[2]", "[9007199254740000,9007199254740008]")), 8, "a", /hole/],
    ["one byte after the last tensor", GOOD, 9, undefined, /goes on after its last tensor/],
    ["data that belongs to no tensor", "{}", 8, undefined, /goes on after its last tensor/],
    ["offsets in reverse", one(tensor("[2]", "[8,0]")), 8, "a", /ends before it begins/],
    ["fewer bytes than the shape needs", one(tensor("[3]", "[0,8]")), 8, "a", /12 bytes for F32 of shape \[3\]/],
    ["more bytes than the shape needs", one(tensor("[1]", "[0,8]")), 8, "a", /4 bytes for F32/],
    ["bytes for a shape with a zero", one(tensor("[0,7]", "[0,8]")), 8, "a", /0 bytes for F32/],
    ["bytes of another dtype", one(tensor("[2]", "[0,8]", '"BF16"')), 8, "a", /4 bytes for BF16/],
    ["a hole at the start", one(tensor("[2]", "[4,12]")), 12, "a", /hole/],
    ["a hole in the middle", pair(tensor("[1]", "[0,4]"), tensor("[1]", "[8,12]")), 12, "b", /hole.*from byte 4/s],
    ["an overlap", pair(tensor("[2]", "[0,8]"), tensor("[2]", "[4,12]")), 12, "b", /share bytes.*after tensor a/s],
    ["the same bytes twice", pair(tensor("[2]", "[0,8]"), tensor("[2]", "[0,8]")), 8, "b", /share bytes/],
    ["a tensor inside another", pair(tensor("[3]", "[0,12]"), tensor("[1]", "[4,8]")), 12, "b", /share bytes/],
    ["an empty tensor inside another", pair(tensor("[2]", "[0,8]"), tensor("[0]", "[4,4]")), 8, "b", /share bytes/],
    ["an empty tensor behind the file", pair(tensor("[2]", "[0,8]"), tensor("[0]", "[9,9]")), 8, "b", /hole/],
  ] as const
).map(([title, json, data, name, says]) => ({
  title,
  file: rawFile(json, bytes(data)),
  code: "safetensors/layout" as const,
  says,
  ...(name === undefined ? {} : { tensor: name }),
}));

const empty = tensor("[0]", "[0,0]");
const NAMES: readonly Attack[] = (
  [
    ["a name twice", `{"a":${empty},"b":${empty},"a":${empty}}`, "a", /twice/],
    ["a name twice, once in disguise", `{"a":${empty},"\\u0061":${empty}}`, "a", /twice/],
    ["__proto__ twice", `{"__proto__":${empty},"__proto__":${empty}}`, "__proto__", /twice/],
    ["metadata twice", '{"__metadata__":{},"__metadata__":{}}', undefined, /__metadata__ appears twice/],
    ["a key of the metadata twice", '{"__metadata__":{"k":"1","k":"2"}}', undefined, /"k" appears twice/],
    ["__proto__ in the metadata twice", '{"__metadata__":{"__proto__":"","__proto__":""}}', undefined, /twice/],
    ["a number in the metadata", '{"__metadata__":{"k":1}}', undefined, /strings to strings/],
    ["an object in the metadata", '{"__metadata__":{"k":{}}}', undefined, /strings to strings/],
    ["null in the metadata", '{"__metadata__":{"k":null}}', undefined, /strings to strings/],
    ["null as metadata", '{"__metadata__":null}', undefined, /"\{"/],
    ["metadata that is a string", '{"__metadata__":"pt"}', undefined, /"\{"/],
  ] as const
).map(([title, json, name, says]) => ({
  title,
  file: rawFile(json),
  code: "safetensors/header" as const,
  says,
  ...(name === undefined ? {} : { tensor: name }),
}));

const INVALID_UTF8: readonly Attack[] = (
  [
    ["a lone continuation byte", [0x80]],
    ["an overlong slash", [0xc0, 0xaf]],
    ["a surrogate", [0xed, 0xa0, 0x80]],
    ["a character past the last", [0xf4, 0x90, 0x80, 0x80]],
    ["a character cut short", [0xe2, 0x82]],
  ] as const
).map(([title, sequence]) => {
  const file = rawFile(GOOD.replace('"a"', `"${"a".repeat(sequence.length)}"`), bytes(8));
  file.set(sequence, 10);
  return { title: `${title} in a name`, file, code: "safetensors/header" as const, says: /UTF-8/ };
});

describe("a safetensors header is refused", () => {
  const attacks = [...LENGTHS, ...OTHER_FILES, ...SYNTAX, ...ENTRIES, ...HUGE, ...LAYOUTS, ...NAMES, ...INVALID_UTF8];
  for (const { title, file, code, says, tensor: name } of attacks) {
    it(`with ${title}`, async () => {
      const error = await rejects(code, () => parseHeader(file, { file: "evil.safetensors" }));
      assert.equal(error.kind, "request");
      assert.equal(error.where.file, "evil.safetensors");
      assert.equal(error.where.tensor, name);
      assert.ok(error.advice !== undefined && error.advice.length > 0);
      assert.ok(error.message.length < 2000, "a message stays short");
      if (says !== undefined) assert.match(error.message, says);
      const read = await rejects(code, () => readHeader(memorySource(file, "evil.safetensors")));
      assert.equal(read.message, error.message);
    });
  }

  it("with a length that reaches far past what is read at first, in a file that claims to be large", async () => {
    const small = rawFile("{}", bytes(0), 90_000_000n);
    const source = { ...memorySource(small, "x"), stamp: { size: 2 ** 40, version: "" } };
    // The file is as long as it says and cannot deliver: an error of reading, not of the format.
    await rejects("io/read", () => readHeader(source));
  });

  it("of which only a part is at hand", async () => {
    const file = rawFile(GOOD, bytes(8));
    const part = () => parseHeader(file.subarray(0, 20), { fileSize: file.length, file: "x" });
    assert.match((await rejects("safetensors/header", part)).message, /not there as a whole.*20 bytes/s);
  });

  it("without letting a name write to the terminal", async () => {
    const name = "\\u001b[2J\\u202egnp.exe\\u2028";
    const error = await rejects("safetensors/header", () => parseHeader(rawFile(`{"${name}":{}}`)));
    for (const character of "\u001b\u202e\u2028") assert.ok(!error.message.includes(character));
    assert.equal(error.where.tensor, "\\u{1b}[2J\\u{202e}gnp.exe\\u{2028}");
  });

  it("with a short message for a long name", async () => {
    const error = await rejects("safetensors/header", () => parseHeader(rawFile(`{"${"n".repeat(1e6)}":{}}`)));
    assert.ok(error.message.length < 1000);
    assert.match(error.message, /1000000 characters/);
  });
});

describe("a safetensors header is accepted", () => {
  it("with names that mean something to JavaScript", () => {
    const names = ["__proto__", "constructor", "toString", "hasOwnProperty", "length", "0", ""];
    const members = names.map((name) => `"${name}":${empty}`);
    const metadata = '"__metadata__":{"__proto__":"p","constructor":"c","toString":"t"}';
    const header = parseHeader(rawFile(`{${metadata},${members.join(",")}}`));
    assert.deepEqual(
      header.tensors.map(({ name }) => name),
      names,
    );
    assert.deepEqual(Object.entries(header.metadata), [
      ["__proto__", "p"],
      ["constructor", "c"],
      ["toString", "t"],
    ]);
    assert.equal(header.metadata["valueOf"], undefined);
    assert.equal(({} as Record<string, unknown>)["p"], undefined);
  });

  it("with spaces inside and after it, escapes, and any order of keys", () => {
    const json =
      '{ "a\\/\\u00e9\\ud83d\\ude00\\n" :\t{"shape" : [ 1 , 2 ],\r\n"data_offsets":[0, 8] ,"dtype":"F32"}}   ';
    const [entry] = parseHeader(rawFile(json, bytes(8))).tensors;
    assert.equal(entry!.name, "a/é😀\n");
    assert.deepEqual(entry!.shape, [1, 2]);
  });

  it("with scalars, empty tensors and no tensors", () => {
    const json = `{"empty":${tensor("[3,0]", "[4,4]")},"scalar":${tensor("[]", "[0,4]")},"first":${empty}}`;
    const { tensors, dataStart, fileSize } = parseHeader(rawFile(json, bytes(4)));
    assert.deepEqual(
      tensors.map(({ name, offset, length }) => [name, offset - dataStart, length]),
      [
        ["first", 0, 0],
        ["scalar", 0, 4],
        ["empty", 4, 0],
      ],
    );
    assert.equal(fileSize, dataStart + 4);
    assert.deepEqual(parseHeader(rawFile("{}")).tensors, []);
    assert.deepEqual({ ...parseHeader(rawFile('{"__metadata__":{}}')).metadata }, {});
  });

  it("with the largest dimensions around a zero", () => {
    const json = one(tensor("[0,9007199254740991,9007199254740991]", "[0,0]"));
    assert.equal(parseHeader(rawFile(json)).tensors[0]!.length, 0);
  });

  it("in shared memory", () => {
    const file = rawFile(GOOD, bytes(8));
    const shared = new Uint8Array(new SharedArrayBuffer(file.length));
    shared.set(file);
    assert.equal(parseHeader(shared).tensors.length, 1);
  });

  it("with 50 000 tensors in 5 MB, within seconds", () => {
    const members = Array.from({ length: 50_000 }, (_, index) => {
      const name = `model.layers.${index >> 5}.mlp.experts.${index & 31}.gate_proj.weight`;
      return `"${name}":${tensor("[1,1]", `[${4 * index},${4 * index + 4}]`)}`;
    });
    // From the last to the first, so that sorting has something to do.
    const file = rawFile(
      `{"__metadata__":{"x":"${"x".repeat(500_000)}"},${members.reverse().join(",")}}`,
      bytes(200_000),
    );
    assert.ok(file.length > 5e6);
    const spent = processorTime(() => assert.equal(parseHeader(file).tensors.length, 50_000));
    assert.ok(spent < 5000, `${Math.round(spent)} ms`);
  });
});

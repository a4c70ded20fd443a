/**
 * Reads and checks the header of a safetensors file: 8 bytes with its length (unsigned, little-endian), then that many
 * bytes of JSON, then the tensors' data. Format: https://github.com/huggingface/safetensors, README, section "Format".
 *
 * Nothing in the file is believed before it is checked. A header that passes describes a file in which every byte of
 * the data section belongs to exactly one tensor.
 */

import { MergewrightError, type ErrorCode, type ErrorDetails } from "../../errors.js";
import { xxh64 } from "../../numbers/checksum.js";
import { isDtype, type Dtype } from "../../numbers/dtypes.js";
import type { ByteSource } from "../../sources/source.js";
import { explainDtype } from "./dtype_help.js";
import { HEADER_BYTES_LIMIT, RANK_LIMIT } from "./limits.js";
import { bytesOf } from "./size.js";
import { printable } from "./text.js";
import type { SafetensorsHeader, TensorEntry } from "./types.js";

/** Bytes of the header's length, at the start of the file. */
export const LENGTH_BYTES = 8;

/** Read at once at first; holds most headers, so that a server is asked once. */
const FIRST_READ = 1 << 16;

/** Reads a file's header; nothing else is read. */
export async function readHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const { label } = source;
  const { size } = source.stamp;
  const first = new Uint8Array(Math.min(size, FIRST_READ));
  await source.read(0, first);
  const end = LENGTH_BYTES + headerLength(first, size, label);
  if (end <= first.length) return parseHeader(first, { fileSize: size, file: label });
  const bytes = new Uint8Array(end);
  bytes.set(first);
  await source.read(first.length, bytes.subarray(first.length));
  return parseHeader(bytes, { fileSize: size, file: label });
}

export interface ParseOptions {
  /** Bytes of the whole file; the length of `bytes` if left out. */
  readonly fileSize?: number;
  /** Name of the file in messages. */
  readonly file?: string;
}

/** @param bytes the beginning of the file, at least up to the end of the header; may be the whole file. */
export function parseHeader(bytes: Uint8Array, options: ParseOptions = {}): SafetensorsHeader {
  const { fileSize = bytes.length, file = "safetensors" } = options;
  const dataStart = LENGTH_BYTES + headerLength(bytes, fileSize, file);
  if (dataStart > bytes.length) {
    throw defect(file, "safetensors/header", "the header is not there as a whole", {
      expected: `${dataStart} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const head = bytes.subarray(0, dataStart);
  const text = decode(head.subarray(LENGTH_BYTES), file);
  const { tensors, metadata } = new HeaderText(text, file).parse();
  return {
    tensors: placed(tensors, dataStart, fileSize, file),
    metadata,
    dataStart,
    fileSize,
    hash: xxh64(head),
  };
}

/** Bytes of JSON, checked against the limit and the file. */
function headerLength(bytes: Uint8Array, fileSize: number, file: string): number {
  if (fileSize < LENGTH_BYTES || bytes.length < LENGTH_BYTES) {
    throw defect(file, "safetensors/header", "the file is too short to be a safetensors file", {
      expected: `at least ${LENGTH_BYTES} bytes`,
      found: fileSize === 0 ? "an empty file" : `${Math.min(fileSize, bytes.length)} bytes`,
      advice: "download the file again",
    });
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > BigInt(HEADER_BYTES_LIMIT)) {
    const other = otherFormat(bytes);
    if (other !== null) throw defect(file, "safetensors/header", "this is not a safetensors file", other);
    throw defect(file, "safetensors/limit", "the header is longer than a header may be", {
      expected: `at most ${HEADER_BYTES_LIMIT} bytes`,
      found: `a length of ${length} bytes`,
      advice: "check that this is a safetensors file and that its download is complete",
    });
  }
  if (length < 2n) {
    throw defect(file, "safetensors/header", "the header is empty", {
      expected: 'at least "{}"',
      found: `a length of ${length} bytes`,
      advice: "the file was not finished or is damaged: make or download it again",
    });
  }
  if (length > BigInt(fileSize - LENGTH_BYTES)) {
    throw defect(file, "safetensors/header", "the file ends inside its header", {
      expected: `a file of at least ${length + BigInt(LENGTH_BYTES)} bytes`,
      found: `${fileSize} bytes`,
      advice: "the download is incomplete: download the file again",
    });
  }
  return Number(length);
}

/** What people take for a safetensors file by mistake; the first bytes read as an enormous length. */
function otherFormat(bytes: Uint8Array): Partial<ErrorDetails> | null {
  const start = String.fromCharCode(...bytes.subarray(0, 64));
  if (start.startsWith("version https://git-lfs")) {
    return { found: "a Git LFS pointer instead of the file", advice: "fetch the file itself: git lfs pull" };
  }
  if (start.startsWith("<")) {
    return { found: "a web page", advice: "download the file itself; the server may have asked for a login" };
  }
  if (start.startsWith("PK\x03\x04") || (bytes[0] === 0x80 && bytes[1]! >= 2 && bytes[1]! <= 5)) {
    return {
      found: "a PyTorch file (a pickle, which can run code and is never opened)",
      advice: "get or make a safetensors version of the checkpoint",
    };
  }
  if (start.startsWith("GGUF")) return { found: "a GGUF file", advice: "use the checkpoint it was made from" };
  return null;
}

function decode(bytes: Uint8Array, file: string): string {
  if (bytes[0] !== OPEN_BRACE) {
    throw defect(file, "safetensors/header", "the header does not begin with an object", {
      expected: '"{" as its first byte',
      found: `byte 0x${bytes[0]!.toString(16).padStart(2, "0")}`,
    });
  }
  // Browsers do not decode shared memory.
  const plain = bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(plain);
  } catch (cause) {
    throw defect(file, "safetensors/header", "the header is not valid UTF-8", { cause });
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const ZERO = 0x30;
const NINE = 0x39;
const FIRST_PRINTABLE = 0x20;

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

interface ParsedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** In the data section. */
  readonly begin: number;
  readonly end: number;
}

/**
 * A parser for exactly the JSON that a header is: an object of tensors and `__metadata__`. JSON.parse would hide
 * duplicate names and round numbers; and here nothing nests, so no input can exhaust the stack.
 */
class HeaderText {
  #at = 0;

  constructor(
    private readonly text: string,
    private readonly file: string,
  ) {}

  parse(): { tensors: ParsedTensor[]; metadata: Readonly<Record<string, string>> } {
    const tensors: ParsedTensor[] = [];
    const names = new Set<string>();
    let metadata: Record<string, string> | null = null;
    this.#members((name) => {
      if (name === "__metadata__") {
        if (metadata !== null) throw this.#duplicate("__metadata__ appears twice in the header", undefined);
        metadata = this.#metadata();
        return;
      }
      if (names.has(name)) throw this.#duplicate("a tensor's name appears twice in the header", name);
      names.add(name);
      tensors.push(this.#tensor(name));
    });
    for (; this.#at < this.text.length; this.#at++) {
      if (this.text[this.#at] !== " ") throw this.#unexpected("nothing but spaces after the header's object");
    }
    return { tensors, metadata: metadata ?? emptyRecord() };
  }

  #metadata(): Record<string, string> {
    const metadata = emptyRecord();
    this.#members((key) => {
      if (Object.hasOwn(metadata, key)) {
        throw this.#duplicate(`the key ${printable(JSON.stringify(key))} appears twice in __metadata__`, undefined);
      }
      metadata[key] = this.#string("a string: __metadata__ maps strings to strings");
    });
    return metadata;
  }

  #tensor(name: string): ParsedTensor {
    let dtype: Dtype | undefined;
    let shape: number[] | undefined;
    let offsets: number[] | undefined;
    this.#members((key) => {
      if (key === "dtype" && dtype === undefined) dtype = this.#dtype(name);
      else if (key === "shape" && shape === undefined) shape = this.#numbers(name, RANK_LIMIT, "dimensions");
      else if (key === "data_offsets" && offsets === undefined) offsets = this.#numbers(name, 2, "offsets");
      else {
        const known = key === "dtype" || key === "shape" || key === "data_offsets";
        throw this.#defect(`a tensor's entry has ${known ? "a key twice" : "an unknown key"}`, {
          where: { file: this.file, tensor: printable(name) },
          expected: "dtype, shape and data_offsets, each once",
          found: printable(JSON.stringify(key)),
        });
      }
    }, name);
    if (dtype === undefined || shape === undefined || offsets?.length !== 2) {
      const missing = dtype === undefined ? "dtype" : shape === undefined ? "shape" : "data_offsets";
      throw this.#defect(`a tensor's entry has no ${missing === "data_offsets" ? "pair of data_offsets" : missing}`, {
        where: { file: this.file, tensor: printable(name) },
        expected: "dtype, shape and data_offsets, each once",
      });
    }
    return { name, dtype, shape, begin: offsets[0]!, end: offsets[1]! };
  }

  #dtype(tensor: string): Dtype {
    const name = this.#string("a dtype's name in quotes", tensor);
    if (isDtype(name)) return name;
    throw this.#defect("a tensor has a dtype that is not supported", {
      where: { file: this.file, tensor: printable(tensor) },
      ...explainDtype(name),
    });
  }

  /** `{"key": value, …}`; the callback parses the value. */
  #members(value: (key: string) => void, tensor?: string): void {
    this.#expect("{", tensor);
    this.#skipSpace();
    if (this.#take("}")) return;
    do {
      this.#skipSpace();
      const key = this.#string("a name in quotes", tensor);
      this.#skipSpace();
      this.#expect(":", tensor);
      this.#skipSpace();
      value(key);
      this.#skipSpace();
    } while (this.#take(","));
    this.#expect("}", tensor);
  }

  #numbers(tensor: string, most: number, what: string): number[] {
    const numbers: number[] = [];
    this.#expect("[", tensor);
    this.#skipSpace();
    if (this.#take("]")) return numbers;
    do {
      this.#skipSpace();
      numbers.push(this.#number(tensor));
      if (numbers.length > most) {
        throw this.#defect(`a tensor has more than ${most} ${what}`, {
          code: "safetensors/limit",
          where: { file: this.file, tensor: printable(tensor) },
        });
      }
      this.#skipSpace();
    } while (this.#take(","));
    this.#expect("]", tensor);
    return numbers;
  }

  /** A whole number without sign, fraction, exponent or leading zeros. */
  #number(tensor: string): number {
    const start = this.#at;
    let value = 0;
    for (; ; this.#at++) {
      const digit = this.text.charCodeAt(this.#at);
      if (!(digit >= ZERO && digit <= NINE)) break;
      value = value * 10 + (digit - ZERO);
      if (value > Number.MAX_SAFE_INTEGER) {
        throw this.#defect("a number is larger than any file", {
          code: "safetensors/limit",
          where: { file: this.file, tensor: printable(tensor) },
          expected: "at most 2^53 − 1",
          found: this.#excerpt(start),
        });
      }
    }
    const end = this.#at;
    const next = this.text[end];
    const leadingZero = end - start > 1 && this.text.charCodeAt(start) === ZERO;
    if (end === start || leadingZero || next === "." || next === "e" || next === "E") {
      this.#at = start;
      throw this.#unexpected("a whole number, 0 or greater", tensor);
    }
    return value;
  }

  #string(expected: string, tensor?: string): string {
    if (this.text.charCodeAt(this.#at) !== QUOTE) throw this.#unexpected(expected, tensor);
    const start = ++this.#at;
    let pieces = "";
    let from = start;
    for (; ; this.#at++) {
      const code = this.text.charCodeAt(this.#at);
      if (code === QUOTE) return pieces + this.text.slice(from, this.#at++);
      if (code === BACKSLASH) {
        pieces += this.text.slice(from, this.#at) + this.#escape(tensor);
        from = this.#at + 1;
      } else if (!(code >= FIRST_PRINTABLE)) {
        // A control character, or NaN past the end.
        throw this.#unexpected("the end of a string", tensor);
      }
    }
  }

  /** Leaves the position on the last character of the escape. */
  #escape(tensor: string | undefined): string {
    const kind = this.text[++this.#at];
    if (kind === "u") {
      const high = this.#codeUnit(tensor);
      if (high < 0xd800 || high > 0xdfff) return String.fromCharCode(high);
      if (high < 0xdc00 && this.text[this.#at + 1] === "\\" && this.text[this.#at + 2] === "u") {
        this.#at += 2;
        const low = this.#codeUnit(tensor);
        if (low >= 0xdc00 && low <= 0xdfff) return String.fromCharCode(high, low);
      }
      throw this.#unexpected("a pair of surrogates", tensor);
    }
    if (kind !== undefined && Object.hasOwn(ESCAPES, kind)) return ESCAPES[kind]!;
    throw this.#unexpected("an escape of JSON", tensor);
  }

  #codeUnit(tensor: string | undefined): number {
    const digits = this.text.slice(this.#at + 1, this.#at + 5);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#unexpected("four hexadecimal digits", tensor);
    this.#at += 4;
    return Number.parseInt(digits, 16);
  }

  #skipSpace(): void {
    for (; ; this.#at++) {
      const code = this.text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    }
  }

  #take(character: string): boolean {
    if (this.text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string, tensor: string | undefined): void {
    if (!this.#take(character)) throw this.#unexpected(`"${character}"`, tensor);
  }

  #unexpected(expected: string, tensor?: string): MergewrightError {
    return this.#defect("the header is not what the format prescribes", {
      where: tensor === undefined ? { file: this.file } : { file: this.file, tensor: printable(tensor) },
      expected: `${expected} at character ${this.#at + 1} of the header`,
      found: this.#at < this.text.length ? this.#excerpt(this.#at) : "the end of the header",
    });
  }

  #duplicate(summary: string, tensor: string | undefined): MergewrightError {
    return this.#defect(summary, {
      where: tensor === undefined ? { file: this.file } : { file: this.file, tensor: printable(tensor) },
      advice: "programs would disagree about what such a file holds: make it again with another program",
    });
  }

  #defect(summary: string, details: Partial<ErrorDetails>): MergewrightError {
    return defect(this.file, "safetensors/header", summary, details);
  }

  #excerpt(start: number): string {
    return printable(JSON.stringify(this.text.slice(start, start + 24)));
  }
}

/** Checks sizes and places, and puts the tensors into the order of their bytes. */
function placed(tensors: readonly ParsedTensor[], dataStart: number, fileSize: number, file: string): TensorEntry[] {
  const ordered = [...tensors].sort((a, b) => a.begin - b.begin || a.end - b.end);
  const dataBytes = fileSize - dataStart;
  let covered = 0;
  let previous: ParsedTensor | null = null;
  for (const tensor of ordered) {
    const { name, begin, end } = tensor;
    const layout = (summary: string, details: Partial<ErrorDetails>) =>
      defect(file, "safetensors/layout", summary, { where: { file, tensor: printable(name) }, ...details });
    checkSize(tensor, file);
    if (begin < covered) {
      throw layout("two tensors share bytes", {
        expected: `data from byte ${covered} of the data section on, after tensor ${printable(previous!.name)}`,
        found: `data_offsets [${begin}, ${end}]`,
      });
    }
    if (begin > covered) {
      throw layout("the data section has a hole that belongs to no tensor", {
        expected: `data from byte ${covered} of the data section on`,
        found: `data_offsets [${begin}, ${end}]`,
      });
    }
    if (end > dataBytes) {
      const last = ordered.at(-1)!.end;
      throw layout("the file ends before its data does", {
        expected: `${dataStart + last} bytes`,
        found: `${fileSize} bytes; this tensor ends at byte ${dataStart + end}`,
        advice: "the download is incomplete: download the file again",
      });
    }
    covered = end;
    previous = tensor;
  }
  if (covered !== dataBytes) {
    throw defect(file, "safetensors/layout", "the file goes on after its last tensor", {
      expected: `${dataStart + covered} bytes`,
      found: `${fileSize} bytes`,
      advice: "the file is damaged or carries something else: download it again",
    });
  }
  return ordered.map(({ name, dtype, shape, begin, end }) => ({
    name,
    dtype,
    shape,
    offset: dataStart + begin,
    length: end - begin,
  }));
}

function checkSize({ name, dtype, shape, begin, end }: ParsedTensor, file: string): void {
  const where = { file, tensor: printable(name) };
  const length = bytesOf(dtype, shape);
  if (length === null) {
    throw defect(file, "safetensors/limit", "a tensor is larger than any file", {
      where,
      expected: "at most 2^53 − 1 bytes",
      found: `${dtype} of shape [${shape.join(", ")}]`,
    });
  }
  if (begin > end) {
    throw defect(file, "safetensors/layout", "a tensor ends before it begins", {
      where,
      expected: "data_offsets [begin, end] with begin ≤ end",
      found: `data_offsets [${begin}, ${end}]`,
    });
  }
  if (end - begin !== length) {
    throw defect(file, "safetensors/layout", "a tensor's bytes do not fit its shape", {
      where,
      expected: `${length} bytes for ${dtype} of shape [${shape.join(", ")}]`,
      found: `${end - begin} bytes: data_offsets [${begin}, ${end}]`,
    });
  }
}

/** Without a prototype, so that no name in a file means more than itself. */
function emptyRecord(): Record<string, string> {
  const record: Record<string, string> = {};
  Object.setPrototypeOf(record, null);
  return record;
}

function defect(file: string, code: ErrorCode, summary: string, details: Partial<ErrorDetails>): MergewrightError {
  return new MergewrightError(summary, {
    kind: "request",
    code,
    where: { file },
    advice: "the file is damaged or was not written by a safetensors library: make or download it again",
    ...details,
  });
}

/**
 * A file on an HTTP server that answers byte ranges (RFC 9110, section 14), read in place without a download: the
 * Hugging Face Hub, an object store, nginx. A changed file is noticed by its size and its ETag or Last-Modified.
 */

import { MergewrightError, type ErrorDetails } from "../errors.js";
import { checkRange, closedError } from "./range.js";
import type { ByteSource, SourceStamp } from "./source.js";

export interface HttpOptions {
  /** For messages; the address without user name, password and query if left out. */
  readonly label?: string;
  /** Sent with every request, e.g. `{ authorization: "Bearer hf_…" }`; never to another origin after a redirect. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of the global `fetch`. A source made with it cannot be opened by another thread. */
  readonly fetch?: typeof fetch;
  /** Requests made before giving up; 5 if left out. */
  readonly attempts?: number;
  /** Pause before the second attempt; it doubles with each further one, up to 8 s. 500 if left out. */
  readonly backoffMs?: number;
  /** Longest wait for the next byte; 30 000 if left out. */
  readonly timeoutMs?: number;
  /**
   * Send `If-Range`; true if left out. A page that reads from another origin whose CORS rules do not allow that
   * header turns it off; changes are still noticed, by the headers of the answers.
   */
  readonly precondition?: boolean;
  /** What an earlier probe of the same address said; no probe is made then. */
  readonly stamp?: SourceStamp;
}

/** What a one-byte request says about an address. */
export type Probe =
  | {
      readonly status: "found";
      /** Size -1: the server does not tell. */
      readonly stamp: SourceStamp;
      /** Whether the server answers ranges. */
      readonly ranges: boolean;
    }
  | { readonly status: "absent"; readonly found: string }
  | { readonly status: "forbidden"; readonly found: string };

const LONGEST_BACKOFF_MS = 8_000;
const LONGEST_RETRY_AFTER_MS = 60_000;

/** Opens a file for reading by ranges; fails where the server does not support them. */
export async function httpSource(address: string | URL, options: HttpOptions = {}): Promise<ByteSource> {
  const connection = new Connection(address, options);
  const stamp = options.stamp ?? (await stampOf(connection));
  return new HttpSource(connection, stamp);
}

async function stampOf(connection: Connection): Promise<SourceStamp> {
  const probe = await connection.probe();
  if (probe.status === "absent") {
    throw connection.error("there is no such file on the server", {
      found: probe.found,
      advice: "check the address",
    });
  }
  if (probe.status === "forbidden") throw connection.forbidden(probe.found);
  if (!probe.ranges) {
    throw connection.error("the server does not answer byte ranges, so the file cannot be read in place", {
      expected: "206 Partial Content",
      found: "200 OK: the whole file",
      advice: "download the file and give its path, or use a server that supports Range requests",
    });
  }
  return probe.stamp;
}

/** Asks for the first byte of a file. */
export function probeHttp(address: string | URL, options: HttpOptions = {}): Promise<Probe> {
  return new Connection(address, options).probe();
}

/** Downloads a small file whole, e.g. a config.json; `null` where the server has none. */
export function downloadHttp(
  address: string | URL,
  { limit, ...options }: HttpOptions & { readonly limit: number },
): Promise<Uint8Array | null> {
  return new Connection(address, options).download(limit);
}

class HttpSource implements ByteSource {
  readonly label: string;
  readonly address: ByteSource["address"];
  #open = true;

  constructor(
    private readonly connection: Connection,
    readonly stamp: SourceStamp,
  ) {
    this.label = connection.label;
    this.address = connection.address;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (!this.#open) throw closedError(this.label);
    checkRange(this.label, this.stamp.size, offset, into.length);
    if (into.length > 0) await this.connection.fill(offset, into, this.stamp);
  }

  close(): void {
    this.#open = false;
  }
}

/** A failure that another attempt may not meet. */
class Transient extends Error {
  constructor(
    readonly found: string,
    /** What the server's Retry-After says. */
    readonly pauseMs: number | null,
    cause?: unknown,
  ) {
    super(found, { cause });
  }
}

class Connection {
  readonly label: string;
  readonly address: ByteSource["address"];
  readonly #url: URL;
  /** Where the last answer came from after redirects; signed addresses expire, so it is only a shortcut. */
  #resolved: URL;
  readonly #options: Required<Pick<HttpOptions, "headers" | "attempts" | "backoffMs" | "timeoutMs" | "precondition">>;
  readonly #fetch: typeof fetch;

  constructor(address: string | URL, options: HttpOptions) {
    this.#url = parseAddress(address);
    this.#resolved = this.#url;
    this.label = options.label ?? `${this.#url.origin}${this.#url.pathname}`;
    this.#options = {
      headers: options.headers ?? {},
      attempts: options.attempts ?? 5,
      backoffMs: options.backoffMs ?? 500,
      timeoutMs: options.timeoutMs ?? 30_000,
      precondition: options.precondition ?? true,
    };
    if (!areHeaders(this.#options.headers)) {
      // They stay out of the message: one may be a token.
      throw this.error("a header for the server has characters that HTTP does not allow", {
        advice: "check the token for spaces and line breaks",
      });
    }
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.address =
      options.fetch === undefined ? { kind: "http", url: this.#url.href, headers: this.#options.headers } : null;
  }

  error(summary: string, details: Partial<ErrorDetails>): MergewrightError {
    return new MergewrightError(summary, {
      kind: "request",
      code: "io/http",
      where: { file: this.label },
      ...details,
    });
  }

  forbidden(found: string): MergewrightError {
    return this.error("the server refuses access", {
      found,
      advice: "check the address and give a token that may read it, as an Authorization header",
    });
  }

  probe(): Promise<Probe> {
    return this.#attempt(async (patience) => {
      const response = await this.#request({ range: "bytes=0-0" }, patience);
      const found = statusOf(response);
      await discard(response);
      switch (response.status) {
        case 206:
          return {
            status: "found",
            stamp: { size: this.#range(response).total, version: versionOf(response) },
            ranges: true,
          };
        case 200: {
          const size = encodingOf(response) === "" ? wholeNumber(response.headers.get("content-length")) : null;
          return { status: "found", stamp: { size: size ?? -1, version: versionOf(response) }, ranges: false };
        }
        case 416:
          // An empty file has no first byte; its size is told all the same.
          if (response.headers.get("content-range")?.trim() === "bytes */0") {
            return { status: "found", stamp: { size: 0, version: versionOf(response) }, ranges: true };
          }
          throw this.#unexpected(found);
        case 404:
        case 410:
          return { status: "absent", found };
        case 401:
        case 403:
          return { status: "forbidden", found };
        default:
          throw this.#unexpected(found);
      }
    });
  }

  async download(limit: number): Promise<Uint8Array | null> {
    return this.#attempt(async (patience) => {
      const response = await this.#request({}, patience);
      const found = statusOf(response);
      if (response.status !== 200) {
        await discard(response);
        if (response.status === 404 || response.status === 410) return null;
        throw response.status === 401 || response.status === 403 ? this.forbidden(found) : this.#unexpected(found);
      }
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const part of bodyOf(response, patience)) {
        size += part.length;
        if (size > limit)
          throw this.error("a file is larger than its kind may be", { expected: `at most ${limit} bytes` });
        parts.push(part);
      }
      const expected = encodingOf(response) === "" ? wholeNumber(response.headers.get("content-length")) : null;
      if (expected !== null && size < expected) throw new Transient(`${size} of ${expected} bytes`, null);
      const whole = new Uint8Array(size);
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
      }
      return whole;
    });
  }

  /** Fills `into`; a broken answer is continued where it broke off. */
  async fill(offset: number, into: Uint8Array, stamp: SourceStamp): Promise<void> {
    let done = 0;
    await this.#attempt(async (patience) => {
      // The last byte may have come before the connection broke.
      if (done === into.length) return;
      const first = offset + done;
      const last = offset + into.length - 1;
      const response = await this.#request(
        { range: `bytes=${first}-${last}`, ...this.#preconditionFor(stamp.version) },
        patience,
      );
      if (response.status !== 206 || changedVersion(response, stamp.version)) {
        await discard(response);
        throw this.#readFailure(response, stamp);
      }
      const range = this.#range(response);
      if (range.total !== stamp.size || range.first !== first || range.last !== last) {
        await discard(response);
        throw range.total === stamp.size
          ? this.error("the server answers another range than the one asked for", {
              expected: `bytes ${first}-${last}`,
              found: `bytes ${range.first}-${range.last}`,
            })
          : this.#changed(`${stamp.size} bytes`, `${range.total} bytes`);
      }
      for await (const part of bodyOf(response, patience)) {
        if (part.length > into.length - done) {
          throw this.error("the server sends more bytes than it announced", { expected: `${last - first + 1} bytes` });
        }
        into.set(part, done);
        done += part.length;
      }
      if (done < into.length) throw new Transient(`an answer that ended ${into.length - done} bytes early`, null);
    });
  }

  #readFailure(response: Response, stamp: SourceStamp): MergewrightError {
    const found = statusOf(response);
    switch (response.status) {
      case 206:
        return this.#changed(stamp.version, versionOf(response));
      case 200:
        if (changedVersion(response, stamp.version)) return this.#changed(stamp.version, versionOf(response));
        return this.error("the server stopped answering byte ranges", { kind: "environment", found });
      case 412:
      case 416:
        return this.#changed(`${stamp.size} bytes, version ${stamp.version}`, found);
      case 404:
      case 410:
        return this.error("a file is no longer on the server", { kind: "environment", code: "input/vanished", found });
      case 401:
      case 403:
        // It was readable when it was probed: a token or a signed address has run out.
        return this.error("the server no longer grants access", {
          kind: "environment",
          found,
          advice: "renew the token or the address and run the command again",
        });
      default:
        return this.#unexpected(found);
    }
  }

  #changed(expected: string, found: string): MergewrightError {
    return this.error("a file changed on the server while it was being read", {
      code: "input/changed",
      expected,
      found,
      advice: "pin the revision in the address (a commit instead of a branch) and start again",
    });
  }

  #unexpected(found: string): MergewrightError {
    return this.error("the server gives an answer that does not fit the request", { found });
  }

  /** The place that a 206 answer covers. */
  #range(response: Response): { first: number; last: number; total: number } {
    const encoding = encodingOf(response);
    if (encoding !== "") {
      throw this.error("the server compresses the ranges it sends, so offsets mean nothing", {
        expected: "Content-Encoding: identity",
        found: encoding,
      });
    }
    const header = response.headers.get("content-range");
    const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(header?.trim() ?? "");
    if (match === null) {
      throw this.error("the server does not say which range it sends", {
        expected: "Content-Range: bytes FIRST-LAST/SIZE",
        found: header ?? "no Content-Range header (or one that the server's CORS rules hide)",
      });
    }
    return { first: Number(match[1]), last: Number(match[2]), total: Number(match[3]) };
  }

  #preconditionFor(version: string): Record<string, string> {
    // RFC 9110, 13.1.5: a weak validator is not allowed here.
    return this.#options.precondition && version !== "" && !version.startsWith("W/") ? { "if-range": version } : {};
  }

  /** One request; a status that a later attempt may cure is thrown as transient. */
  async #request(own: Record<string, string>, patience: Patience): Promise<Response> {
    const url = this.#resolved;
    // Another origin after a redirect gets none of the caller's headers, as fetch itself drops Authorization.
    const headers = url.origin === this.#url.origin ? { ...this.#options.headers, ...own } : own;
    const response = await patience.wait("no answer", (signal) =>
      this.#fetch(url, { headers, signal, redirect: "follow" }),
    );
    const { status } = response;
    if (status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505)) {
      await discard(response);
      throw new Transient(statusOf(response), retryAfter(response));
    }
    if (url !== this.#url && status >= 400 && status < 500 && status !== 416) {
      await discard(response);
      this.#resolved = this.#url;
      return this.#request(own, patience);
    }
    if (response.redirected && response.ok) this.#resolved = new URL(response.url);
    return response;
  }

  async #attempt<T>(once: (patience: Patience) => Promise<T>): Promise<T> {
    const { attempts, backoffMs, timeoutMs } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const patience = new Patience(timeoutMs);
      try {
        return await once(patience);
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (attempt >= attempts) {
          throw this.error("the server could not be read from", {
            kind: "environment",
            found: `${error.found}, after ${attempts} ${attempts === 1 ? "attempt" : "attempts"}`,
            advice: "check the network and the server, then run the command again; it continues where it stopped",
            cause: error.cause ?? error,
          });
        }
        const pause = error.pauseMs ?? Math.min(backoffMs * 2 ** (attempt - 1), LONGEST_BACKOFF_MS);
        await new Promise((resolve) => setTimeout(resolve, pause));
      } finally {
        patience.end();
      }
    }
  }
}

/** Ends an exchange in which nothing arrives for too long. */
class Patience {
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ranOut = false;

  constructor(private readonly timeoutMs: number) {}

  /** Waits for one thing from the network; whatever goes wrong there may be cured by another attempt. */
  async wait<T>(otherwise: string, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#ranOut = true;
      this.#controller.abort();
    }, this.timeoutMs);
    try {
      return await start(this.#controller.signal);
    } catch (cause) {
      const found = this.#ranOut ? `no byte for ${this.timeoutMs} ms` : `${otherwise}: ${networkReason(cause)}`;
      throw new Transient(found, null, cause);
    } finally {
      clearTimeout(this.#timer);
    }
  }

  /** Nothing of this exchange goes on after it: an answer that was given up is torn down, not downloaded. */
  end(): void {
    clearTimeout(this.#timer);
    this.#controller.abort();
  }
}

async function* bodyOf(response: Response, patience: Patience): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await patience.wait("a broken answer", () => reader.read());
    if (done) return;
    yield value;
  }
}

async function discard(response: Response): Promise<void> {
  // Whether the connection is torn down cleanly changes nothing about the answer.
  await response.body?.cancel().catch(() => undefined);
}

function areHeaders(headers: Readonly<Record<string, string>>): boolean {
  const checked = new Headers();
  try {
    for (const [name, value] of Object.entries(headers)) checked.append(name, value);
    return true;
  } catch {
    return false;
  }
}

function parseAddress(address: string | URL): URL {
  let url: URL | null = null;
  try {
    url = new URL(address);
  } catch {
    // Reported below.
  }
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:") && url.username + url.password === "") {
    return url;
  }
  throw new MergewrightError("this is not an address of a file on an HTTP server", {
    kind: "request",
    code: "io/http",
    expected: "http://… or https://… without user name and password",
    found: url === null ? String(address) : `${url.protocol}//${url.host}${url.pathname}`,
  });
}

function versionOf(response: Response): string {
  return response.headers.get("etag") ?? response.headers.get("last-modified") ?? "";
}

/** An answer without a version says nothing; a weak ETag names the same version as the strong one. */
function changedVersion(response: Response, known: string): boolean {
  const found = versionOf(response);
  return known !== "" && found !== "" && known.replace(/^W\//, "") !== found.replace(/^W\//, "");
}

function encodingOf(response: Response): string {
  const encoding = response.headers.get("content-encoding")?.trim().toLowerCase() ?? "";
  return encoding === "identity" ? "" : encoding;
}

function statusOf(response: Response): string {
  return `${response.status} ${response.statusText}`.trim();
}

function wholeNumber(text: string | null): number | null {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

/** Retry-After is a number of seconds or a date. */
function retryAfter(response: Response): number | null {
  const text = response.headers.get("retry-after");
  if (text === null) return null;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), LONGEST_RETRY_AFTER_MS) : null;
}

/** fetch says only "fetch failed"; the reason is its cause. */
function networkReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause: unknown = error.cause;
  return cause instanceof Error && cause.message !== "" ? cause.message : error.message;
}

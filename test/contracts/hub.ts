/**
 * A server on this machine that behaves like the Hub: a file's address redirects to a signed address on another
 * origin, which answers byte ranges with an ETag. Faults can be switched on one by one.
 */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Request {
  readonly server: "hub" | "store";
  readonly name: string;
  readonly range: string | undefined;
  readonly headers: IncomingMessage["headers"];
}

export interface Hub {
  /** Of a folder; a file's address is this, "/" and its name. */
  readonly url: string;
  readonly files: Map<string, Uint8Array>;
  readonly requests: Request[];
  readonly faults: Faults;
  /** Counts up when signed addresses expire. */
  signature: number;
  close(): Promise<void>;
}

export interface Faults {
  /** Statuses to answer the next requests to the store with. */
  statuses: number[];
  /** Sent along with them. */
  retryAfter: string | null;
  /** Break off the next answers after this many bytes. */
  cuts: number[];
  /** Never answer the next so many requests. */
  hangs: number;
  ignoreRanges: boolean;
  /** Answer the range one byte further. */
  shiftRanges: boolean;
  compress: boolean;
  hideSize: boolean;
  noVersion: boolean;
  weakVersion: boolean;
  /** Require this Authorization header at the hub. */
  token: string | null;
}

export async function startHub(contents: Readonly<Record<string, Uint8Array | string>>): Promise<Hub> {
  const files = new Map(
    Object.entries(contents).map(([name, content]) => [
      name,
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    ]),
  );
  const faults: Faults = {
    statuses: [],
    retryAfter: null,
    cuts: [],
    hangs: 0,
    ignoreRanges: false,
    shiftRanges: false,
    compress: false,
    hideSize: false,
    noVersion: false,
    weakVersion: false,
    token: null,
  };
  const requests: Request[] = [];
  const store = createServer((request, response) => fromStore(request, response));
  const hub = createServer((request, response) => fromHub(request, response));
  await Promise.all([listen(store), listen(hub)]);
  const state: Hub = {
    url: `${origin(hub)}/organisation/name/resolve/main`,
    files,
    requests,
    faults,
    signature: 1,
    async close() {
      await Promise.all([shut(store), shut(hub)]);
    },
  };

  function note(server: "hub" | "store", request: IncomingMessage): { name: string; url: URL } {
    const url = new URL(request.url!, "http://127.0.0.1");
    const name = decodeURIComponent(url.pathname.split("/").at(-1)!);
    requests.push({ server, name, range: request.headers.range, headers: request.headers });
    return { name, url };
  }

  function fromHub(request: IncomingMessage, response: ServerResponse): void {
    const { name } = note("hub", request);
    if (faults.token !== null && request.headers.authorization !== faults.token) {
      response.writeHead(401).end("Invalid username or password.");
    } else if (!files.has(name)) {
      response.writeHead(404).end("Entry not found");
    } else {
      const location = `${origin(store)}/blobs/${encodeURIComponent(name)}?signature=${state.signature}`;
      response.writeHead(302, { location, "x-linked-size": files.get(name)!.length }).end();
    }
  }

  function fromStore(request: IncomingMessage, response: ServerResponse): void {
    const { name, url } = note("store", request);
    const status = faults.statuses.shift();
    if (status !== undefined && status !== 0) {
      response.writeHead(status, faults.retryAfter === null ? {} : { "retry-after": faults.retryAfter }).end("trouble");
      return;
    }
    if (faults.hangs > 0) {
      faults.hangs--;
      return;
    }
    if (url.searchParams.get("signature") !== String(state.signature)) {
      response.writeHead(403).end("Request has expired");
      return;
    }
    answer(request, response, files.get(name)!);
  }

  function answer(request: IncomingMessage, response: ServerResponse, bytes: Uint8Array): void {
    const etag = `"${createHash("sha256").update(bytes).digest("hex")}"`;
    const headers: Record<string, string | number> = { "accept-ranges": "bytes" };
    if (!faults.noVersion) headers["etag"] = faults.weakVersion ? `W/${etag}` : etag;
    if (faults.compress) headers["content-encoding"] = "br";
    const condition = request.headers["if-range"];
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (match === null || faults.ignoreRanges || (condition !== undefined && condition !== etag)) {
      headers["content-length"] = bytes.length;
      response.writeHead(200, headers).end(bytes);
      return;
    }
    const shift = faults.shiftRanges ? 1 : 0;
    const first = Number(match[1]) + shift;
    const last = Math.min(Number(match[2]) + shift, bytes.length - 1);
    if (first > last) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
      return;
    }
    headers["content-range"] = `bytes ${first}-${last}/${faults.hideSize ? "*" : bytes.length}`;
    headers["content-length"] = last - first + 1;
    response.writeHead(206, headers);
    const part = bytes.subarray(first, last + 1);
    const cut = faults.cuts.shift();
    if (cut === undefined) response.end(part);
    else response.write(part.subarray(0, cut), () => response.destroy());
  }

  return state;
}

function listen(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
}

function shut(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function origin(server: Server): string {
  const address = server.address();
  return `http://127.0.0.1:${isAddress(address) ? address.port : 0}`;
}

function isAddress(address: AddressInfo | string | null): address is AddressInfo {
  return typeof address === "object" && address !== null;
}

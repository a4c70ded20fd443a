import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { startHub, type Hub } from "../../test/contracts/hub.js";
import { rejects, sourceContract } from "../../test/contracts/source.js";
import { downloadHttp, httpSource, probeHttp, type HttpOptions } from "./http.js";

/** Fast enough for a test; everything else as it is. */
const QUICK: HttpOptions = { backoffMs: 1, timeoutMs: 2000 };

sourceContract("a file on a server", async (bytes) => {
  const hub = await startHub({ "model.safetensors": bytes });
  return { source: await httpSource(`${hub.url}/model.safetensors`, QUICK), dispose: () => hub.close() };
});

sourceContract("a file on a server that keeps failing and breaking off", async (bytes) => {
  const hub = await startHub({ "model.safetensors": bytes });
  let count = 0;
  const unreliable: typeof fetch = async (input, init) => {
    count++;
    if (count % 3 === 0) throw new TypeError("fetch failed", { cause: new Error("connection reset") });
    if (count % 5 === 0) hub.faults.statuses.push(503);
    if (count % 4 === 0) hub.faults.cuts.push(10);
    return fetch(input, init);
  };
  const options = { ...QUICK, attempts: 12, fetch: unreliable };
  return { source: await httpSource(`${hub.url}/model.safetensors`, options), dispose: () => hub.close() };
});

/** Sends one byte more than its headers say. */
const lying: typeof fetch = async (input, init) => {
  const answer = await fetch(input, init);
  return answer.status === 206 && init?.headers !== undefined && JSON.stringify(init.headers).includes("10-29")
    ? new Response(new Uint8Array(21), { status: 206, headers: answer.headers })
    : answer;
};

describe("a file on a server", () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, index) => index & 0xff);
  let hub: Hub;
  let url: string;

  before(async () => {
    hub = await startHub({});
    url = `${hub.url}/model.safetensors`;
  });

  afterEach(() => {
    const { faults } = hub;
    Object.assign(faults, { statuses: [], cuts: [], hangs: 0, retryAfter: null, token: null });
    for (const key of ["ignoreRanges", "shiftRanges", "compress", "hideSize", "noVersion", "weakVersion"] as const) {
      faults[key] = false;
    }
    hub.requests.length = 0;
  });

  after(() => hub.close());

  async function open(options: HttpOptions = {}) {
    hub.files.set("model.safetensors", bytes);
    return httpSource(url, { ...QUICK, ...options });
  }

  async function part(source: Awaited<ReturnType<typeof open>>, offset = 10, length = 20): Promise<Uint8Array> {
    const into = new Uint8Array(length);
    await source.read(offset, into);
    return into;
  }

  it("is probed with its first byte", async () => {
    const source = await open();
    assert.deepEqual(
      hub.requests.map(({ server, range }) => [server, range]),
      [
        ["hub", "bytes=0-0"],
        ["store", "bytes=0-0"],
      ],
    );
    assert.equal(source.stamp.size, 1000);
    assert.match(source.stamp.version, /^"[0-9a-f]{64}"$/);
    assert.deepEqual(source.address, { kind: "http", url, headers: {} });
    assert.equal(source.label, url);
  });

  it("is read with exact ranges, under the condition that it did not change, without another redirect", async () => {
    const source = await open();
    hub.requests.length = 0;
    assert.deepEqual(await part(source), bytes.slice(10, 30));
    assert.deepEqual(
      hub.requests.map(({ server, range }) => [server, range]),
      [["store", "bytes=10-29"]],
    );
    assert.equal(hub.requests[0]!.headers["if-range"], source.stamp.version);
  });

  it("needs no probe where its stamp is known", async () => {
    const { stamp } = await open();
    hub.requests.length = 0;
    const source = await httpSource(url, { ...QUICK, stamp });
    assert.equal(hub.requests.length, 0);
    assert.deepEqual(await part(source), bytes.slice(10, 30));
  });

  it("is asked for again at its own address when a signed one expires", async () => {
    const source = await open();
    hub.signature++;
    assert.deepEqual(await part(source), bytes.slice(10, 30));
  });

  it("keeps the caller's headers from another origin", async () => {
    hub.faults.token = "Bearer secret";
    const source = await open({ headers: { authorization: "Bearer secret", "x-mine": "1" } });
    hub.requests.length = 0;
    await part(source);
    assert.deepEqual(
      hub.requests.map(({ server, headers }) => [server, headers.authorization, headers["x-mine"]]),
      [["store", undefined, undefined]],
    );
  });

  it("is empty", async () => {
    hub.files.set("empty", new Uint8Array(0));
    const source = await httpSource(`${hub.url}/empty`, QUICK);
    assert.equal(source.stamp.size, 0);
    await source.read(0, new Uint8Array(0));
  });

  for (const status of [429, 500, 502, 503, 504]) {
    it(`is asked for again after ${status}, twice`, async () => {
      const source = await open();
      hub.faults.statuses = [status, status];
      assert.deepEqual(await part(source), bytes.slice(10, 30));
    });
  }

  it("waits as long as the server says", async () => {
    const source = await open({ backoffMs: 0 });
    hub.faults.statuses = [429];
    hub.faults.retryAfter = "1";
    const start = performance.now();
    await part(source);
    assert.ok(performance.now() - start > 900);
  });

  it("continues an answer where it broke off", async () => {
    const source = await open();
    hub.requests.length = 0;
    hub.faults.cuts = [100, 50];
    assert.deepEqual(await part(source, 0, 1000), bytes);
    const ranges = hub.requests.map(({ range }) => range!);
    assert.deepEqual(ranges, ["bytes=0-999", "bytes=100-999", "bytes=150-999"]);
  });

  it("is complete when the connection breaks behind the last byte", async () => {
    let answers = 0;
    const breaking: typeof fetch = async (input, init) => {
      const { status, headers } = await fetch(input, init);
      answers++;
      if (answers === 1) return new Response(bytes.slice(0, 1), { status, headers });
      const pieces = [bytes.slice(10, 30)];
      const body = new ReadableStream<Uint8Array>(
        {
          pull(controller) {
            const piece = pieces.pop();
            if (piece === undefined) controller.error(new TypeError("terminated"));
            else controller.enqueue(piece);
          },
        },
        { highWaterMark: 0 },
      );
      return new Response(body, { status, headers });
    };
    const source = await open({ fetch: breaking });
    assert.deepEqual(await part(source), bytes.slice(10, 30));
    assert.equal(answers, 2);
  });

  it("is asked for again when nothing arrives", async () => {
    const source = await open({ timeoutMs: 100 });
    hub.faults.hangs = 1;
    assert.deepEqual(await part(source), bytes.slice(10, 30));
  });

  it("is given up after some attempts, as a failure that may pass", async () => {
    const source = await open({ attempts: 3 });
    hub.faults.statuses = [503, 503, 503];
    hub.requests.length = 0;
    const error = await rejects("io/http", () => part(source));
    assert.equal(error.kind, "environment");
    assert.match(error.found!, /503 .*after 3 attempts/);
    assert.equal(hub.requests.length, 3);
  });

  it("is given up when there is no server", async () => {
    const gone = await startHub({});
    await gone.close();
    const error = await rejects("io/http", () => httpSource(gone.url, { ...QUICK, attempts: 2 }));
    assert.equal(error.kind, "environment");
    assert.match(error.found!, /ECONNREFUSED.*after 2 attempts/);
  });

  it("is not asked for again where that cannot help", async () => {
    const source = await open();
    hub.requests.length = 0;
    hub.faults.statuses = [400, 400];
    const error = await rejects("io/http", () => part(source));
    assert.equal(error.kind, "request");
    assert.equal(hub.requests.filter(({ server }) => server === "store").length, 2);
  });

  it("is noticed to change, by its ETag", async () => {
    const source = await open();
    hub.files.set(
      "model.safetensors",
      bytes.map((byte) => byte ^ 1),
    );
    const error = await rejects("input/changed", () => part(source));
    assert.match(error.message, /start again/);
  });

  it("is noticed to change without a condition in the request", async () => {
    const source = await open({ precondition: false });
    hub.requests.length = 0;
    hub.files.set(
      "model.safetensors",
      bytes.map((byte) => byte ^ 1),
    );
    await rejects("input/changed", () => part(source));
    assert.equal(hub.requests[0]!.headers["if-range"], undefined);
  });

  it("is noticed to change between two halves of an answer", async () => {
    let calls = 0;
    const changing: typeof fetch = (input, init) => {
      calls++;
      if (calls === 3)
        hub.files.set(
          "model.safetensors",
          bytes.map((byte) => byte ^ 1),
        );
      return fetch(input, init);
    };
    const source = await open({ fetch: changing });
    hub.faults.cuts = [100];
    await rejects("input/changed", () => part(source, 0, 1000));
    assert.equal(calls, 3);
  });

  it("is noticed to change by its size, where the server tells no version", async () => {
    hub.faults.noVersion = true;
    const source = await open();
    assert.equal(source.stamp.version, "");
    hub.files.set("model.safetensors", bytes.slice(0, 999));
    await rejects("input/changed", () => part(source));
  });

  it("sends no condition for a weak ETag", async () => {
    hub.faults.weakVersion = true;
    const source = await open();
    hub.requests.length = 0;
    assert.deepEqual(await part(source), bytes.slice(10, 30));
    assert.equal(hub.requests[0]!.headers["if-range"], undefined);
  });

  it("is noticed to vanish", async () => {
    const source = await open();
    hub.files.delete("model.safetensors");
    hub.signature++;
    const error = await rejects("input/vanished", () => part(source));
    assert.equal(error.kind, "environment");
  });

  it("is noticed to be no longer readable", async () => {
    const source = await open();
    hub.faults.token = "Bearer new";
    hub.signature++;
    const error = await rejects("io/http", () => part(source));
    assert.match(error.advice!, /token/);
    assert.equal(error.kind, "environment");
  });

  const answers = [
    { fault: "ignoreRanges", says: /byte ranges.*download the file/s },
    { fault: "compress", says: /compresses/ },
    { fault: "hideSize", says: /bytes 0-0\/\*/ },
  ] as const;
  for (const { fault, says } of answers) {
    it(`is refused with a reason: ${fault}`, async () => {
      hub.faults[fault] = true;
      const error = await rejects("io/http", () => open());
      assert.match(error.message, says);
      assert.equal(error.kind, "request");
    });
  }

  it("is refused when the server answers another range", async () => {
    const source = await open();
    hub.faults.shiftRanges = true;
    assert.match((await rejects("io/http", () => part(source))).message, /another range/);
  });

  it("is refused when the server begins later than asked for, which would shift every byte", async () => {
    const source = await open({
      async fetch(input, init) {
        const answer = await fetch(input, init);
        const headers = new Headers(answer.headers);
        if (headers.get("content-range") !== "bytes 10-29/1000") return answer;
        headers.set("content-range", "bytes 11-29/1000");
        return new Response(bytes.slice(11, 30), { status: 206, headers });
      },
    });
    assert.match((await rejects("io/http", () => part(source))).message, /another range/);
  });

  it("is refused when the server sends more than it announced", async () => {
    const source = await open({ fetch: lying });
    assert.equal(source.address, null);
    assert.match((await rejects("io/http", () => part(source))).message, /more bytes/);
  });

  it("is refused when it is not there or may not be read", async () => {
    assert.match((await rejects("io/http", () => httpSource(`${hub.url}/nothing`, QUICK))).found!, /404/);
    hub.faults.token = "Bearer secret";
    assert.match((await rejects("io/http", () => open())).advice!, /token/);
  });

  it("stays silent about secrets", async () => {
    const address = `${hub.url}/nothing?signature=TOPSECRET#TOPSECRET`;
    const headers = { authorization: "TOPSECRET" };
    assert.doesNotMatch(
      (await rejects("io/http", () => httpSource(address, { ...QUICK, headers }))).message,
      /TOPSECRET/,
    );
    const broken = { authorization: "TOP\nTOPSECRET" };
    assert.doesNotMatch((await rejects("io/http", () => httpSource(url, { headers: broken }))).message, /TOPSECRET/);
    const named = "http://me:TOPSECRET@127.0.0.1/x";
    assert.doesNotMatch((await rejects("io/http", () => httpSource(named))).message, /TOPSECRET/);
  });

  for (const address of ["model.safetensors", "file:///etc/passwd", "ftp://127.0.0.1/x"]) {
    it(`is no file on a server: ${address}`, async () => {
      assert.equal((await rejects("io/http", () => httpSource(address))).kind, "request");
    });
  }

  it("is downloaded whole, up to a limit", async () => {
    hub.files.set("config.json", bytes);
    const address = `${hub.url}/config.json`;
    hub.faults.statuses = [503];
    assert.deepEqual(await downloadHttp(address, { ...QUICK, limit: 1000 }), bytes);
    await rejects("io/http", () => downloadHttp(address, { ...QUICK, limit: 999 }));
    assert.equal(await downloadHttp(`${hub.url}/nothing`, { ...QUICK, limit: 1 }), null);
    hub.faults.token = "Bearer secret";
    await rejects("io/http", () => downloadHttp(address, { ...QUICK, limit: 1000 }));
  });

  it("is probed on a server without ranges", async () => {
    hub.files.set("config.json", bytes);
    hub.faults.ignoreRanges = true;
    const probe = await probeHttp(`${hub.url}/config.json`, QUICK);
    assert.equal(probe.status, "found");
    assert.ok(probe.status === "found" && !probe.ranges && probe.stamp.size === 1000);
  });
});

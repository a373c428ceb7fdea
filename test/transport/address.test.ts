/** Whatever the URL rules accept can be dialled and listened on, at the host and port that they read. */
import { createServer } from "node:net";
import * as fc from "fast-check";
import { addressOf } from "../../src/base/address";
import { silentLog } from "../../src/base/log";
import { systemClock } from "../../src/base/clock";
import { normaliseUrl } from "../../src/roster/index";
import { GrpcServer } from "../../src/rpc/grpc_server";
import { PeerChannel, dialTarget } from "../../src/transport/dial";

const label = fc.oneof(
  fc.stringMatching(/^[a-z0-9_-]{1,12}$/),
  fc.stringMatching(/^xn--[a-z0-9-]{0,12}$/),
  fc.stringMatching(/^[0-9]{1,4}$/),
  fc.stringMatching(/^0x[0-9a-f]{0,4}$/),
);
const host = fc.oneof(
  fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join(".")),
  fc.domain(),
  fc.ipV4(),
  fc.ipV6().map((address) => `[${address}]`),
  fc.stringMatching(/^\[[0-9a-fA-F:.]{0,20}\]$/),
  fc.string({ maxLength: 12 }),
);
const port = fc.oneof(fc.integer({ min: 0, max: 70_000 }), fc.constantFrom(80, 443));
const text = fc
  .tuple(fc.constantFrom("http://", "https://", "HTTP://", "", "ftp://"), host, fc.option(port))
  .map(([scheme, name, number]) => `${scheme}${name}${number === null ? "" : `:${number}`}`);

test("what the rules accept can be dialled, where they say", () => {
  let accepted = 0;
  fc.assert(
    fc.property(text, (url) => {
      const result = normaliseUrl(url);
      if (!result.ok) return;
      accepted++;
      const address = addressOf(result.url);
      if (address === null) throw new Error(`no address: ${result.url}`);
      expect(`${address.secure ? "https" : "http"}://${address.host}:${address.port}`).toBe(result.url);
      expect(dialTarget(result.url)).toBe(`dns:${address.host}:${address.port}`);
      // What the library's HTTP/2 client does with the target when it connects, in a later turn of the loop.
      expect(new URL(`http://${address.host}:${address.port}`).hostname).toBe(address.host);
      new PeerChannel(result.url).close();
    }),
    { numRuns: 800 },
  );
  expect(accepted).toBeGreaterThan(80);
});

test("what is no normal form has no address", () => {
  const wrong = [
    "",
    "http://A:1",
    "http://a:080",
    "http://a",
    "http://a:1/",
    "http://a:70000",
    "http://xn--a:1",
  ];
  for (const url of wrong) expect(addressOf(url)).toBeNull();
  expect(addressOf("http://a:80")).toEqual({ secure: false, host: "a", port: 80 });
  expect(addressOf("https://a:443")).toEqual({ secure: true, host: "a", port: 443 });
});

describe("listening", () => {
  const options = {
    clock: systemClock,
    wallNow: Date.now,
    electionMs: 1000,
    log: silentLog,
    translate: () => {
      throw new Error("not in this test");
    },
    maxMessageBytes: 1024,
    stallMs: 1000,
  };

  /** A port that is free at this address now. */
  function freePort(address: string): Promise<number> {
    const server = createServer();
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, address, () => {
        const bound = server.address();
        server.close(() => {
          resolve(bound === null || typeof bound === "string" ? 0 : bound.port);
        });
      });
    });
  }

  test.each(["127.0.0.1", "127.3.2.1", "localhost", "0.0.0.0"])(
    "at %s, where a channel then connects",
    async (name) => {
      const free = await freePort(name);
      const result = normaliseUrl(`HTTP://${name}:${String(free)}`);
      if (!result.ok) throw new Error(result.problem);
      const server = new GrpcServer(options);
      await server.listen(result.url);
      const channel = new PeerChannel(result.url);
      expect(await channel.connected(Date.now() + 10_000)).toBe(true);
      channel.close();
      await server.close();
    },
  );

  test("what is no address is refused, and does not throw", async () => {
    const server = new GrpcServer(options);
    await expect(server.listen("http://xn--a:1")).rejects.toThrow("not an address to listen at");
  });
});

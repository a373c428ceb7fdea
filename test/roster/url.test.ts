/** The normal form of URLs, and the URLs that are refused. */
import * as fc from "fast-check";
import {
  normalisePeerUrl,
  normaliseReachableUrl,
  normaliseUrl,
  URL_LENGTH_MAX,
} from "../../src/roster/index";

describe("accepted, in normal form", () => {
  test.each([
    ["http://a:1", "http://a:1"],
    ["https://node-1.example.com:7461", "https://node-1.example.com:7461"],
    ["HTTP://Node-1.Example.COM:7461", "http://node-1.example.com:7461"],
    ["hTTps://A:443", "https://a:443"],
    ["http://a:80", "http://a:80"],
    ["http://a:00080", "http://a:80"],
    ["http://a:65535", "http://a:65535"],
    ["http://localhost:7461", "http://localhost:7461"],
    ["http://127.0.0.1:7461", "http://127.0.0.1:7461"],
    ["http://1a.2b:9", "http://1a.2b:9"],
    ["http://node_1:9", "http://node_1:9"],
    ["http://xn--bcher-kva.example:9", "http://xn--bcher-kva.example:9"],
    ["http://[::1]:7461", "http://[::1]:7461"],
    ["http://[::]:7461", "http://[::]:7461"],
    ["http://[0:0:0:0:0:0:0:1]:7461", "http://[::1]:7461"],
    ["http://[2001:DB8:0:0:1:0:0:1]:1", "http://[2001:db8::1:0:0:1]:1"],
    ["http://[2001:0db8:0000:0001:0001:0001:0001:0001]:1", "http://[2001:db8:0:1:1:1:1:1]:1"],
    ["http://[1:2:3:4:5:6:7::]:1", "http://[1:2:3:4:5:6:7:0]:1"],
    ["http://[::ffff:192.0.2.1]:1", "http://[::ffff:c000:201]:1"],
    ["http://[1:0:0:2::3]:1", "http://[1:0:0:2::3]:1"],
  ])("%s", (text, url) => {
    expect(normaliseUrl(text)).toEqual({ ok: true, url });
  });
});

const LONG = `http://${"a".repeat(10_240)}:1`;

describe("refused, with the reason", () => {
  test.each([
    ["", "must not be empty"],
    ["a:1", "must start with http:// or https://"],
    ["ftp://a:1", "must start with http:// or https://"],
    ["file:///etc/passwd", "must start with http:// or https://"],
    ["http:/a:1", "must start with http:// or https://"],
    ["httpx://a:1", "must start with http:// or https://"],
    [" http://a:1", "ASCII without spaces"],
    ["http://a:1\n", "ASCII without spaces"],
    ["http://a\u0000:1", "ASCII without spaces"],
    ["http://bücher.example:1", "xn-- form"],
    ["http://\ud800:1", "ASCII without spaces"],
    ["http://a", "must have a port"],
    ["http://a:", "must have a port"],
    ["http://a:0", "port from 1 to 65535"],
    ["http://a:65536", "port from 1 to 65535"],
    ["http://a:000080", "port from 1 to 65535"],
    ["http://a:99999999999999999999", "port from 1 to 65535"],
    ["http://a:8o", "scheme://host:port"],
    ["http://a:-1", "scheme://host:port"],
    ["http://a:+1", "scheme://host:port"],
    ["http://a:1:2", "scheme://host:port"],
    ["http://a:1/", "without a path"],
    ["http://a:1/members", "without a path"],
    ["http:///a:1", "without a path"],
    ["http://a:1?x=1", "without a query"],
    ["http://a:1#x", "without a fragment"],
    ["http://user@a:1", "without a user"],
    ["http://user:secret@a:1", "without a user"],
    ["http://:1", "valid host"],
    ["http://", "valid host"],
    ["http://a..b:1", "valid host"],
    ["http://a.:1", "valid host"],
    ["http://-a:1", "valid host"],
    ["http://a-:1", "valid host"],
    ["http://a%20b:1", "valid host"],
    ["http://a\\b:1", "valid host"],
    [`http://${"a".repeat(64)}:1`, "valid host"],
    [`http://${"a.".repeat(127)}ab:1`, "valid host"],
    ["http://256.0.0.1:1", "valid host"],
    ["http://1.2.3:1", "valid host"],
    ["http://1.2.3.4.5:1", "valid host"],
    ["http://127.0.0.01:1", "valid host"],
    ["http://2130706433:1", "valid host"],
    ["http://0x7f.0.0.0x1:1", "valid host"],
    ["http://::1:7461", "brackets"],
    ["http://[]:1", "valid host"],
    ["http://[::1:1", "scheme://host:port"],
    ["http://[1:2:3]:1", "valid host"],
    ["http://[1:2:3:4:5:6:7:8:9]:1", "valid host"],
    ["http://[1::2::3]:1", "valid host"],
    ["http://[:::]:1", "valid host"],
    ["http://[1:2:3:4:5:6:7:8::]:1", "valid host"],
    ["http://[12345::]:1", "valid host"],
    ["http://[::1.2.3.256]:1", "valid host"],
    ["http://[1.2.3.4::]:1", "valid host"],
    ["http://[fe80::1%eth0]:1", "valid host"],
    ["http://[::1]", "must have a port"],
    ["https://a", "must have a port"],
    ["http://xn--a:7491", "valid host"],
    ["http://xn--:1", "valid host"],
    ["http://a.xn--zzzzzzzzzzzzzz-99999:1", "valid host"],
    [LONG, "must be at most 512 characters, not 10249"],
  ])("%j", (text, problem) => {
    const result = normaliseUrl(text);
    expect(result).toEqual({ ok: false, problem: expect.stringContaining(problem) as string });
  });

  test("the length limit counts whole URLs", () => {
    const host = `${"a".repeat(60)}.`.repeat(3) + "a".repeat(60);
    const longest = `http://${host}:7461`;
    expect(normaliseUrl(longest).ok).toBe(true);
    expect(longest.length).toBeLessThan(URL_LENGTH_MAX);
  });

  test("a problem is short printable ASCII, whatever the text was", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary", maxLength: 600 }), fc.webUrl()), (text) => {
        const result = normaliseUrl(`http://${text}`);
        if (!result.ok) expect(result.problem).toMatch(/^[\x20-\x7e]{1,560}$/);
      }),
    );
  });
});

const UNSPECIFIED = [
  "http://0.0.0.0:7461",
  "http://[::]:7461",
  "http://[0:0::0]:7461",
  "http://[::0.0.0.0]:7461",
  "http://[::ffff:0.0.0.0]:7461",
];

describe("where a member is reached", () => {
  test.each(UNSPECIFIED)("%s is for listening only", (text) => {
    expect(normaliseUrl(text).ok).toBe(true);
    for (const normalise of [normaliseReachableUrl, normalisePeerUrl]) {
      expect(normalise(text)).toEqual({
        ok: false,
        problem: expect.stringContaining("for listening only") as string,
      });
    }
  });

  test("clients may reach it over https, members over http only", () => {
    expect(normaliseReachableUrl("https://a:1")).toEqual({ ok: true, url: "https://a:1" });
    expect(normalisePeerUrl("http://a:80")).toEqual({ ok: true, url: "http://a:80" });
    expect(normalisePeerUrl("https://a:1")).toEqual({
      ok: false,
      problem: expect.stringContaining("serves peers over http only") as string,
    });
  });
});

test("the normal form is its own normal form, and an address keeps its value", () => {
  const host = fc.oneof(
    fc.domain(),
    fc.ipV4(),
    fc.ipV6().map((address) => `[${address}]`),
  );
  fc.assert(
    fc.property(host, fc.integer({ min: 1, max: 65535 }), fc.boolean(), (name, port, secure) => {
      const scheme = secure ? "https" : "http";
      const result = normaliseUrl(`${scheme.toUpperCase()}://${name}:${port}`);
      if (!result.ok) throw new Error(result.problem);
      expect(normaliseUrl(result.url)).toEqual(result);
      // The platform's parser normalises hosts in the same way; it differs only in dropping default ports.
      const platform = new URL(`${scheme}://${name}:${port}`);
      expect(new URL(result.url).href).toBe(platform.href);
      expect(result.url.endsWith(`:${port}`)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

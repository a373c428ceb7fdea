/** Addresses are checked when a client is constructed. */
import { ClientConfigError, MusterClient, parseEndpoint, parseEndpoints } from "../../src/client";

describe("parseEndpoint", () => {
  test.each([
    ["127.0.0.1:7460", "dns:///127.0.0.1:7460", false],
    [" http://n1.example:80/ ", "dns:///n1.example:80", false],
    ["HTTPS://N1.example:443", "dns:///n1.example:443", true],
    ["[::1]:7460", "dns:///[::1]:7460", false],
    // A host with the name of a grpc-js resolver stays a host.
    ["unix:7460", "dns:///unix:7460", false],
  ])("%s", (text, target, tls) => {
    expect(parseEndpoint(text)).toMatchObject({ target, tls });
  });

  test.each([
    "",
    "n1",
    "n1:",
    "n1:0",
    "n1:65536",
    "n1:x",
    ":7460",
    "ftp://n1:1",
    "http://n1:1/path",
    "http://u@n1:1",
    "a b:1",
    "::1:7460",
  ])("refuses %j", (text) => {
    expect(() => parseEndpoint(text)).toThrow(ClientConfigError);
  });

  test("names the address it refuses", () => {
    expect(() => parseEndpoint("n1")).toThrow('bad endpoint "n1": want host:port');
  });
});

test("an address given twice counts once", () => {
  expect(parseEndpoints(["a:1", "http://A:1", "b:1"]).map((endpoint) => endpoint.authority)).toEqual([
    "a:1",
    "b:1",
  ]);
});

test.each([
  [{ endpoints: [] }, "at least one endpoint"],
  [{ endpoints: ["a:1"], timeoutMs: 0 }, "bad timeout"],
  [{ endpoints: ["a:1"], timeoutMs: Number.NaN }, "bad timeout"],
  [{ endpoints: ["a:1"], timeoutMs: 30 * 24 * 3600 * 1000 }, "bad timeout"],
])("a client can't be made from %j", (options, message) => {
  expect(() => new MusterClient(options)).toThrow(message);
});

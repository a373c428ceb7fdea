/** The configuration: file, variables, flags, in this order; every mistake is one clear error that says where. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError, checkFirstStart, loadConfig, otherAddresses } from "../../src/server/config";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "muster-config-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const GOOD = {
  name: "n1",
  "admin-url": "http://127.0.0.1:7460",
  "peer-url": "http://127.0.0.1:7461",
  "data-dir": "/data",
  "initial-cluster": "n1=http://127.0.0.1:7461,n2=http://127.0.0.1:7471",
};

function file(text: string): string {
  const path = join(folder, "node.yaml");
  writeFileSync(path, text);
  return path;
}

const yaml = (values: Readonly<Record<string, unknown>>): string =>
  Object.entries(values)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join("");

function problem(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    const { message } = error as ConfigError;
    expect(message).not.toContain("\n");
    return message;
  }
  throw new Error("it was accepted");
}

test("defaults, and URLs in normal form", () => {
  const config = loadConfig({
    file: file(yaml({ ...GOOD, "admin-url": "HTTP://LocalHost:07460" })),
    flags: {},
    env: {},
  });
  expect(config).toEqual({
    name: "n1",
    adminUrl: "http://localhost:7460",
    peerUrl: "http://127.0.0.1:7461",
    heartbeatMs: 100,
    electionMs: 1000,
    initialCluster: [
      { name: "n1", peerUrl: "http://127.0.0.1:7461" },
      { name: "n2", peerUrl: "http://127.0.0.1:7471" },
    ],
    initialClusterState: "new",
    initialClusterToken: "",
    dataDir: "/data",
    logLevel: "info",
  });
});

test("flags go over variables, and those over the file", () => {
  const path = file(
    yaml({ ...GOOD, "log-level": "error", "heartbeat-interval": 50, "election-timeout": 500 }),
  );
  const env = { MUSTER_LOG_LEVEL: "warn", MUSTER_HEARTBEAT_INTERVAL: "60", MUSTER_NAME: "" };
  const config = loadConfig({ file: path, flags: { "log-level": "debug" }, env });
  expect(config).toMatchObject({ logLevel: "debug", heartbeatMs: 60, electionMs: 500, name: "n1" });
});

test("no file at all; names and tokens that YAML takes for numbers", () => {
  expect(loadConfig({ flags: GOOD, env: {} }).name).toBe("n1");
  const config = loadConfig({ file: file(`${yaml(GOOD)}initial-cluster-token: 7\n`), flags: {}, env: {} });
  expect(config.initialClusterToken).toBe("7");
});

test("a member may listen elsewhere than it is reached, also at every address", () => {
  const listen = { "listen-admin-url": "http://0.0.0.0:7460", "listen-peer-url": "http://[0::0]:07461" };
  expect(loadConfig({ flags: { ...GOOD, ...listen }, env: {} })).toMatchObject({
    adminUrl: GOOD["admin-url"],
    peerUrl: GOOD["peer-url"],
    listenAdminUrl: "http://0.0.0.0:7460",
    listenPeerUrl: "http://[::]:7461",
  });
});

describe("join", () => {
  const { "initial-cluster": listed, ...alone } = GOOD;

  test("addresses with and without http://, in normal form, each once; initial-cluster is not needed", () => {
    const config = loadConfig({
      flags: { ...alone, join: "H1:07460, http://h2:7461,,[0::1]:7460,h1:7460" },
      env: {},
    });
    expect(config).toMatchObject({
      initialCluster: [],
      initialClusterState: "existing",
      join: {
        urls: ["http://h1:7460", "http://h2:7461", "http://[::1]:7460"],
        target: "voter",
        replaceIfWiped: false,
      },
    });
    expect(() => {
      checkFirstStart(config);
    }).not.toThrow();
  });

  test("target and replace-if-wiped, in file, variable and flag", () => {
    const rest = { "join-target": "standby", "replace-if-wiped": "true" };
    const wanted = { join: { urls: ["http://h:1"], target: "standby", replaceIfWiped: true } };
    const path = file(yaml({ ...alone, join: "h:1", ...rest }));
    expect(loadConfig({ file: path, flags: {}, env: {} })).toMatchObject(wanted);
    expect(loadConfig({ flags: { ...alone, join: "h:1", ...rest }, env: {} })).toMatchObject(wanted);
    const env = { MUSTER_JOIN: "h:1", MUSTER_JOIN_TARGET: "standby", MUSTER_REPLACE_IF_WIPED: "true" };
    expect(loadConfig({ flags: alone, env })).toMatchObject(wanted);
  });

  test("an empty variable is none; so are ~ and null in a file", () => {
    expect(loadConfig({ flags: GOOD, env: { MUSTER_JOIN: "" } }).join).toBeUndefined();
    for (const nothing of ["~", "null"]) {
      const path = file(`${yaml(GOOD)}join: ${nothing}
`);
      expect(loadConfig({ file: path, flags: {}, env: {} }).join).toBeUndefined();
    }
  });

  test.each([
    ["an empty list", { join: "" }, "join: is empty"],
    ["commas only", { join: " ,," }, "join: is empty"],
    ["no port", { join: "h" }, 'join: "h" is no host:port: must have a port'],
    ["a path", { join: "h:1/x" }, "without a path"],
    ["TLS", { join: "https://h:1" }, "join: "],
    ["another scheme", { join: "ftp://h:1" }, "must start with http://"],
    ["a form of initial-cluster", { join: "n1=http://h:1" }, "join: "],
    ["an address for listening only", { join: "0.0.0.0:1" }, "for listening only"],
    [
      "a new cluster",
      { join: "h:1", "initial-cluster-state": "new" },
      "contradicts initial-cluster-state new",
    ],
    ["no such target", { join: "h:1", "join-target": "leader" }, "is not one of voter, learner, standby"],
    ["neither true nor false", { join: "h:1", "replace-if-wiped": "maybe" }, "is not one of true, false"],
    ["a target without join", { "join-target": "voter" }, "join-target: has a meaning only with join"],
    ["replace-if-wiped without join", { "replace-if-wiped": "true" }, "replace-if-wiped: has a meaning only"],
  ])("%s is one clear error", (_what, values, text) => {
    const path = file(yaml({ ...GOOD, ...values }));
    expect(problem(() => loadConfig({ file: path, flags: {}, env: {} }))).toContain(text);
    const inFlag = problem(() => loadConfig({ flags: { ...GOOD, ...values }, env: {} }));
    expect(inFlag).toContain(text);
    expect(inFlag.startsWith("--")).toBe(true);
  });

  test.each([
    [
      "an initial-cluster without this member",
      { "initial-cluster": "n2=http://h:1" },
      "does not name this member",
    ],
    ["with another URL of it", { "initial-cluster": "n1=http://h:1" }, "but peer-url is"],
    ["its own addresses only", { join: "127.0.0.1:7461,127.0.0.1:7460" }, "only this member's own addresses"],
  ])("%s is an error of the first start", (_what, values, text) => {
    const config = loadConfig({ flags: { ...alone, join: "h:1", ...values }, env: {} });
    expect(
      problem(() => {
        checkFirstStart(config);
      }),
    ).toContain(text);
  });

  test("together with an initial-cluster that has this member, both are asked", () => {
    const config = loadConfig({ flags: { ...alone, join: "h:1", "initial-cluster": listed }, env: {} });
    expect(() => {
      checkFirstStart(config);
    }).not.toThrow();
    expect(otherAddresses(config)).toEqual(["http://h:1", "http://127.0.0.1:7471"]);
  });
});

const BAD: [string, Readonly<Record<string, unknown>>, string, string][] = [
  ["an unknown key", { colour: "red" }, "colour", "unknown key"],
  ["a key of later", { "metrics-addr": "127.0.0.1:7462" }, "metrics-addr", "not supported yet"],
  ["no name", { name: "" }, "name", "required"],
  ["a bad name", { name: "a b" }, "name", "letters, digits"],
  ["a name that is a list", { name: ["a"] }, "name", "must be a text"],
  ["no data-dir", { "data-dir": null }, "data-dir", "required"],
  ["an admin-url without port", { "admin-url": "http://h" }, "admin-url", "must have a port"],
  ["a peer-url with a path", { "peer-url": "http://h:1/x" }, "peer-url", "without a path"],
  ["https", { "peer-url": "https://h:1" }, "peer-url", "serves peers over http only"],
  ["https for clients", { "admin-url": "https://h:1" }, "admin-url", "TLS is not supported yet"],
  ["0.0.0.0 for clients", { "admin-url": "http://0.0.0.0:1" }, "admin-url", "for listening only"],
  ["[::] for members", { "peer-url": "http://[::]:1" }, "peer-url", "for listening only"],
  ["a host that can't be dialled", { "peer-url": "http://xn--a:1" }, "peer-url", "valid host"],
  ["listening with a path", { "listen-peer-url": "http://h:1/x" }, "listen-peer-url", "without a path"],
  ["listening with TLS", { "listen-admin-url": "https://h:1" }, "listen-admin-url", "TLS is not supported"],
  ["one place to listen", { "listen-peer-url": GOOD["admin-url"] }, "listen-peer-url", "at one address"],
  ["the same the other way", { "listen-admin-url": GOOD["peer-url"] }, "listen-admin-url", "at one address"],
  [
    "a member at 0.0.0.0",
    { "initial-cluster": "n1=http://0.0.0.0:1" },
    "initial-cluster",
    "for listening only",
  ],
  ["a member over https", { "initial-cluster": "n1=https://h:1" }, "initial-cluster", "over http only"],
  ["one URL for both", { "admin-url": GOOD["peer-url"] }, "peer-url", "same as admin-url"],
  ["a heartbeat of 0", { "heartbeat-interval": 0 }, "heartbeat-interval", "from 10 to 60000"],
  ["a heartbeat that is no number", { "heartbeat-interval": "fast" }, "heartbeat-interval", "whole number"],
  ["half a millisecond", { "heartbeat-interval": 100.5 }, "heartbeat-interval", "whole number"],
  ["a short election timeout", { "election-timeout": 499 }, "election-timeout", "less than 5 heartbeat"],
  [
    "a state that is none",
    { "initial-cluster-state": "old" },
    "initial-cluster-state",
    "is not one of new, existing",
  ],
  ["a level that is none", { "log-level": "loud" }, "log-level", "is not one of"],
  ["a member without URL", { "initial-cluster": "n1" }, "initial-cluster", "name=peer-url"],
  ["a member with a bad URL", { "initial-cluster": "n1=ftp://h:1" }, "initial-cluster", "http://"],
  ["a member with a bad name", { "initial-cluster": "=http://h:1" }, "initial-cluster", "must not be empty"],
  ["a name twice", { "initial-cluster": "a=http://h:1,a=http://h:2" }, "initial-cluster", 'names "a" twice'],
  ["a URL twice", { "initial-cluster": "a=http://h:1,b=http://H:1" }, "initial-cluster", "http://h:1 twice"],
];
test.each(BAD)("%s is one clear error, wherever it stands", (_what, values, key, text) => {
  const path = file(yaml({ ...GOOD, ...values }));
  const inFile = problem(() => loadConfig({ file: path, flags: {}, env: {} }));
  expect(inFile).toContain(text);
  expect(inFile).toContain(key);
  const value = values[key];
  if (typeof value !== "string" || value === "") return;
  const inFlag = problem(() => loadConfig({ flags: { ...GOOD, [key]: value }, env: {} }));
  expect(inFlag.startsWith(`--${key}: `)).toBe(true);
  if (text === "unknown key") return; // variables are asked for by name
  const variable = `MUSTER_${key.toUpperCase().replaceAll("-", "_")}`;
  const inVariable = problem(() =>
    loadConfig({
      flags: Object.fromEntries(Object.entries(GOOD).filter(([k]) => k !== key)),
      env: { [variable]: value },
    }),
  );
  expect(inVariable.startsWith(`${variable}: `)).toBe(true);
});

test("files that are not there, not YAML, or no keys with values", () => {
  const missing = join(folder, "missing.yaml");
  expect(problem(() => loadConfig({ file: missing, flags: {}, env: {} }))).toContain(missing);
  expect(problem(() => loadConfig({ file: file("a: [1\nb"), flags: {}, env: {} }))).toContain("not YAML");
  for (const text of ["- a\n", "just a text\n", "7\n"]) {
    expect(problem(() => loadConfig({ file: file(text), flags: {}, env: {} }))).toContain(
      "must be keys with values",
    );
  }
  expect(problem(() => loadConfig({ file: file(""), flags: {}, env: {} }))).toContain("name: required");
});

describe("the first start needs this member in initial-cluster", () => {
  const config = (values: Readonly<Record<string, string>>) =>
    loadConfig({ flags: { ...GOOD, ...values }, env: {} });
  test("as it is", () => {
    expect(() => {
      checkFirstStart(config({}));
    }).not.toThrow();
  });
  test.each([
    ["none given", { "initial-cluster": "" }, "required at the first start"],
    ["without this member", { name: "n3" }, 'does not name this member, "n3"; it names n1, n2'],
    ["with another URL", { "peer-url": "http://127.0.0.1:9" }, "but peer-url is http://127.0.0.1:9"],
  ])("%s", (_what, values, text) => {
    expect(
      problem(() => {
        checkFirstStart(config(values));
      }),
    ).toContain(text);
  });
});

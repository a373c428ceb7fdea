/** How `muster server` reads its command line, starts, stops and ends, with a fake member. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { runServer } from "../../src/cli/run_server";
import type { RunningServer, StartServer } from "../../src/cli/run_server";
import { addServerOptions, serverFlags } from "../../src/cli/server_options";
import { CONFIG_KEYS, ConfigError } from "../../src/server/config";
import type { ServerConfig } from "../../src/server/config";
import { StartRefusedError } from "../../src/server/errors";
import { DataDirError } from "../../src/storage/errors";
import { FakeProcess, muster, until } from "./support/harness";

const flags = {
  name: "n1",
  "admin-url": "http://127.0.0.1:7460",
  "peer-url": "http://127.0.0.1:7461",
  "data-dir": "unused",
  "initial-cluster": "n1=http://127.0.0.1:7461",
};

/** A fake member that the test controls. */
class StandIn implements RunningServer {
  stops = 0;
  config: ServerConfig | undefined;
  end: (code: number) => void = () => undefined;
  finishStop: () => void = () => undefined;
  failStop: (error: Error) => void = () => undefined;
  readonly exited = new Promise<number>((resolve) => (this.end = resolve));

  readonly start: StartServer = (config) => {
    this.config = config;
    return Promise.resolve(this);
  };

  stop(): Promise<void> {
    this.stops++;
    return new Promise((resolve, reject) => {
      this.finishStop = resolve;
      this.failStop = reject;
    });
  }
}

function begin(
  start: StartServer,
  env: Record<string, string> = {},
): { io: FakeProcess; code: Promise<number> } {
  const io = new FakeProcess(env);
  return { io, code: runServer({ file: undefined, flags, env }, io, start) };
}

test("every configuration key is a flag of the same name, and every flag a key", async () => {
  const words = [...CONFIG_KEYS, "metrics-addr"].flatMap((key) => [`--${key}`, `value of ${key}`]);
  const seen: unknown[] = [];
  const command = addServerOptions(new Command("server")).action(
    (options: Record<string, string>, self: Command) => {
      seen.push(serverFlags(options, self));
    },
  );
  await command.parseAsync(["--config", "node.yaml", ...words], { from: "user" });
  const expected = Object.fromEntries(
    [...CONFIG_KEYS, "metrics-addr"].map((key) => [key, `value of ${key}`]),
  );
  expect(seen).toEqual([{ file: "node.yaml", flags: expected }]);
});

test("--replace-if-wiped needs no value", async () => {
  const seen: unknown[] = [];
  const command = addServerOptions(new Command("server")).action(
    (options: Record<string, string | true>, self: Command) => {
      seen.push(serverFlags(options, self).flags);
    },
  );
  await command.parseAsync(["--replace-if-wiped", "--join", "h:1"], { from: "user" });
  expect(seen).toEqual([{ "replace-if-wiped": "true", join: "h:1" }]);
});

describe("stopping", () => {
  test.each(["SIGINT", "SIGTERM", "disconnect"] as const)(
    "%s stops the member gracefully: 0",
    async (cause) => {
      const member = new StandIn();
      const { io, code } = begin(member.start);
      await until(() => member.config !== undefined);
      await new Promise((resolve) => setImmediate(resolve));
      io.signal(cause);
      await until(() => member.stops === 1);
      member.finishStop();
      expect(await code).toBe(0);
      expect([io.err, io.listening("SIGTERM")]).toEqual(["", 0]);
    },
  );

  test("a second signal ends it at once: 130", async () => {
    const member = new StandIn();
    const { io, code } = begin(member.start);
    await new Promise((resolve) => setImmediate(resolve));
    io.signal("SIGTERM");
    await until(() => member.stops === 1);
    io.signal("SIGINT");
    expect(await code).toBe(130);
    expect(member.stops).toBe(1);
  });

  test("the end of the parent `muster dev` does not interrupt a stop that is under way", async () => {
    const member = new StandIn();
    const { io, code } = begin(member.start);
    await new Promise((resolve) => setImmediate(resolve));
    io.signal("SIGTERM");
    await until(() => member.stops === 1);
    io.signal("disconnect");
    member.finishStop();
    expect(await code).toBe(0);
  });

  test("a stop that fails is exit code 1 with one line", async () => {
    const member = new StandIn();
    const { io, code } = begin(member.start);
    await new Promise((resolve) => setImmediate(resolve));
    io.signal("SIGTERM");
    await until(() => member.stops === 1);
    member.failStop(new Error("log: can't be\nclosed"));
    expect([await code, io.err]).toEqual([1, "muster: log: can't be?closed\n"]);
  });

  test("a member that never finishes its start can be stopped", async () => {
    const { io, code } = begin(() => new Promise(() => undefined));
    io.signal("SIGINT");
    expect([await code, io.err]).toEqual([0, "muster: stopped before the start was complete\n"]);
  });
});

test.each([0, 1, 7])("a member that ends by itself decides the exit code: %i", async (exitCode) => {
  const member = new StandIn();
  const { code } = begin(member.start);
  member.end(exitCode);
  expect(await code).toBe(exitCode);
  expect(member.stops).toBe(0);
});

describe("refusing to start", () => {
  test("a data directory that does not fit: one line, 1", async () => {
    const { io, code } = begin(() => Promise.reject(new Error("data-dir: belongs to another cluster")));
    expect([await code, io.err]).toEqual([1, "muster: data-dir: belongs to another cluster\n"]);
  });

  test.each([
    ["its data directory is marked as removed", new DataDirError("removed", "REMOVED", null, "removed"), 8],
    ["the cluster knows it with another data directory", new StartRefusedError("lost", true), 9],
    ["anything else", new StartRefusedError("port in use"), 1],
    ["another problem of its data directory", new DataDirError("damage", "wal", 7, "damaged"), 1],
  ])("the exit code when %s", async (_what, error, exitCode) => {
    const { code } = begin(() => Promise.reject(error));
    expect(await code).toBe(exitCode);
  });

  test("a configuration error that only the start can find: 2", async () => {
    const { io, code } = begin(() => Promise.reject(new ConfigError("initial-cluster: required")));
    expect([await code, io.err]).toEqual([2, "muster: initial-cluster: required\n"]);
  });

  test.each([
    [["--metrics-addr", "127.0.0.1:7462"], {}, "--metrics-addr: not supported yet"],
    [["--heartbeat-interval", "soon"], {}, "--heartbeat-interval: must be a whole number"],
    [["--name", "n 1"], {}, "--name: "],
    [[], { MUSTER_LOG_LEVEL: "loud" }, "MUSTER_LOG_LEVEL: "],
    [["--config", "/nowhere/node.yaml"], {}, "/nowhere/node.yaml: can't be read"],
  ])("%j %j is exit code 2 and names the place of the mistake", async (words, env, text) => {
    const valid = ["name", "admin-url", "peer-url", "data-dir"] as const;
    const given = valid.flatMap((key) => [`--${key}`, flags[key]]);
    const { code, out, err } = await muster(["server", ...given, ...words], env);
    expect([code, out]).toEqual([2, ""]);
    expect(err.startsWith(`muster: ${text}`)).toBe(true);
    expect(err.trimEnd().split("\n")).toHaveLength(1);
  });
});

test("flags override variables, variables override the file", async () => {
  const directory = mkdtempSync(join(tmpdir(), "muster-test-"));
  try {
    const file = join(directory, "node.yaml");
    writeFileSync(file, "name: from-file\nlog-level: error\nheartbeat-interval: 50\n");
    const member = new StandIn();
    const env = { MUSTER_LOG_LEVEL: "warn", MUSTER_NAME: "from-variable" };
    const code = runServer({ file, flags, env }, new FakeProcess(env), member.start);
    member.end(0);
    await code;
    expect(member.config).toMatchObject({ name: "n1", logLevel: "warn", heartbeatMs: 50 });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/**
 * The lock that lies in the directory: it holds across network namespaces, against a stopped holder and between starters at
 * once; a killed holder leaves nothing that blocks.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DirLock } from "../../src/storage/fs";
import { call } from "../../src/storage/fs_calls";
import { nodeFs } from "../../src/storage/node_fs";
import { takeSocketLock } from "../../src/storage/socket_lock";

let dir: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "muster-socket-lock-"));
});

afterEach(async () => {
  for (const child of children.splice(0)) await killed(child);
  rmSync(dir, { recursive: true, force: true });
});

function lock(path: string): Promise<DirLock> {
  return call((done) => {
    nodeFs.lock(path, done);
  });
}

async function release(held: DirLock): Promise<void> {
  await call<null>((done) => {
    held.release(() => {
      done(null, null);
    });
  });
}

const lockFiles = (): string[] => readdirSync(dir).filter((name) => name.startsWith("LOCK-"));

/** How to start a process in a network namespace of its own; empty where this user may not. */
const OWN_NAMESPACE: readonly string[] =
  [
    ["unshare", "-n"],
    ["unshare", "-rn"],
  ].find(([command = "", ...args]) => spawnSync(command, [...args, "true"]).status === 0) ?? [];

/** A process that takes the lock of `dir` and keeps it. @returns what it says: "held" or the error */
async function holder(prefix: readonly string[] = []): Promise<{ child: ChildProcess; said: string }> {
  const script = `
    require(${JSON.stringify(join(__dirname, "../../scripts/swc-register.js"))});
    const { nodeFs } = require(${JSON.stringify(join(__dirname, "../../src/storage/node_fs.ts"))});
    nodeFs.lock(${JSON.stringify(dir)}, (error) => {
      process.stdout.write(error === null ? "held" : error.code);
      setInterval(() => {}, 1000);
    });`;
  const child = spawn("env", [...prefix, process.execPath, "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const said = await new Promise<string>((resolve) => {
    child.stdout.once("data", (data: Buffer) => {
      resolve(data.toString());
    });
  });
  return { child, said };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exited;
}

test("a process in another network namespace can't take a held directory, and the reverse", async () => {
  if (OWN_NAMESPACE.length === 0) {
    console.log("left out: this user may not make a network namespace");
    return;
  }
  const held = await lock(dir);
  expect((await holder(OWN_NAMESPACE)).said).toBe("EBUSY");
  await release(held);
  const { child, said } = await holder(OWN_NAMESPACE);
  expect(said).toBe("held");
  await expect(lock(dir)).rejects.toMatchObject({ code: "EBUSY" });
  // env and unshare replace themselves by the process, so this stops the holder itself.
  child.kill("SIGSTOP");
  await expect(lock(dir)).rejects.toMatchObject({ code: "EBUSY" });
  await killed(child);
  await release(await lock(dir));
  expect(lockFiles()).toEqual([]);
});

test("the file alone locks: a stopped holder keeps it, a killed one leaves nothing that blocks", async () => {
  const { child, said } = await holder();
  expect(said).toBe("held");
  expect(lockFiles()).toHaveLength(1);
  child.kill("SIGSTOP");
  expect((await takeSocketLock(dir)).kind).toBe("busy");
  await killed(child);
  expect(lockFiles()).toHaveLength(1);
  const taken = await takeSocketLock(dir);
  if (taken.kind !== "held") throw new Error(`not taken: ${taken.kind}`);
  expect(lockFiles()).toHaveLength(1);
  await taken.socket.release();
  expect(lockFiles()).toEqual([]);
});

test("of several starters at once at most one gets the lock, also over a leftover file", async () => {
  let won = 0;
  for (let round = 0; round < 12; round++) {
    writeFileSync(join(dir, `LOCK-${String(round).padStart(16, "0")}`), "");
    writeFileSync(join(dir, `LOCK-${String(round).padStart(16, "0")}.tmp`), "");
    const outcomes = await Promise.all([takeSocketLock(dir), takeSocketLock(dir), takeSocketLock(dir)]);
    const held = outcomes.flatMap((outcome) => (outcome.kind === "held" ? [outcome.socket] : []));
    expect(held.length).toBeLessThanOrEqual(1);
    won += held.length;
    for (const socket of held) await socket.release();
    expect(lockFiles()).toEqual([]);
  }
  expect(won).toBeGreaterThan(0);
});

test("a path longer than a socket's address is locked too", async () => {
  const long = join(dir, "x".repeat(120), "y".repeat(120));
  mkdirSync(long, { recursive: true });
  const held = await lock(long);
  expect(held.warning).toBeUndefined();
  expect((await takeSocketLock(long)).kind).toBe("busy");
  await release(held);
});

test("where no socket can be made, the lock holds in this namespace and says that it does not beyond", async () => {
  const held = await lock("/proc/self/task");
  expect(held.warning).toMatch(
    /^no socket can be made in \/proc\/self\/task \(E[A-Z]+\): its lock does not hold across network namespaces/,
  );
  await release(held);
});

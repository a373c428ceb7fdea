/** The lock of a directory is a kernel lock, so that a killed process leaves no stale lock. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DirLock } from "../../src/storage/fs";
import { call } from "../../src/storage/fs_calls";
import { nodeFs } from "../../src/storage/node_fs";

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "muster-lock-"));
});

afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

function lock(path: string): Promise<DirLock> {
  return call((done) => {
    nodeFs.lock(path, done);
  });
}

function release(held: DirLock): Promise<void> {
  return new Promise((resolve) => {
    held.release(() => {
      resolve();
    });
  });
}

test("one holder at a time, whatever path leads to the directory", async () => {
  const real = join(dir, "real");
  const link = join(dir, "link");
  mkdirSync(real);
  symlinkSync(real, link);
  const held = await lock(real);
  await expect(lock(real)).rejects.toMatchObject({ code: "EBUSY" });
  await expect(lock(link)).rejects.toMatchObject({ code: "EBUSY" });
  const other = await lock(dir);
  await release(held);
  await release(await lock(link));
  await release(other);
});

test("a directory that is not there cannot be held", async () => {
  await expect(lock(join(dir, "absent"))).rejects.toMatchObject({ code: "ENOENT" });
});

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => child.once("exit", () => resolve()));
}

test("another process's lock is released when that process is killed", async () => {
  const script = `
    require(${JSON.stringify(join(__dirname, "../../scripts/swc-register.js"))});
    const { nodeFs } = require(${JSON.stringify(join(__dirname, "../../src/storage/node_fs.ts"))});
    nodeFs.lock(${JSON.stringify(dir)}, (error) => {
      process.stdout.write(error === null ? "held" : String(error));
      setInterval(() => {}, 1000);
    });`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = ended(child);
  try {
    const said = await new Promise<string>((resolve) => {
      child.stdout.once("data", (data: Buffer) => {
        resolve(data.toString());
      });
    });
    expect(said).toBe("held");
    await expect(lock(dir)).rejects.toMatchObject({ code: "EBUSY" });
  } finally {
    child.kill("SIGKILL");
    await exited;
  }
  await release(await lock(dir));
});

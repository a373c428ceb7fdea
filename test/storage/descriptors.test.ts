/**
 * No file descriptor left (EMFILE, ENFILE): the open log waits and goes on, with a reserve of descriptors in a real process,
 * and a start is refused with what to do.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDataDir } from "../../src/storage/data_dir";
import type { DescriptorShortage } from "../../src/storage/patient_fs";
import { ManualClock } from "../base/support/manual_clock";
import { CrashFs, type Fault } from "./support/crash_fs";
import { DIR } from "./support/scripted_run";
import {
  allEntries,
  append,
  close,
  entry,
  hardState,
  IDENTITY,
  open,
  save,
  SMALL,
  snapshot,
} from "./support/values";

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function opened(): Promise<{
  fs: CrashFs;
  clock: ManualClock;
  storage: Awaited<ReturnType<typeof open>>["storage"];
  told: DescriptorShortage[];
}> {
  const fs = new CrashFs();
  await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
  const clock = new ManualClock();
  const told: DescriptorShortage[] = [];
  const { storage } = await open(fs, DIR, { clock, onShortage: (shortage) => told.push(shortage) });
  return { fs, clock, storage, told };
}

const WITHOUT: readonly [string, Fault][] = [
  ["EMFILE at opening", (kind) => (kind === "open" ? "EMFILE" : null)],
  ["ENFILE at opening", (kind) => (kind === "open" ? "ENFILE" : null)],
  ["EMFILE at the sync of the directory", (kind) => (kind === "syncDir" ? "EMFILE" : null)],
];

test.each(WITHOUT)(
  "%s: segments and snapshots wait for a descriptor, and nothing fails",
  async (_, fault) => {
    const { fs, clock, storage, told } = await opened();
    fs.fault = fault;
    let acked = 0;
    for (let i = 1; i <= 60; i++) {
      const parts = { hardState: hardState(1, 1n, 0), entries: [entry(i, 1, "x".repeat(400))] };
      void append(storage, parts).then(() => acked++);
    }
    for (let i = 0; i < 20; i++) {
      clock.advance(500);
      await settle();
    }
    const stuck = acked;
    expect(stuck).toBeLessThan(60);
    expect(told).toMatchObject([
      { over: false, errno: /EMFILE|ENFILE/.exec(fault("open", "") ?? "EMFILE")?.[0] },
    ]);
    let saved = false;
    void save(storage, snapshot(1, 1), 0).then(() => (saved = true));
    await settle();
    fs.fault = () => null;
    for (let i = 0; i < 20; i++) {
      clock.advance(2000);
      await settle();
    }
    expect([acked, saved]).toEqual([60, true]);
    expect(told.map(({ over }) => over).sort()).toEqual([false, false, true, true]);
    expect(clock.timerCount).toBe(0);
    await close(storage);
    expect(allEntries((await open(fs, DIR)).storage).at(-1)?.index).toBe(60);
  },
);

test("a start without descriptors is refused with what to do", async () => {
  const { fs, storage } = await opened();
  await close(storage);
  fs.fault = (kind) => (kind === "open" ? "EMFILE" : null);
  await expect(open(fs, DIR)).rejects.toMatchObject({
    reason: "io",
    errno: "EMFILE",
    message: expect.stringContaining("raise the limit (ulimit -n") as string,
  });
});

test("a process at its limit still begins segments and saves snapshots, by its reserve", () => {
  const dir = mkdtempSync(join(tmpdir(), "muster-descriptors-"));
  const source = (path: string): string => JSON.stringify(join(__dirname, "../..", path));
  const script = `
    require(${source("scripts/swc-register.js")});
    const fs = require("node:fs");
    const { nodeFs } = require(${source("src/storage/node_fs.ts")});
    const { createDataDir } = require(${source("src/storage/data_dir.ts")});
    const { openStorage } = require(${source("src/storage/wal.ts")});
    const identity = { clusterId: 1n, memberId: 2n, instanceId: new Uint8Array(16) };
    const options = ${JSON.stringify(SMALL)};
    const promised = (start) => new Promise((resolve, reject) => start((e) => (e === null ? resolve() : reject(e))));
    async function main() {
      await createDataDir(nodeFs, ${JSON.stringify(dir)}, identity, undefined, options);
      let short = 0;
      const { storage } = await openStorage(nodeFs, ${JSON.stringify(dir)}, { ...options, onShortage: () => short++ });
      try {
        for (;;) fs.openSync("/dev/null", "r");
      } catch (error) {
        if (error.code !== "EMFILE") throw error;
      }
      const meta = (index) => ({ index, term: 1, confState: { voters: [2n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false } });
      for (let index = 1; index <= 120; index++) {
        const entry = { index, term: 1, type: 0, data: Buffer.alloc(500, 1), confChange: null };
        const hardState = { term: 1, vote: 2n, commit: index };
        await promised((done) => storage.append({ hardState, entries: [entry], snapshot: null, mustSync: true }, done));
        if (index % 30 === 0) await promised((done) => storage.saveSnapshot({ meta: meta(index), data: Buffer.from("s") }, 0, done));
      }
      await promised((done) => storage.close(done));
      process.stdout.write("done, short " + short);
    }
    main().catch((error) => { process.stdout.write(String(error.stack)); process.exitCode = 1; });`;
  try {
    const child = spawnSync("sh", ["-c", 'ulimit -n 100 && exec "$0" "$@"', process.execPath, "-e", script], {
      encoding: "utf8",
    });
    expect(child.stdout).toBe("done, short 0");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

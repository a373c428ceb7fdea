/**
 * Power loss at any moment: scripted runs are recorded, and many of the states that a power loss could have left are
 * rebuilt and opened. Everything that was acknowledged must be there, and every state must open.
 *
 * MUSTER_CRASH_STATES sets how many states are tried in total (default 3000).
 */
import { createDataDir, readDataDirState } from "../../src/storage/data_dir";
import { readLogOffline, type OfflineLog } from "../../src/storage/offline";
import type { Storage } from "../../src/storage/storage";
import { CrashFs, PowerLoss, seeded, type Below } from "./support/crash_fs";
import { check, follow, nothingPromised, type Promised } from "./support/promised";
import { DIR, scriptedRun, type Run } from "./support/scripted_run";
import { append, close, entry, fsRun, hardState, IDENTITY, open, SMALL } from "./support/values";

const STATES = Number(process.env["MUSTER_CRASH_STATES"] ?? 3000);
const RUNS = 8;

/** Checks that the recovered log accepts entries, and that they are there when it is opened again. */
async function goesOn(fs: CrashFs, storage: Storage): Promise<void> {
  const { term, vote } = storage.initialState().hardState;
  const index = storage.lastIndex() + 1;
  const next = hardState(term + 1, vote, storage.initialState().hardState.commit);
  await append(storage, { hardState: next, entries: [entry(index, term + 1, Buffer.alloc(700, 0xab))] });
  await close(storage);
  const again = await open(fs, DIR);
  expect(again.report.tornTail).toBeNull();
  expect(again.storage.lastIndex()).toBe(index);
  expect(again.storage.initialState().hardState).toEqual(next);
  await close(again.storage);
}

interface Tally {
  states: number;
  torn: number;
  again: number;
}

/** Opens one state. Sometimes the power fails again during the recovery. */
async function recover(
  state: CrashFs,
  run: Run,
  promised: Promised,
  tally: Tally,
  below: Below,
): Promise<void> {
  const before = state.clone();
  const { storage, report } = await open(state, DIR, { expectedIdentity: IDENTITY });
  tally.states++;
  if (report.tornTail !== null) tally.torn++;
  check(storage, run.model, promised);
  if (tally.states % 4 === 0) await goesOn(state, storage);
  if (report.tornTail === null && below(8) !== 0) return;
  const power = new PowerLoss(before.tree);
  const upTo = below(state.ops.length + 1);
  for (const op of state.ops.slice(0, tally.states % 4 === 0 ? 0 : upTo)) power.apply(op);
  const second = await open(power.crash(below), DIR);
  tally.again++;
  check(second.storage, run.model, promised);
}

async function crashStates(seed: number, count: number, tally: Tally): Promise<void> {
  const below = seeded(seed);
  const run = await scriptedRun(below, 60);
  const lossy: number[] = [];
  const survey = new PowerLoss();
  let created = false;
  for (const [i, op] of run.fs.ops.entries()) {
    survey.apply(op);
    created ||= op.kind === "note" && op.note === "created";
    if (created && survey.pending()) lossy.push(i);
  }
  const perMoment = Math.max(1, Math.round(count / lossy.length));
  const chosen = new Set(lossy.filter(() => below(lossy.length) < count));
  const power = new PowerLoss();
  const promised = nothingPromised();
  for (const [i, op] of run.fs.ops.entries()) {
    power.apply(op);
    if (op.kind === "note") follow(promised, op.note, op.value);
    if (!chosen.has(i)) continue;
    for (let n = 0; n < perMoment; n++) await recover(power.crash(below), run, promised, tally, below);
  }
}

test(
  "every state that a power loss can leave opens, with everything that was acknowledged",
  async () => {
    const tally: Tally = { states: 0, torn: 0, again: 0 };
    for (let seed = 1; tally.states < STATES; seed++) {
      await crashStates(seed, Math.ceil(STATES / RUNS), tally);
    }
    console.log(
      `crash states: ${tally.states}, with a torn tail: ${tally.torn}, crashed again: ${tally.again}`,
    );
    expect(tally.torn).toBeGreaterThan(STATES / 50);
  },
  60_000 + STATES * 20,
);

test("entries that are found after a killed process are synced before the log accepts others", async () => {
  const fs = new CrashFs();
  await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
  const { storage } = await open(fs, DIR);
  await append(storage, { hardState: hardState(1, 1n, 0), entries: [entry(1, 1)] });
  fs.fault = (kind) => (kind === "sync" ? "EIO" : null);
  const lost = { hardState: hardState(2, 3n, 1), entries: [entry(2, 2)] };
  await expect(append(storage, lost)).rejects.toMatchObject({ reason: "io" });
  fs.fault = () => null;
  fs.killed();
  const again = await open(fs, DIR);
  expect(again.storage.lastIndex()).toBe(2);
  const power = new PowerLoss();
  for (const op of fs.ops) power.apply(op);
  const below = seeded(11);
  for (let n = 0; n < 50; n++) {
    const { storage: third } = await open(power.crash(below), DIR);
    expect(third.lastIndex()).toBe(2);
    expect(third.initialState().hardState).toEqual(lost.hardState);
  }
});

test("records are only written where the disk already has zeros, so that neither space nor file size changes", async () => {
  const { fs } = await scriptedRun(seeded(21), 80);
  const durable = new Map<number, number>();
  const size = new Map<number, number>();
  let records = 0;
  for (const op of fs.ops) {
    if (op.kind === "sync") durable.set(op.inode, size.get(op.inode) ?? 0);
    if (op.kind !== "write") continue;
    const end = op.position + op.bytes.length;
    size.set(op.inode, Math.max(size.get(op.inode) ?? 0, end));
    const filling = op.bytes.every((byte) => byte === 0);
    // The first write to a file happens before the file gets its name.
    if (op.position === 0 || filling) continue;
    records++;
    expect(end).toBeLessThanOrEqual(durable.get(op.inode) ?? 0);
  }
  expect(records).toBeGreaterThan(20);
});

test("creating a directory is all or nothing", async () => {
  const below = seeded(99);
  const fs = new CrashFs();
  await createDataDir(
    fs,
    "/a/b",
    IDENTITY,
    { entries: [entry(1, 1)], hardState: hardState(1, 0n, 1) },
    SMALL,
  );
  const power = new PowerLoss();
  const seen = new Set<string>();
  for (const op of [null, ...fs.ops]) {
    if (op !== null) power.apply(op);
    for (let n = 0; n < 20; n++) {
      const state = power.crash(below);
      const found = await readDataDirState(state, "/a/b");
      seen.add(typeof found === "string" ? found : "whole");
      if (typeof found === "string") {
        await createDataDir(
          state,
          "/a/b",
          IDENTITY,
          { entries: [entry(1, 1)], hardState: hardState(1, 0n, 1) },
          SMALL,
        );
      } else expect(found.identity).toEqual(IDENTITY);
      const log: OfflineLog = await readLogOffline("/a/b", state);
      expect(log.entries.map((e) => e.index)).toEqual([1]);
      expect(log.hardState).toEqual(hardState(1, 0n, 1));
    }
  }
  expect([...seen].sort()).toEqual(["absent", "empty", "whole"]);
  expect(await readDataDirState(power.crash(below), "/a/b")).toMatchObject({ identity: IDENTITY });
});

test("the model of power loss loses data that are not synced", async () => {
  const fs = new CrashFs();
  await fsRun((done) => {
    fs.open("/f", "create", (error, file) => {
      if (error !== null) throw error;
      file.write(Buffer.alloc(2048, 1), 0, done);
    });
  });
  const power = new PowerLoss();
  for (const op of fs.ops) power.apply(op);
  const below = seeded(3);
  const sizes = new Set<string>();
  for (let n = 0; n < 60; n++) {
    const state = power.crash(below);
    sizes.add(
      state
        .files()
        .map((path) => String(state.contents(path).filter((b) => b === 1).length))
        .join(),
    );
  }
  expect([...sizes]).toEqual(expect.arrayContaining(["", "0", "2048"]));
  expect([...sizes].some((size) => Number(size) > 0 && Number(size) < 2048)).toBe(true);
});

/** `muster rescue` from data directories of stopped members: which log wins, what it holds, and what is refused. */
import { rescue } from "../../src/backup/rescue";
import { restoredCluster } from "../../src/backup/restore";
import { decodeSavedSnapshot, encodeSavedSnapshot } from "../../src/backup/saved_snapshot";
import { EMPTY_BYTES, EntryType, type Entry } from "../../src/raft/index";
import { addMemberCommand, encodeCommand, Roster } from "../../src/roster/index";
import { createDataDir, createDataDirFromSnapshot } from "../../src/storage/data_dir";
import { openStorage } from "../../src/storage/wal";
import { ManualClock } from "../base/support/manual_clock";
import { CLUSTER_ID, sampleEntries, update } from "../cli/support/data_dir";
import { CrashFs } from "../storage/support/crash_fs";
import { SMALL } from "../storage/support/values";

const instanceId = new Uint8Array(16).fill(9);

/** A directory with the first `last` sample entries, of which `commit` are known to be committed. */
async function directory(
  fs: CrashFs,
  dir: string,
  memberId: bigint,
  last: number,
  commit = last,
  more: readonly Entry[] = [],
): Promise<string> {
  const entries = [...sampleEntries(last), ...more];
  const hardState = { term: Math.max(2, entries.at(-1)?.term ?? 0), vote: 0n, commit };
  await createDataDir(
    fs,
    dir,
    { clusterId: CLUSTER_ID, memberId, instanceId },
    { entries, hardState },
    SMALL,
  );
  return dir;
}

const revisionAfter = (entries: readonly Entry[]): number => {
  const roster = new Roster({ clusterId: CLUSTER_ID });
  for (const entry of entries) roster.apply(entry);
  return roster.revision;
};

test("one of three: all its entries are in the file, also those beyond its commit index", async () => {
  const fs = new CrashFs();
  const dir = await directory(fs, "/n1", 0x11n, 20, 15);
  const { saved, commit, survivors, chosen } = await rescue(fs, [dir], 77);
  expect([commit, survivors.length, chosen.dir]).toEqual([15, 1, "/n1"]);
  expect(saved).toMatchObject({ clusterId: CLUSTER_ID, memberId: 0x11n, timeMs: 77 });
  const read = decodeSavedSnapshot("f", encodeSavedSnapshot(saved));
  expect(read.snapshot.meta).toMatchObject({
    index: 20,
    term: 2,
    confState: { voters: [0x11n, 0x22n], learners: [] },
  });
  expect(read.roster.revision).toBe(revisionAfter(sampleEntries(20)));
  expect(read.roster.outcome("r-20")).not.toBeNull();
  // What the restore of the file makes of it.
  const members = [{ name: "n1", peerUrl: "http://127.0.0.1:7461" }];
  const restored = restoredCluster(read, members, "t");
  expect(restored.revision).toBeGreaterThan(20);
  expect(restored.ended.map(({ name }) => name).sort()).toEqual(["n1", "n2"]);
});

test.each([
  ["the longer of two of one term", [20, 23], [[], []], "/n2"],
  ["a shorter one of a later term", [20, 23], [[update(21, 3)], []], "/n1"],
])("two of five: %s", async (_what, [first = 0, second = 0], [one = [], two = []], winner) => {
  const fs = new CrashFs();
  const dirs = [
    await directory(fs, "/n1", 0x11n, first, 10, one),
    await directory(fs, "/n2", 0x22n, second, 12, two),
  ];
  const { chosen, survivors, commit } = await rescue(fs, dirs, 1);
  expect(chosen.dir).toBe(winner);
  expect(survivors[0]).toBe(chosen);
  expect(commit).toBe(12);
});

test("learners only: a snapshot from the leader and the entries after it", async () => {
  const fs = new CrashFs();
  const roster = new Roster({ clusterId: CLUSTER_ID });
  for (const entry of sampleEntries(12)) roster.apply(entry);
  const learner = { id: 0x44n, name: "l1", peerUrl: "http://127.0.0.1:7099", adminUrls: [], learner: true };
  const command = addMemberCommand({ proposalId: 3n, timeMs: 9 }, learner);
  const changes = [{ type: 3, nodeId: 0x44n }];
  const confChange = { transition: 0, changes, context: encodeCommand(command) };
  const joined = { term: 2, index: 13, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
  roster.apply(joined);
  const meta = {
    index: 13,
    term: 2,
    confState: {
      voters: [0x11n, 0x22n],
      learners: [0x44n],
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    },
  };
  const identity = { clusterId: CLUSTER_ID, memberId: 0x44n, instanceId };
  await createDataDirFromSnapshot(fs, "/l1", identity, { meta, data: roster.snapshot() }, SMALL);
  const { storage } = await openStorage(fs, "/l1", { ...SMALL, clock: new ManualClock() });
  const batch = { hardState: null, entries: [update(14), update(15)], snapshot: null, mustSync: true };
  await new Promise((resolve) => {
    storage.append(batch, resolve);
  });
  await new Promise((resolve) => {
    storage.close(resolve);
  });
  const { saved } = await rescue(fs, ["/l1"], 1);
  const read = decodeSavedSnapshot("f", encodeSavedSnapshot(saved));
  expect(read.snapshot.meta).toMatchObject({ index: 15, confState: { learners: [0x44n] } });
  expect(read.roster.member(0x44n)).toMatchObject({ name: "l1", learner: true });
  expect(read.roster.outcome("r-15")).not.toBeNull();
});

test("damaged, empty and missing directories are left out and named; without a usable one nothing is made", async () => {
  const fs = new CrashFs();
  const whole = await directory(fs, "/n1", 0x11n, 10);
  const damaged = await directory(fs, "/n2", 0x22n, 20);
  const [segment = ""] = fs.files().filter((path) => path.startsWith("/n2/") && path.endsWith(".wal"));
  const bytes = fs.contents(segment);
  bytes.writeUInt8(bytes.readUInt8(600) ^ 1, 600);
  const garbage = {
    term: 2,
    index: 11,
    type: EntryType.Normal,
    data: Buffer.from([0x0a, 0xff]),
    confChange: null,
  };
  const broken = await directory(fs, "/n3", 0x33n, 10, 11, [garbage]);
  const joiner = "/n4";
  await createDataDir(fs, joiner, { clusterId: CLUSTER_ID, memberId: 0x44n, instanceId }, undefined, SMALL);
  const all = [whole, damaged, broken, joiner, "/absent"];
  const { chosen, leftOut } = await rescue(fs, all, 1);
  expect(chosen.dir).toBe("/n1");
  expect(leftOut.map(({ dir }) => dir)).toEqual(all.slice(1));
  expect(leftOut.map(({ problem }) => problem)).toEqual([
    expect.stringContaining("is damaged at byte"),
    expect.stringContaining("/n3: entry 11 can't be applied"),
    expect.stringContaining("has not received anything yet"),
    expect.stringContaining("/absent"),
  ]);
  await expect(rescue(fs, all.slice(1), 1)).rejects.toThrow(
    /^none of the directories is usable: .*damaged at byte/,
  );
});

test("a directory on which a member runs is refused, and nothing stays locked", async () => {
  const fs = new CrashFs();
  const [first, second] = [await directory(fs, "/n1", 0x11n, 10), await directory(fs, "/n2", 0x22n, 10)];
  const { storage } = await openStorage(fs, second, { ...SMALL, clock: new ManualClock() });
  await expect(rescue(fs, [first, second], 1)).rejects.toMatchObject({ reason: "in-use", file: "/n2" });
  await new Promise((resolve) => {
    storage.close(resolve);
  });
  await expect(rescue(fs, [first, second], 1)).resolves.toBeDefined();
});

test("directories of two clusters are refused with both names", async () => {
  const fs = new CrashFs();
  const first = await directory(fs, "/n1", 0x11n, 10);
  const identity = { clusterId: 5n, memberId: 0x22n, instanceId };
  const hardState = { term: 1, vote: 0n, commit: 4 };
  await createDataDir(fs, "/n2", identity, { entries: sampleEntries(4), hardState }, SMALL);
  await expect(rescue(fs, [first, "/n2"], 1)).rejects.toThrow(
    "the directories are of different clusters: /n1 of abcd, /n2 of 5. Name those of one cluster only",
  );
});

test("two histories of one cluster are refused: a longer log without what another knows to be committed", async () => {
  const fs = new CrashFs();
  const first = await directory(fs, "/n1", 0x11n, 10, 11, [update(11, 3)]);
  const second = await directory(fs, "/n2", 0x22n, 10, 10, [update(11, 4), update(12, 4)]);
  await expect(rescue(fs, [first, second], 1)).rejects.toThrow(
    /^\/n2 and \/n1 have different histories: at index 11, .* terms 4 and 3\..*leave it out$/,
  );
});

/** What a damaged directory's error advises: never to remove the only member, and never to wait for a quorum of one. */
import {
  ConfChangeTransition,
  ConfChangeType,
  EMPTY_BYTES,
  EntryType,
  type Entry,
} from "../../src/raft/index";
import { createDataDir } from "../../src/storage/data_dir";
import { readLogOffline } from "../../src/storage/offline";
import { CrashFs } from "./support/crash_fs";
import { DIR } from "./support/scripted_run";
import { append, close, CONF, entries, hardState, IDENTITY, open, save, SMALL } from "./support/values";

const OWN = IDENTITY.memberId;

function change(index: number, type: ConfChangeType, nodeId: bigint): Entry {
  const confChange = {
    transition: ConfChangeTransition.Auto,
    changes: [{ type, nodeId }],
    context: EMPTY_BYTES,
  };
  return { term: 1, index, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
}

const add = (index: number, id: bigint): Entry => change(index, ConfChangeType.AddVoter, id);

async function messageOf(fs: CrashFs): Promise<string> {
  try {
    await readLogOffline(DIR, fs);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error("the log was read");
}

/** The message for a log with these first entries, damaged after them. */
async function adviceAfter(first: readonly Entry[]): Promise<string> {
  const fs = new CrashFs();
  await createDataDir(
    fs,
    DIR,
    IDENTITY,
    { entries: first, hardState: hardState(1, 0n, first.length) },
    SMALL,
  );
  const { storage } = await open(fs, DIR);
  const last = first.length;
  await append(storage, { entries: entries(last + 1, last + 1, 1) });
  await append(storage, { entries: entries(last + 2, last + 9, 1) });
  await close(storage);
  const [path = ""] = fs.files().filter((name) => name.endsWith(".wal"));
  const bytes = fs.contents(path);
  const at = bytes.indexOf(`entry ${String(last + 1)}/1`);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  return messageOf(fs);
}

const REPLACE = "remove this member from the cluster and add it again with an empty data directory";

test("the only member is restored from a backup, never removed", async () => {
  const message = await adviceAfter([add(1, OWN)]);
  expect(message).toMatch(
    /is damaged at byte \d+: .*\. Do not repair it by hand\..* this member is the only one/,
  );
  expect(message).toContain("restore its newest backup with `muster snapshot restore`");
  expect(message).not.toContain("remove this member");
});

test("one that became the only member by removals is the only one too", async () => {
  const message = await adviceAfter([add(1, OWN), add(2, 5n), change(3, ConfChangeType.Remove, 5n)]);
  expect(message).toContain("this member is the only one of its cluster");
});

test("of two, the other one's data make a new cluster", async () => {
  const message = await adviceAfter([add(1, OWN), add(2, 5n)]);
  expect(message).toContain("make a new cluster of its data with `muster rescue`");
  expect(message).not.toContain("remove this member");
});

test.each([
  ["one of three", [add(1, OWN), add(2, 5n), add(3, 6n)]],
  ["a learner beside one voter", [change(1, ConfChangeType.AddLearner, OWN), add(2, 5n)]],
])("%s is replaced", async (_what, first) => {
  expect(await adviceAfter(first)).toContain(REPLACE);
});

test("the newest readable snapshot says how many there are when the log before is gone", async () => {
  const fs = new CrashFs();
  await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
  const { storage } = await open(fs, DIR);
  await append(storage, { hardState: hardState(1, 1n, 9), entries: entries(1, 9, 1) });
  const meta = { index: 9, term: 1, confState: { ...CONF, voters: [OWN] } };
  await save(storage, { meta, data: Buffer.from("state") }, 0);
  await append(storage, { entries: entries(10, 11, 1) });
  await close(storage);
  const [path = ""] = fs.files().filter((name) => name.endsWith(".wal"));
  const bytes = fs.contents(path);
  bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40);
  expect(await messageOf(fs)).toContain("this member is the only one of its cluster");
});

test("where nothing can be read the advice names both cases", async () => {
  const message = await adviceAfter([]);
  expect(message).toContain("While a majority of the other members runs, remove this member");
  expect(message).toContain("if it is the only member, restore a backup");
});

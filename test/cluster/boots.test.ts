/** The list of boot ids: drawn and written at each start, shortened when a publish is committed, never too short. */
import { Boots } from "../../src/cluster/boots";
import type { BootStore } from "../../src/cluster/boots";
import type { MemberRecord } from "../../src/roster/index";
import { DataDirError } from "../../src/storage/errors";
import type { BootRecord } from "../../src/storage/member_files";
import { ListLog } from "../replica/support/list_log";
import { rosterOf } from "../roster/support/log";
import { DeterministicRandom } from "./support/deterministic_random";

class MemoryStore implements BootStore {
  errno: string | null = null;
  writes = 0;
  constructor(public record: BootRecord | null = null) {}
  read = (): Promise<BootRecord | null> => Promise.resolve(this.record);
  write = (record: BootRecord): Promise<void> => {
    this.writes++;
    if (this.errno !== null)
      return Promise.reject(new DataDirError("io", "boots", null, "failed", this.errno));
    this.record = record;
    return Promise.resolve();
  };
}

const random = new DeterministicRandom(1);
let log: ListLog;
let store: MemoryStore;
beforeEach(() => {
  log = new ListLog();
  store = new MemoryStore();
});
const begin = (): Promise<Boots> => Boots.begin(store, random, log);

function published(bootId: Uint8Array, bootRevision: number): MemberRecord {
  const record = rosterOf(1).member(1n);
  if (record === null) throw new Error("no member");
  return { ...record, bootId: Buffer.from(bootId), bootRevision };
}

test("each start draws an id, and has written it with those before", async () => {
  const first = await begin();
  expect(first.claim).toEqual({ bootId: store.record?.boots[0], previousBootIds: [], bootRevision: 0 });
  const second = await begin();
  expect(second.claim.previousBootIds).toEqual([first.claim.bootId]);
  expect(store.record?.boots).toEqual([first.claim.bootId, second.claim.bootId]);
  expect(first.claim.bootId).not.toEqual(second.claim.bootId);
});

test("a committed publish of this start shortens the list", async () => {
  await begin();
  const boots = await begin();
  expect(boots.noticed(published(boots.claim.bootId, 5))).toBe(true);
  await boots.settled();
  expect(store.record).toEqual({ revision: 5, boots: [boots.claim.bootId] });
  expect(boots.claim).toMatchObject({ previousBootIds: [], bootRevision: 5 });
});

test("a publish of an earlier start that is applied now keeps every later one", async () => {
  const [first, second, third] = [await begin(), await begin(), await begin()];
  expect(third.noticed(published(second.claim.bootId, 5))).toBe(true);
  await third.settled();
  expect(store.record).toEqual({ revision: 5, boots: [second.claim.bootId, third.claim.bootId] });
  expect(first.claim.previousBootIds).toEqual([]);
});

test("another id that was published later: this directory is a copy", async () => {
  const boots = await begin();
  boots.noticed(published(boots.claim.bootId, 5));
  expect(boots.noticed(published(new Uint8Array(16).fill(9), 4))).toBe(true); // replayed from before
  expect(boots.noticed(published(new Uint8Array(0), 9))).toBe(true); // unknown
  expect(boots.noticed(published(new Uint8Array(16).fill(9), 6))).toBe(false);
});

test("the list has at most 64 ids; the committed one and the newest stay", async () => {
  const first = await begin();
  first.noticed(published(first.claim.bootId, 5));
  await first.settled();
  let last = first;
  for (let i = 0; i < 100; i++) last = await begin();
  expect(store.record?.boots).toHaveLength(64);
  expect(store.record?.boots[0]).toEqual(first.claim.bootId);
  expect(store.record?.boots.at(-1)).toEqual(last.claim.bootId);
});

test("a list that can't be shortened stays longer, and the member goes on", async () => {
  const boots = await begin();
  store.errno = "EIO";
  expect(boots.noticed(published(boots.claim.bootId, 5))).toBe(true);
  await boots.settled();
  expect([store.record?.revision, boots.claim.bootRevision]).toEqual([0, 5]);
});

test("a full disk: the id of the start before is used again, and that is said", async () => {
  const first = await begin();
  store.errno = "ENOSPC";
  const second = await begin();
  expect(second.claim).toEqual(first.claim);
  expect(log.texts).toEqual([expect.stringContaining("warn the disk is full: this start has no boot id")]);
});

test("any other error ends the start", async () => {
  store.errno = "EIO";
  await expect(begin()).rejects.toMatchObject({ errno: "EIO" });
});

/** Committed entries into the machines, and snapshots out of them and into them. */
import { RosterMachine } from "../../src/cluster/roster_machine";
import { EMPTY_CONF_STATE, EntryType } from "../../src/raft/index";
import type { ConfChange, Entry, Snapshot } from "../../src/raft/index";
import { Applier, DEFAULT_SNAPSHOT_POLICY } from "../../src/replica/applier";
import type { SnapshotPolicy } from "../../src/replica/applier";
import { Machines } from "../../src/replica/machines";
import { Waiters } from "../../src/replica/waiters";
import type { Decision } from "../../src/roster/index";
import type { StorageError } from "../../src/storage/storage";
import { CLUSTER_ID, add, emptyEntry, entryFor, remove } from "../roster/support/log";
import { COUNTER, Counter, additionEntry } from "./support/counter";
import { ListLog } from "./support/list_log";
import { DISK_FULL, IO_ERROR, TestStorage } from "./support/test_storage";
import { WorkQueue } from "./support/work_queue";
import { captureNow } from "./support/capture_now";

const CONF_STATE = { ...EMPTY_CONF_STATE, voters: [1n] };

/** An applier with its surroundings; `events` tells in which order it called them. */
class Fixture {
  readonly queue = new WorkQueue();
  readonly log = new ListLog();
  readonly waiters = new Waiters();
  readonly counter = new Counter();
  readonly roster = new RosterMachine({ clusterId: CLUSTER_ID, log: this.log });
  readonly machines = new Machines(this.roster, new Map([[COUNTER, this.counter]]));
  readonly events: string[] = [];
  readonly errors: StorageError[] = [];
  readonly storage: TestStorage;
  readonly applier: Applier;

  constructor(policy: Partial<SnapshotPolicy> = {}, snapshot: Snapshot | null = null, id = 0n) {
    this.storage = new TestStorage(this.queue, snapshot === null ? {} : { snapshot });
    this.applier = new Applier({
      storage: this.storage,
      machines: this.machines,
      waiters: this.waiters,
      snapshots: { ...DEFAULT_SNAPSHOT_POLICY, ...policy },
      log: this.log,
      applyConfChange: (_change: ConfChange, index) => this.events.push(`core ${index}`),
      confState: () => CONF_STATE,
      onMembershipChange: () => this.events.push(`membership ${this.applier.applied}`),
      onStorageError: (error) => this.errors.push(error),
      id,
      defer: this.queue.defer,
      guard: (act) => act(),
    });
  }

  wait(proposalId: bigint, index: number): void {
    this.waiters.add(proposalId, index, (outcome) => {
      const result = outcome.kind === "done" ? ` ${shown(outcome.value.result)}` : "";
      this.events.push(`${String(proposalId)} ${outcome.kind}${result}`);
    });
  }

  apply(...entries: Entry[]): void {
    this.applier.applyAll(entries);
  }

  /** The next `count` entries, which are empty. */
  pass(count: number): void {
    const first = this.applier.applied + 1;
    this.apply(...Array.from({ length: count }, (_, i) => emptyEntry(first + i)));
  }

  saved(): number {
    this.queue.run();
    return this.storage.snapshot()?.meta.index ?? 0;
  }
}

/** The counter's number, or whether the roster accepted. */
function shown(result: unknown): string {
  return typeof result === "number" ? String(result) : (result as Decision).accepted ? "accepted" : "refused";
}

function counting(index: number, proposalId: bigint, amount: number): Entry {
  const data = additionEntry(proposalId, amount);
  return { index, term: 2, type: EntryType.Normal, data, confChange: null };
}

describe("entries", () => {
  test("an accepted membership change reaches the core before the call that waits for it", () => {
    const one = new Fixture();
    one.wait(7n, 1);
    one.apply(entryFor(one.roster.roster, add(1)));
    expect(one.events).toEqual(["core 1", "membership 1", "7 done accepted"]);
    expect(one.applier.applied).toBe(1);
  });

  test("a refused membership change changes neither the core nor the peers", () => {
    const one = new Fixture();
    one.apply(entryFor(one.roster.roster, add(1)));
    one.events.length = 0;
    one.wait(7n, 2);
    one.apply(entryFor(one.roster.roster, remove({ id: 1n })));
    expect(one.events).toEqual(["7 done refused"]);
    expect(one.roster.roster.members()).toHaveLength(1);
  });

  test("leaving a joint configuration is told as a change of the membership", () => {
    const one = new Fixture();
    const confChange = { transition: 0, changes: [], context: new Uint8Array(0) };
    one.apply({ ...emptyEntry(1), type: EntryType.ConfChangeV2, confChange });
    expect(one.events).toEqual(["core 1", "membership 1"]);
  });

  test("another machine's command settles its call, and changes no membership", () => {
    const one = new Fixture();
    one.wait(41n, 1);
    one.apply(counting(1, 41n, 5));
    expect(one.events).toEqual(["41 done 5"]);
  });

  test("another entry at its index proves that a proposal was not committed", () => {
    const one = new Fixture();
    one.wait(41n, 1);
    one.apply(emptyEntry(1));
    expect(one.events).toEqual(["41 retry"]);
  });

  test("what a machine throws comes through, and the entry does not count as applied", () => {
    const one = new Fixture();
    const broken = { ...counting(2, 1n, 1), data: Uint8Array.of(0, COUNTER, 1) };
    expect(() => one.apply(emptyEntry(1), broken)).toThrow("command has 1 bytes");
    expect(one.applier.applied).toBe(1);
  });
});

describe("snapshots of this member", () => {
  const policy = { everyEntries: 20, keepEntries: 3 };

  test("one is saved after so many entries, and again after as many", () => {
    const one = new Fixture(policy);
    one.pass(19);
    expect(one.saved()).toBe(0);
    one.pass(1);
    expect(one.saved()).toBe(20);
    one.pass(19);
    expect(one.saved()).toBe(20);
    one.pass(1);
    expect(one.saved()).toBe(40);
    expect(one.log.texts).toEqual(["info saved a snapshot", "info saved a snapshot"]);
  });

  test("one is saved after so many bytes", () => {
    const one = new Fixture({ everyBytes: 100 });
    one.pass(1);
    expect(one.saved()).toBe(0);
    one.storage.appendNow({ entries: [1, 2, 3].map((index) => emptyEntry(index)) });
    one.pass(1);
    expect(one.saved()).toBe(2);
  });

  test("it has the state, term and configuration at its index", () => {
    const one = new Fixture(policy);
    one.pass(19);
    one.apply(counting(20, 1n, 33));
    one.saved();
    const snapshot = one.storage.snapshot();
    expect(snapshot?.meta).toEqual({ index: 20, term: 2, confState: CONF_STATE });
    const again = new Fixture({}, snapshot);
    expect([again.applier.applied, again.counter.total]).toEqual([20, 33]);
    expect(captureNow(again.applier)).toEqual(snapshot);
  });

  test("no second one begins while one is being saved", () => {
    const one = new Fixture(policy);
    one.storage.hold();
    one.pass(20);
    one.pass(25);
    expect(one.storage.snapshotsSaved).toBe(1);
    one.storage.release();
    one.queue.run();
    one.pass(1);
    expect(one.saved()).toBe(46);
  });

  test("without space it is tried again a tenth of the entries later, and the member goes on", () => {
    const one = new Fixture(policy);
    one.storage.snapshotError = DISK_FULL;
    one.pass(20);
    one.queue.run();
    expect(one.log.texts).toEqual(["warn no space for a snapshot; tried again later"]);
    one.storage.snapshotError = null;
    one.pass(1);
    expect(one.saved()).toBe(0);
    one.pass(1);
    expect(one.saved()).toBe(22);
    expect(one.errors).toEqual([]);
  });

  test("another error is the storage's end", () => {
    const one = new Fixture(policy);
    one.storage.snapshotError = IO_ERROR;
    one.pass(20);
    one.queue.run();
    expect(one.errors).toEqual([IO_ERROR]);
  });
});

describe("snapshots of the leader", () => {
  /** The state after members 1 and 2 were added and 40 was counted. */
  function sent(): Snapshot {
    const leader = new Fixture();
    for (const n of [1, 2]) leader.apply(entryFor(leader.roster.roster, add(n)));
    leader.apply(counting(3, 1n, 40));
    return captureNow(leader.applier);
  }

  test("it replaces all states, and calls below it are never settled by an entry", () => {
    const one = new Fixture();
    one.wait(1n, 2);
    one.wait(2n, 4);
    const snapshot = sent();
    expect(one.applier.canInstall(snapshot)).toBe(true);
    expect([one.applier.applied, one.counter.total]).toEqual([0, 0]);
    one.applier.install(snapshot);
    expect([one.applier.applied, one.counter.total]).toEqual([3, 40]);
    expect(one.roster.roster.members()).toHaveLength(2);
    expect(one.events).toEqual(["membership 3", "1 unknown"]);
    expect(one.log.texts).toEqual(["info installed a snapshot"]);
    expect(captureNow(one.applier)).toEqual(snapshot);
  });

  test("it is decoded once", () => {
    const one = new Fixture();
    const restore = jest.spyOn(one.machines, "restore");
    const snapshot = sent();
    one.applier.canInstall(snapshot);
    one.applier.install(snapshot);
    expect(restore).toHaveBeenCalledTimes(1);
    one.applier.install({ ...snapshot });
    expect(restore).toHaveBeenCalledTimes(2);
  });

  test("one that does not decode is refused with a line, and nothing changes", () => {
    const one = new Fixture();
    const broken = { ...sent(), data: Uint8Array.of(255, 255) };
    expect(one.applier.canInstall(broken)).toBe(false);
    expect(one.log.texts).toEqual(["warn refused a snapshot from a peer"]);
    expect(one.applier.applied).toBe(0);
  });

  test("the next own one counts from it", () => {
    const one = new Fixture({ everyEntries: 20 });
    one.applier.install(sent());
    // Every member keeps to indexes of its own, wherever the snapshot came from.
    const next = Math.ceil((one.applier.applied + 1) / 20) * 20;
    one.pass(next - 1 - one.applier.applied);
    expect(one.storage.snapshotsSaved).toBe(0);
    one.pass(1);
    expect(one.storage.snapshotsSaved).toBe(1);
  });

  test("members take theirs at different indexes, each as often as the others", () => {
    const savedAt = [0n, 7n, 13n].map((id) => {
      const one = new Fixture({ everyEntries: 20, keepEntries: 5 }, null, id);
      const indexes: number[] = [];
      for (let i = 0; i < 60; i++) {
        const before = one.storage.snapshotsSaved;
        one.pass(1);
        one.queue.run();
        if (one.storage.snapshotsSaved > before) indexes.push(one.applier.applied);
      }
      return indexes;
    });
    expect(savedAt).toEqual([
      [20, 40, 60],
      [13, 33, 53],
      [7, 27, 47],
    ]);
  });
});

test("a snapshot on disk that does not decode ends the start", () => {
  const snapshot = { meta: { index: 3, term: 1, confState: CONF_STATE }, data: Uint8Array.of(255) };
  expect(() => new Fixture({}, snapshot)).toThrow();
});

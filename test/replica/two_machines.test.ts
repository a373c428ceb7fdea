/**
 * A second state machine from end to end, without a change in src/replica: proposals to both, a snapshot, a restart
 * from it, and a follower that installs it.
 */
import { MessageType } from "../../src/raft/index";
import { add, adminUrls, publish } from "../roster/support/log";
import { ReplicaGroup } from "./support/group";
import { captureNow } from "./support/capture_now";

const SNAPSHOTS = { everyEntries: 10, keepEntries: 2 };

/** The state of all machines of member `n`, as bytes. */
function captured(group: ReplicaGroup, n: number): string {
  return Buffer.from(captureNow(group.member(n).replica).data).toString("hex");
}

/** Ten additions of 1 and three changes of the roster, on member 1. */
function write(group: ReplicaGroup): void {
  group.change(1, publish(1));
  for (let i = 0; i < 10; i++) {
    group.count(1, 1);
    if (i % 3 === 0) group.change(1, adminUrls({ id: 2n }, [`http://10.0.0.2:${7000 + i}`]));
    group.queue.run();
  }
  group.run(2);
}

test("both machines take their own commands, on every member alike", () => {
  const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
  const { outcomes } = group.count(1, 40);
  const decisions = group.change(1, publish(2));
  group.run(2);
  expect(outcomes).toMatchObject([{ kind: "done", value: { result: 40 } }]);
  expect(decisions).toMatchObject([{ accepted: true, changed: true }]);
  for (const n of [1, 2, 3]) {
    expect(group.member(n).counter.total).toBe(40);
    expect(group.member(n).rosterMachine.roster.member(2n)?.started).toBe(true);
    expect(captured(group, n)).toBe(captured(group, 1));
  }
});

test("a member starts again from a snapshot of both", () => {
  const group = new ReplicaGroup({ size: 3, snapshots: SNAPSHOTS }).startLedBy(1);
  write(group);
  const before = captured(group, 3);
  const snapshot = group.member(3).storage.snapshot();
  expect(snapshot?.meta.index).toBeGreaterThan(10);
  const again = group.restart(3);
  expect(again.replica.applied).toBeGreaterThanOrEqual(snapshot?.meta.index ?? Infinity);
  group.run(3);
  expect(again.counter.total).toBe(10);
  expect(captured(group, 3)).toBe(before);
  group.count(1, 5);
  group.run(2);
  expect(again.counter.total).toBe(15);
});

test("a follower that is far behind installs a snapshot of both, and goes on", () => {
  const group = new ReplicaGroup({ size: 3, snapshots: SNAPSHOTS }).startLedBy(1);
  group.network.isolate(3n);
  write(group);
  write(group);
  const { counter, replica, log } = group.member(3);
  expect(counter.total).toBe(0);
  group.network.heal();
  group.run(10);
  expect(group.network.sent.some(({ type, to }) => type === MessageType.Snapshot && to === 3n)).toBe(true);
  expect(log.texts).toContain("info installed a snapshot");
  expect(counter.total).toBe(20);
  expect(captured(group, 3)).toBe(captured(group, 1));
  group.change(1, add(4));
  group.count(1, 1);
  group.run(3);
  expect([counter.total, replica.roster.member(4n)?.name]).toEqual([21, "n4"]);
});

test("a member without the machine refuses its snapshot, and keeps what it has", () => {
  const group = new ReplicaGroup({ size: 3, snapshots: SNAPSHOTS, without: [3] }).start();
  group.network.isolate(3n);
  group.lead(1);
  write(group);
  write(group);
  group.network.heal();
  group.run(10);
  const { log, replica, fatal } = group.member(3);
  expect(log.texts).toContain("warn refused a snapshot from a peer");
  expect([replica.applied, fatal]).toEqual([3, []]);
});

test("a member without the machine ends at its first entry", () => {
  const group = new ReplicaGroup({ size: 3, without: [3] }).startLedBy(1);
  group.count(1, 1);
  group.run(2);
  expect(group.member(3).fatal).toMatchObject([{ name: "UnknownMachineError" }]);
  expect(group.member(1).counter.total).toBe(1);
});

test("without other machines the log and the snapshot are those of the roster alone", () => {
  const group = new ReplicaGroup({ size: 3, snapshots: SNAPSHOTS, without: [1, 2, 3] }).startLedBy(1);
  for (let i = 0; i < 12; i++) group.change(1, adminUrls({ id: 2n }, [`http://10.0.0.2:${7000 + i}`]));
  group.run(3);
  const { storage, rosterMachine, replica } = group.member(2);
  const entries = storage.entries(storage.firstIndex(), storage.lastIndex() + 1, Infinity);
  if (typeof entries === "string") throw new Error(entries);
  expect(entries.length).toBeGreaterThan(0);
  for (const { data } of entries) expect(data[0]).not.toBe(0);
  expect(Buffer.compare(captureNow(replica).data, rosterMachine.roster.snapshot())).toBe(0);
  expect(storage.snapshot()?.data[0]).not.toBe(0);
});

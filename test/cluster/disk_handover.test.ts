/** A full disk and who leads: the leader hands over, a full member campaigns last, and answers name the full member. */
import { clusterStatus } from "../../src/cluster/status";
import { ResponseHeader } from "../../src/generated/muster/v1/membership_service";
import { RefusedError } from "../../src/roster/index";
import { adminUrls } from "../roster/support/log";
import { ELECTION_TICKS, MemoryCluster } from "./support/memory_cluster";
import { callOf } from "./support/test_calls";
import { Tracked } from "./support/tracked";

const urls = adminUrls({ id: 1n }, ["http://h:1"]);

function fill(cluster: MemoryCluster, ...members: number[]): void {
  for (const n of members) cluster.member(n).storage.space = false;
}

test("a leader whose disk is full hands over to a member with space, and writes go on", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  fill(cluster, 1);
  // Taken before the handover, through each member: it waits for the other leader, and is not refused.
  const early = [1, 2, 3].map((n) => cluster.write(n, adminUrls({ id: 1n }, [`http://h:${n}`])));
  await cluster.settle();
  expect(early.map(({ tracked }) => tracked.state)).toEqual(["open", "open", "open"]);
  await cluster.run(4);
  const leader = cluster.leader();
  expect(leader.n).not.toBe(1);
  expect(early.map(({ tracked }) => [tracked.state, tracked.error])).toEqual(Array(3).fill(["done", null]));
  expect(cluster.member(1).log.texts.filter((text) => text.includes("the disk is full"))).toHaveLength(1);
  await cluster.write(1, urls).settled();
});

test("it hands over to the member with space, though a full one has as much of the log", async () => {
  for (const full of [2, 5]) {
    const cluster = await new MemoryCluster({ size: 5 }).startLedBy(1);
    fill(cluster, full);
    await cluster.run(3);
    fill(cluster, 1);
    await cluster.run(3);
    expect([1, full]).not.toContain(cluster.leader().n);
    await cluster.write(full, urls).settled();
  }
});

test("it leads on, and answers reads, when too few have space for another leader to commit anything", async () => {
  for (const [size, others] of [
    [2, []],
    [3, [2]],
    [5, [2, 3]],
  ] as const) {
    const cluster = await new MemoryCluster({ size }).startLedBy(1);
    fill(cluster, ...others);
    await cluster.run(3);
    fill(cluster, 1);
    await cluster.run(2 * ELECTION_TICKS);
    expect(cluster.leader().n).toBe(1);
    const read = new Tracked(cluster.member(2).reads.confirm(callOf(cluster.clock)));
    await cluster.settle();
    expect(read.state).toBe("done");
  }
});

test("when all are full the leader stays, and its refusal names it", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  fill(cluster, 2, 3);
  await cluster.run(3);
  fill(cluster, 1);
  await cluster.run(2 * ELECTION_TICKS);
  expect(cluster.leader().n).toBe(1);
  const { tracked } = cluster.write(1, urls);
  await cluster.settle();
  const { error } = tracked;
  if (!(error instanceof RefusedError)) throw new Error(`the write is ${tracked.state}`);
  expect(error.refusal).toMatchObject({
    reason: "DISK_FULL",
    message: "the disk of the leader, n1 (1), is full; free space there, then try again",
    metadata: { member_id: "1", member_name: "n1" },
  });
});

test("a handover that fails is tried again", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  let refused = 0;
  const transfer = cluster.member(1).replica.transferLeader.bind(cluster.member(1).replica);
  cluster.member(1).replica.transferLeader = (to) => {
    if (refused++ > 0) transfer(to);
  };
  fill(cluster, 1);
  await cluster.run(ELECTION_TICKS);
  expect([refused, cluster.leader().n]).toEqual([1, 1]);
  await cluster.run(3);
  expect(cluster.leader().n).not.toBe(1);
});

test("a full member leaves the election to the one with space, and votes for it", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  fill(cluster, 2);
  await cluster.run(2);
  const { term } = cluster.member(1).replica;
  cluster.network.isolate(1n);
  await cluster.run(2 * ELECTION_TICKS + 2);
  expect(cluster.member(3).replica.isLeader).toBe(true);
  // No term was spent on a campaign of the full member.
  expect(cluster.member(3).replica.term).toBe(term + 1);
});

test("a full member campaigns when the others can't, though later", async () => {
  const cluster = await new MemoryCluster({ size: 2 }).startLedBy(1);
  fill(cluster, 2);
  await cluster.run(2);
  const { replica } = cluster.member(2);
  cluster.network.isolate(1n);
  // A member that campaigns forgets its leader.
  const campaigns = (): number =>
    cluster.member(2).log.texts.filter((text) => text === "info no leader").length;
  const before = campaigns();
  await cluster.run(3 * ELECTION_TICKS);
  expect(campaigns()).toBe(before);
  await cluster.run(2 * ELECTION_TICKS);
  expect(campaigns()).toBeGreaterThan(before);
  expect(replica.isLeader).toBe(false);
});

test("members that are all full elect a leader as soon as others would", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  fill(cluster, 1, 2, 3);
  await cluster.run(3);
  const leader = cluster.leader().n;
  cluster.network.isolate(BigInt(leader));
  const others = [1, 2, 3].filter((n) => n !== leader);
  await cluster.run(3 * ELECTION_TICKS);
  expect(others.some((n) => cluster.member(n).replica.isLeader)).toBe(true);
});

test("GetCluster names the full members: the leader's answer all of them, another's its own disk alone", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  fill(cluster, 2);
  await cluster.run(3);
  const full = (n: number, leads: boolean) => {
    const { replica } = cluster.member(n);
    const status = clusterStatus(replica, ResponseHeader.fromPartial({}), cluster.clock.now(), leads);
    return status.members.map(({ diskFull }) => diskFull);
  };
  expect(full(1, true)).toEqual([false, true, false]);
  expect(full(2, false)).toEqual([undefined, true, undefined]);
  expect(full(3, false)).toEqual([undefined, undefined, false]);
  cluster.member(2).storage.space = true;
  await cluster.run(3);
  expect(full(1, true)).toEqual([false, false, false]);
  // What was said last of a member out of contact is not repeated.
  fill(cluster, 2);
  await cluster.run(3);
  cluster.network.isolate(2n);
  await cluster.run(ELECTION_TICKS + 1);
  expect(full(1, true)).toEqual([false, undefined, false]);
});

/** Transfers of leadership: to whom, by which way, and what a caller hears when the target does not take over. */
import type { Call } from "../../src/base/call";
import { UNKNOWN } from "../../src/base/outcome";
import type { SelectorFields } from "../../src/roster/index";
import { callOf, why } from "./support/test_calls";
import type { TestCallOptions } from "./support/test_calls";
import { ELECTION_TICKS, MemoryCluster, urlOf } from "./support/memory_cluster";
import { Tracked } from "./support/tracked";

const named = (n: number): SelectorFields => ({ id: BigInt(n), name: "" });

let cluster: MemoryCluster;
beforeEach(async () => {
  cluster = await new MemoryCluster().startLedBy(1);
});

function transfer(n: number, member: SelectorFields | null, options: TestCallOptions = {}) {
  const call = callOf(cluster.clock, options);
  const forward = () => ({ path: "/test/Transfer", body: Buffer.from(String(member?.id ?? 0n)) });
  const answer = cluster.member(n).transfers.execute({ member, forward }, call);
  return {
    call,
    tracked: new Tracked(answer.then((led) => (Buffer.isBuffer(led) ? led.toString() : led.name))),
  };
}

/** Member `n` takes forwarded transfers, as its services do. */
function carry(from: number): void {
  const { peers } = cluster.member(from);
  peers.answer = async (url, { body }, call: Call) => {
    const at = [1, 2, 3].find((n) => urlOf(n) === url) ?? 0;
    const id = BigInt(Buffer.from(body).toString());
    const arrived = callOf(cluster.clock, { mayForward: false, timeoutMs: call.deadline.remainingMs() });
    const member = id === 0n ? null : { id, name: "" };
    const led = await cluster
      .member(at)
      .transfers.execute({ member, forward: () => ({ path: "", body }) }, arrived);
    return { kind: "done", value: Buffer.isBuffer(led) ? led : Buffer.from(led.name) };
  };
}

test("the named voter leads when the call is answered", async () => {
  const { tracked } = transfer(1, named(2));
  await cluster.run(2);
  expect(tracked.value).toBe("n2");
  expect(cluster.member(2).replica.isLeader).toBe(true);
});

test("without a name the most advanced voter in contact leads", async () => {
  cluster.network.isolate(2n);
  await cluster.run(ELECTION_TICKS + 1);
  const { tracked } = transfer(1, null);
  await cluster.run(2);
  expect(tracked.value).toBe("n3");
});

test("the leader itself as target: success, and nothing is changed", async () => {
  const { term } = cluster.member(1).replica;
  const { tracked } = transfer(1, named(1));
  await cluster.run(1);
  expect(tracked.value).toBe("n1");
  expect(cluster.member(1).replica).toMatchObject({ isLeader: true, term });
});

test("another member forwards the call to the leader", async () => {
  carry(3);
  const { tracked } = transfer(3, named(2));
  await cluster.run(2);
  expect(tracked.value).toBe("n2");
  expect(cluster.member(3).peers.calls.map(({ url }) => url)).toEqual([urlOf(1)]);
});

test("a member that must not forward answers NOT_LEADER", async () => {
  const { tracked } = transfer(3, named(2), { mayForward: false });
  await cluster.settle();
  expect(why(tracked.error)).toBe("NOT_LEADER");
});

test.each([
  ["an unknown id", { id: 77n, name: "" }, "MEMBER_NOT_FOUND"],
  ["an unknown name", { id: 0n, name: "n9" }, "MEMBER_NOT_FOUND"],
  ["a name and the id of another", { id: 2n, name: "n3" }, "MEMBER_MISMATCH"],
])("%s is refused", async (_what, member, reason) => {
  const { tracked } = transfer(1, member);
  await cluster.settle();
  expect(why(tracked.error)).toBe(reason);
});

test("a member out of contact is refused at once, and the leader serves on", async () => {
  cluster.network.isolate(2n);
  await cluster.run(ELECTION_TICKS + 1);
  const { tracked } = transfer(1, named(2));
  await cluster.settle();
  expect(why(tracked.error)).toBe("TRANSFER_FAILED");
  expect(String(tracked.error)).toContain("not in contact");
  expect(cluster.member(1).replica.status().leaderTransferee).toBe(0n);
});

test("a target that does not take over in time: TRANSFER_FAILED, and the leader of before serves on", async () => {
  cluster.network.isolate(2n);
  const { tracked } = transfer(1, named(2));
  await cluster.run(ELECTION_TICKS + 1);
  expect(why(tracked.error)).toBe("TRANSFER_FAILED");
  expect(cluster.member(1).replica).toMatchObject({ isLeader: true });
  expect(cluster.member(1).replica.status().leaderTransferee).toBe(0n);
});

test("the deadline ends the transfer too: writes go on at once", async () => {
  cluster.network.isolate(2n);
  const { tracked } = transfer(1, named(2), { timeoutMs: 300 });
  await cluster.run(4);
  expect(why(tracked.error)).toBe("TRANSFER_FAILED");
  expect(cluster.member(1).replica.status().leaderTransferee).toBe(0n);
});

test("a lost call that named nobody is not repeated once another member leads", async () => {
  const { peers } = cluster.member(3);
  peers.answer = () => {
    cluster.member(1).replica.transferLeader(2n);
    return Promise.resolve(UNKNOWN);
  };
  const { tracked } = transfer(3, null);
  await cluster.run(3);
  expect(tracked.value).toBe("n2");
  expect(peers.calls).toHaveLength(1);
  expect(cluster.member(2).replica.isLeader).toBe(true);
});

test("a member that stops ends what waits", async () => {
  cluster.network.isolate(2n);
  const { tracked } = transfer(1, named(2));
  await cluster.settle();
  cluster.member(1).transfers.stop();
  cluster.member(1).routing.stop();
  await cluster.settle();
  expect(why(tracked.error)).toBe("OUTCOME_UNKNOWN");
  const late = transfer(1, named(3));
  await cluster.settle();
  expect(why(late.tracked.error)).toBe("SERVER_STOPPING");
});

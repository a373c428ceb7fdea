/** The order in which a member's cluster layer stops. */
import { MessageType } from "../../src/raft/index";
import { endCalls, endReplica, stopServing } from "../../src/cluster/stop";
import { adminUrls, add } from "../roster/support/log";
import { ELECTION_MS, ELECTION_TICKS, MemoryCluster } from "./support/memory_cluster";
import { callOf, why } from "./support/test_calls";
import { Tracked, promisesSettle } from "./support/tracked";

const urls = adminUrls({ id: 1n }, ["http://h:1"]);
const healthy = (size = 3): Promise<MemoryCluster> => new MemoryCluster({ size }).startLedBy(1);

function stop(cluster: MemoryCluster, n: number): Tracked<void> {
  return new Tracked(stopServing(cluster.member(n), cluster.clock, ELECTION_MS));
}

const shown = (tracked: Tracked<unknown>): string =>
  tracked.state === "failed" ? why(tracked.error) : tracked.state;

test("nothing new, then the handover, then what is in the log, then the calls that wait", async () => {
  const cluster = await healthy();
  const member = cluster.member(1);
  const order: string[] = [];
  const note = <K extends string>(part: { [key in K]: () => void }, method: K, name: string): void => {
    const act = part[method].bind(part);
    part[method] = () => {
      order.push(name);
      act();
    };
  };
  note(member.publisher, "stop", "publisher");
  note(member.submissions, "stop", "submissions refuse");
  note(member.submissions, "abandon", "submissions end");
  note(member.writes, "stop", "writes");
  note(member.reads, "stop", "reads");
  note(member.routing, "stop", "routing");
  const transfer = member.replica.transferLeader.bind(member.replica);
  member.replica.transferLeader = (to) => {
    order.push("handover");
    transfer(to);
  };
  const stopped = stop(cluster, 1);
  await cluster.run(2);
  expect(stopped.state).toBe("done");
  const calls = ["publisher", "submissions end", "writes", "reads", "routing"];
  expect(order).toEqual(["publisher", "submissions refuse", "handover", ...calls]);
});

test("a leader hands over to the voter in contact with most of the log, and others need no election timeout", async () => {
  const cluster = await healthy();
  cluster.network.isolate(2n);
  await cluster.write(1, urls).settled();
  const stopped = stop(cluster, 1);
  await cluster.settle();
  expect([stopped.state, cluster.leader().n, cluster.member(1).replica.isLeader]).toEqual(["done", 3, false]);
});

test("a leader does not hand over to a voter that is not in contact", async () => {
  const cluster = await healthy();
  cluster.network.isolate(2n);
  await cluster.run(ELECTION_TICKS + 1);
  const stopped = stop(cluster, 1);
  await cluster.settle();
  expect([stopped.state, cluster.leader().n]).toEqual(["done", 3]);
});

test("a leader that nobody takes over from stops after an election timeout", async () => {
  const cluster = await healthy();
  cluster.network.passes = ({ type }) => type !== MessageType.TimeoutNow;
  const stopped = stop(cluster, 1);
  await cluster.run(ELECTION_TICKS - 1);
  expect(stopped.state).toBe("open");
  await cluster.run(1);
  expect(stopped.state).toBe("done");
});

test("a leader that is alone has nobody to hand over to", async () => {
  const cluster = await healthy(1);
  const stopped = stop(cluster, 1);
  await cluster.settle();
  expect([stopped.state, cluster.member(1).replica.isLeader]).toEqual(["done", true]);
});

test("a member that does not lead stops at once", async () => {
  const cluster = await healthy();
  const stopped = stop(cluster, 2);
  await cluster.settle();
  expect([stopped.state, cluster.leader().n]).toEqual(["done", 1]);
});

test("what is in the log finishes", async () => {
  const cluster = await healthy(1);
  cluster.member(1).storage.hold();
  const write = cluster.write(1, urls);
  await cluster.settle();
  const stopped = stop(cluster, 1);
  await cluster.run(1);
  expect([stopped.state, write.tracked.state]).toEqual(["open", "open"]);
  cluster.member(1).storage.release();
  await cluster.settle();
  expect([write.tracked.state, stopped.state]).toEqual(["done", "done"]);
});

test("what does not finish within a second is unknown", async () => {
  const cluster = await healthy(1);
  cluster.member(1).storage.hold();
  const write = cluster.write(1, urls);
  await cluster.settle();
  const stopped = stop(cluster, 1);
  await cluster.settle();
  await cluster.run(9);
  expect(stopped.state).toBe("open");
  await cluster.run(1);
  expect([stopped.state, shown(write.tracked)]).toEqual(["done", "OUTCOME_UNKNOWN"]);
});

test("calls that wait, of every kind, end with the reason, and no timer of theirs is left", async () => {
  const cluster = await healthy();
  cluster.network.isolate(1n);
  const { reads } = cluster.member(1);
  const { timerCount } = cluster.clock;
  const change = cluster.write(1, add(4));
  const read = new Tracked(reads.confirm(callOf(cluster.clock)));
  const there = new Tracked(
    reads.atLeader(
      callOf(cluster.clock),
      () => ({ path: "", body: new Uint8Array() }),
      () => 1,
    ),
  );
  await cluster.settle();
  endCalls(cluster.member(1));
  await promisesSettle();
  expect([change.tracked, read, there].map(shown)).toEqual(Array(3).fill("SERVER_STOPPING"));
  expect(cluster.clock.timerCount).toBe(timerCount);
});

test("a write that was forwarded, on a member that can't go on, is answered at once", async () => {
  const cluster = await healthy();
  const member = cluster.member(2);
  member.peers.answer = () => new Promise(() => undefined);
  const write = cluster.write(2, urls);
  await cluster.settle();
  endReplica(member);
  endCalls(member);
  await promisesSettle();
  expect(shown(write.tracked)).toBe("OUTCOME_UNKNOWN");
});

test("an end of the replica while it hands over ends the wait", async () => {
  const cluster = await healthy();
  cluster.network.passes = ({ type }) => type !== MessageType.TimeoutNow;
  const { replica } = cluster.member(1);
  const stopped = stop(cluster, 1);
  await cluster.settle();
  replica.listen({
    onTick: () => {
      throw new Error("broken");
    },
  });
  await cluster.run(1);
  expect([cluster.member(1).fatal.length, stopped.state]).toEqual([1, "done"]);
});

test("the transport ends before the replica", async () => {
  const cluster = await healthy();
  const member = cluster.member(1);
  endReplica(member);
  const sent = cluster.network.sent.length;
  await cluster.run(1);
  expect(member.memoryTransport.stopped).toBe(true);
  expect(cluster.network.sent.slice(sent).some(({ from }) => from === 1n)).toBe(false);
});

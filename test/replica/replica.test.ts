/** One replica: what becomes of proposals, what ends it, and how long a removed one stays. */
import { MessageType, newMessage } from "../../src/raft/index";
import type { Committed } from "../../src/replica/waiters";
import type { Outcome } from "../../src/base/outcome";
import { StorageError } from "../../src/storage/storage";
import { add, remove } from "../roster/support/log";
import { additionEntry } from "./support/counter";
import { joiningStorage } from "./support/first_log";
import { ELECTION_TICKS, ReplicaGroup } from "./support/group";
import { IO_ERROR } from "./support/test_storage";

const kinds = (outcomes: readonly Outcome<Committed>[]): string[] => outcomes.map(({ kind }) => kind);

describe("a proposal", () => {
  test("is done with the machine's result and its index once it is applied here", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(2);
    const { replica } = group.member(2);
    const first = group.count(2, 5);
    const second = group.count(2, 7);
    expect([replica.writesWaiting, replica.isAppended(first.id)]).toEqual([2, false]);
    group.queue.run();
    const index = replica.applied - 1;
    expect(first.outcomes).toEqual([{ kind: "done", value: { result: 5, index } }]);
    expect(second.outcomes).toEqual([{ kind: "done", value: { result: 12, index: index + 1 } }]);
    expect(replica.writesWaiting).toBe(0);
  });

  test("is not committed, and may be tried again, when another leader's entry takes its index", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    group.network.isolate(1n);
    const { outcomes, id } = group.count(1, 5);
    group.queue.run();
    expect(group.member(1).replica.isAppended(id)).toBe(true);
    group.run(4 * ELECTION_TICKS);
    expect(group.leader()?.id).not.toBe(1n);
    expect(outcomes).toEqual([]);
    group.network.heal();
    group.run(2 * ELECTION_TICKS);
    expect(kinds(outcomes)).toEqual(["retry"]);
    expect(group.member(1).counter.total).toBe(0);
  });

  test("ends at once as not appended on a member that does not lead", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    expect(kinds(group.count(2, 5).outcomes)).toEqual(["retry"]);
  });

  test("that waits for its turn ends as not appended when leadership goes", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { replica } = group.member(1);
    group.network.passes = ({ type }) => type !== MessageType.TimeoutNow;
    replica.transferLeader(2n);
    const { outcomes } = group.count(1, 5);
    group.queue.run();
    expect([kinds(outcomes), replica.writesWaiting]).toEqual([[], 1]);
    replica.receive(2n, [{ ...newMessage(MessageType.Heartbeat, 1n, 2n, replica.term + 1) }]);
    group.queue.run();
    expect(kinds(outcomes)).toEqual(["retry"]);
  });

  test("can be withdrawn until it is appended, and forgotten after", () => {
    const group = new ReplicaGroup().startLedBy(1);
    const { replica, counter } = group.member(1);
    const early = group.count(1, 5);
    expect(replica.withdraw(early.id)).toBe(true);
    const late = group.count(1, 7);
    group.member(1).storage.hold();
    group.queue.run();
    expect(replica.withdraw(late.id)).toBe(false);
    replica.forget(late.id);
    group.member(1).storage.release();
    group.queue.run();
    expect(counter.total).toBe(7);
    expect([early.outcomes, late.outcomes]).toEqual([[], []]);
  });

  test("is unknown when the member stops with it in the log, and not appended before", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    group.network.isolate(1n);
    const appended = group.count(1, 5);
    group.queue.run();
    const queued = group.count(1, 7);
    const { replica } = group.member(1);
    replica.stop();
    replica.stop();
    expect([kinds(appended.outcomes), kinds(queued.outcomes)]).toEqual([["unknown"], ["retry"]]);
    expect(kinds(group.count(1, 9).outcomes)).toEqual(["retry"]);
  });
});

test("nothing is ticked, taken, sent or read after the stop", () => {
  const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
  const { replica, transport } = group.member(1);
  replica.stop();
  transport.send = () => {
    throw new Error("sent");
  };
  const [ticks, read] = [replica.ticks, jest.fn()];
  replica.readIndex(read);
  replica.receive(2n, [newMessage(MessageType.Heartbeat, 1n, 2n, replica.term + 1)]);
  replica.transferLeader(2n);
  const settled = jest.fn();
  const change = { transition: 0, changes: [], context: new Uint8Array(0) };
  expect(replica.proposeConfChange(1n, change, settled).ok).toBe(false);
  group.run(3);
  expect([replica.ticks, replica.isLeader]).toEqual([ticks, true]);
  expect(read).not.toHaveBeenCalled();
});

describe("what is thrown inside the loop ends the member by onFatal", () => {
  const boom = (): never => {
    throw new Error("boom");
  };
  const settle = (_outcome: Outcome<Committed>): void => boom();

  test.each<[string, (group: ReplicaGroup) => void]>([
    ["a listener of ticks", (group) => group.member(1).replica.listen({ onTick: boom })],
    [
      "a listener of applied entries",
      (group) => {
        group.member(1).replica.listen({ onApplied: boom });
        group.count(1, 1);
      },
    ],
    [
      "a listener of the leadership",
      (group) => {
        group.member(1).replica.listen({ onLeadership: boom });
        group.network.isolate(1n);
        group.run(2 * ELECTION_TICKS);
      },
    ],
    [
      "a callback of a proposal that is done",
      (group) => group.member(1).replica.propose({ id: 1n, data: additionEntry(1n, 1), settle }),
    ],
    [
      "a callback of a proposal that is refused at once",
      (group) => {
        group.member(1).replica.receive(2n, [newMessage(MessageType.Heartbeat, 1n, 2n, 99)]);
        group.member(1).replica.propose({ id: 1n, data: additionEntry(1n, 1), settle });
      },
    ],
    [
      "the core, on a membership change",
      (group) => {
        const broken = { transition: 0, changes: null as never, context: new Uint8Array(0) };
        const result = group.member(1).replica.proposeConfChange(1n, broken, () => undefined);
        expect(result).toEqual({ ok: false, reason: "not-leader" });
      },
    ],
    ["a callback of a read", (group) => group.member(1).replica.readIndex(boom)],
    [
      "a state machine",
      (group) =>
        group.member(1).replica.propose({
          id: 1n,
          data: Uint8Array.of(0, 99, 1),
          settle: () => undefined,
        }),
    ],
    ["the transport", (group) => (group.member(1).transport.send = boom)],
    [
      "the transport, in the callback of a write",
      (group) => {
        const { storage, transport, replica } = group.member(1);
        storage.hold();
        replica.receive(2n, [newMessage(MessageType.Vote, 1n, 2n, replica.term)]);
        replica.receive(3n, [{ ...newMessage(MessageType.Heartbeat, 1n, 3n, 99) }]);
        group.queue.run();
        transport.send = boom;
        storage.release();
      },
    ],
  ])("%s", (_what, provoke) => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { replica, fatal } = group.member(1);
    const appended = group.count(1, 0);
    const applied = jest.fn();
    provoke(group);
    group.run(1);
    expect(fatal).toHaveLength(1);
    const { ticks } = replica;
    replica.listen({ onApplied: applied, onTick: applied });
    const sent = group.network.sent.filter(({ from }) => from === 1n).length;
    group.run(3);
    expect(fatal).toHaveLength(1);
    expect(applied).not.toHaveBeenCalled();
    expect(replica.ticks).toBe(ticks);
    expect(group.network.sent.filter(({ from }) => from === 1n)).toHaveLength(sent);
    expect(appended.outcomes).toHaveLength(1);
  });

  test("every listener hears of it, though others throw again", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { replica, fatal } = group.member(1);
    const heard: string[] = [];
    group.network.isolate(1n);
    replica.propose({ id: 1n, data: additionEntry(1n, 1), settle });
    group.queue.run();
    const { outcomes } = group.count(1, 5);
    replica.listen({ onFatal: boom });
    replica.listen({ onFatal: ({ message }) => heard.push(message) });
    replica.listen({
      onTick: () => {
        throw new Error("first");
      },
    });
    group.run(1);
    expect(fatal.map(({ message }) => message)).toEqual(["first"]);
    expect(heard).toEqual(["first"]);
    expect(kinds(outcomes)).toEqual(["retry"]);
  });
});

describe("a storage that fails", () => {
  test("ends the member when a write fails: nothing is acknowledged any more", () => {
    const group = new ReplicaGroup().startLedBy(1);
    const { storage, fatal, replica, counter } = group.member(1);
    storage.writeError = IO_ERROR;
    const { outcomes } = group.count(1, 5);
    group.run(3);
    expect(fatal).toEqual([IO_ERROR]);
    expect(kinds(outcomes)).toEqual(["unknown"]);
    expect(counter.total).toBe(0);
    expect(kinds(group.count(1, 5).outcomes)).toEqual(["retry"]);
    expect(replica.writesWaiting).toBe(0);
  });

  test("ends the member where no write waits, once", () => {
    const group = new ReplicaGroup().startLedBy(1);
    const { storage, fatal } = group.member(1);
    storage.fail(IO_ERROR);
    storage.fail(IO_ERROR);
    expect(fatal).toEqual([IO_ERROR]);
  });

  test("does not end a member whose storage was closed", () => {
    const group = new ReplicaGroup().startLedBy(1);
    const { storage, fatal } = group.member(1);
    storage.writeError = new StorageError("closed", "", "", "closed");
    group.count(1, 5);
    group.run(1);
    expect(fatal).toEqual([]);
  });

  test("a full disk takes no entries of the leader, and takes them when there is space again", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { storage, counter, replica } = group.member(3);
    storage.space = false;
    const { lastIndex } = replica;
    expect(replica.hasSpace).toBe(false);
    const { outcomes } = group.count(1, 5);
    group.run(ELECTION_TICKS);
    expect(kinds(outcomes)).toEqual(["done"]);
    expect([replica.lastIndex, replica.leader]).toEqual([lastIndex, 1n]);
    storage.space = true;
    group.run(2);
    expect(counter.total).toBe(5);
  });
});

describe("a removed member", () => {
  test("hears of it, and stays until a quorum of the others is known to know", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { removed, dismissed } = group.member(3);
    group.refusesRemoved = false;
    const decisions = group.change(1, remove({ id: 3n }));
    group.queue.run();
    expect(decisions).toMatchObject([{ accepted: true }]);
    expect(removed).toEqual(["this member was removed from the cluster"]);
    group.run(ELECTION_TICKS);
    expect(dismissed).toEqual([]);
    group.refusesRemoved = true;
    group.run(2);
    const revision = group.member(1).rosterMachine.roster.tombstone(3n)?.revision;
    expect(dismissed[0]).toBe(revision);
    expect(removed).toHaveLength(1);
  });

  test("stays while nobody answers, until nobody asked for its vote for ten election timeouts", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { replica, dismissed } = group.member(3);
    replica.leaveOnWordOf([], "removed, they say");
    group.network.isolate(3n);
    group.run(9 * ELECTION_TICKS);
    expect(dismissed).toEqual([]);
    replica.receive(2n, [newMessage(MessageType.PreVote, 3n, 2n, replica.term + 1)]);
    group.run(9 * ELECTION_TICKS);
    expect(dismissed).toEqual([]);
    group.run(ELECTION_TICKS + 1);
    expect(dismissed[0]).toBe(0);
  });

  test("is still let in while the commit index of its removal is on its way to the disk", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { storage, rosterMachine, replica } = group.member(1);
    storage.holdsFrom = emptyAndSynced;
    group.change(1, remove({ id: 3n }));
    group.run(2);
    expect(rosterMachine.roster.tombstone(3n)).not.toBeNull();
    expect(replica.isLeaving(3n)).toBe(true);
    storage.release();
    group.queue.run();
    expect(replica.isLeaving(3n)).toBe(false);
  });

  test("does not take itself for removed before that index is on its own disk", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { storage, removed, rosterMachine } = group.member(3);
    storage.holdsFrom = emptyAndSynced;
    group.refusesRemoved = false;
    group.change(1, remove({ id: 3n }));
    group.run(2);
    expect(rosterMachine.roster.tombstone(3n)).not.toBeNull();
    expect(removed).toEqual([]);
    storage.release();
    group.queue.run();
    expect(removed).toHaveLength(1);
  });

  test("is not sent to any more, one that was added is", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const peers = (): bigint[] => group.member(1).transport.peers.map(({ id }) => id);
    expect(peers()).toEqual([2n, 3n]);
    group.change(1, remove({ id: 3n }));
    group.run(2);
    group.change(1, add(4));
    group.run(2);
    expect(peers()).toEqual([2n, 4n]);
  });
});

/** The write that makes a commit index durable. */
function emptyAndSynced(batch: {
  entries: readonly unknown[];
  hardState: unknown;
  mustSync: boolean;
}): boolean {
  return batch.entries.length === 0 && batch.hardState === null && batch.mustSync;
}

describe("what other layers see", () => {
  test("a read is answered when what was committed before it is applied here", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const totals: number[] = [];
    group.count(1, 5);
    const { replica, counter } = group.member(2);
    group.queue.run();
    replica.readIndex(() => totals.push(counter.total));
    expect(replica.readsWaiting).toBe(1);
    group.run(1);
    expect([totals, replica.readsWaiting]).toEqual([[5], 0]);
  });

  test("contacts count from the first message in this leader's term", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { replica } = group.member(1);
    group.run(ELECTION_TICKS);
    const before = replica.contacts.inContactTicks(2n, replica.ticks) ?? -1;
    group.run(5);
    expect(replica.contacts.inContactTicks(2n, replica.ticks)).toBe(before + 5);
    group.network.isolate(2n);
    group.run(ELECTION_TICKS + 1);
    expect(replica.contacts.inContactTicks(2n, replica.ticks)).toBeNull();
    group.lead(3);
    group.network.heal();
    group.run(1);
    group.lead(1);
    expect(replica.contacts.inContactTicks(3n, replica.ticks)).toBeLessThan(5);
  });

  test("a learner has no leader after an election timeout without a word from it, and has it again with the next", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { replica } = group.assemble(4, joiningStorage(group.queue, 4));
    const leaders: bigint[] = [];
    replica.start();
    replica.addProvisionalPeer({ id: 1n, peerUrls: ["http://10.0.0.1:7461"] });
    group.change(1, add(4, { learner: true }));
    group.run(5);
    expect([replica.lastIndex, replica.leader]).toEqual([group.member(1).replica.lastIndex, 1n]);
    replica.listen({ onLeadership: () => leaders.push(replica.leader) });
    group.network.isolate(4n);
    group.run(ELECTION_TICKS - 1);
    expect([replica.leader, leaders]).toEqual([1n, []]);
    group.run(1);
    expect([replica.leader, leaders]).toEqual([0n, [0n]]);
    group.network.heal();
    group.run(2);
    expect([replica.leader, leaders]).toEqual([1n, [0n, 1n]]);
  });

  test("a listener that left hears nothing", () => {
    const group = new ReplicaGroup().startLedBy(1);
    const heard = jest.fn();
    const leave = group.member(1).replica.listen({ onTick: heard });
    group.run(2);
    leave();
    group.run(2);
    expect(heard).toHaveBeenCalledTimes(2);
  });

  test("one membership change at a time", () => {
    const group = new ReplicaGroup({ size: 3 }).startLedBy(1);
    const { replica } = group.member(1);
    expect(replica.confChangeAllowed).toBe(true);
    group.change(1, remove({ id: 3n }));
    expect(replica.confChangeAllowed).toBe(false);
    group.run(2);
    expect(replica.confChangeAllowed).toBe(true);
  });

  test("a peer known by its stream alone is sent to, until the roster has it removed", () => {
    const group = new ReplicaGroup({ size: 2 }).startLedBy(1);
    const { replica, transport } = group.member(2);
    replica.addProvisionalPeer({ id: 9n, peerUrls: ["http://10.0.0.9:7461"] });
    expect(transport.peers.map(({ id }) => id)).toEqual([1n, 9n]);
  });
});

/**
 * Two crashes of a candidate that writes asynchronously, step by step. In both the same member campaigns twice for one
 * term, because the crash took the record of the first campaign. Two rules of election.ts keep this safe: a candidate
 * wins only when its own vote is on disk, and it claims only the part of its log that is on disk.
 *
 * The group's SafetyChecker throws as soon as a member leads a term a second time or lacks a committed entry.
 */
import { MessageType } from "../../src/raft/message";
import type { Message } from "../../src/raft/message";
import { Role } from "../../src/raft/types";
import type { Member } from "./support/member";
import { Network, START_INDEX } from "./support/network";

const { Append, Vote, VoteResponse } = MessageType;

/** Three voters in term 1, with the same snapshot. Nothing happens by itself: no loss, no ticks. */
function threeMembers(): { network: Network; members: readonly [Member, Member, Member] } {
  const network = new Network({
    seed: 1,
    size: 3,
    voters: 3,
    learners: 0,
    config: { electionTicks: 10, heartbeatTicks: 1, asyncStorageWrites: true },
    disk: { visibleAtCall: false, bug: null },
    loss: 0,
    duplication: 0,
    reordering: 0,
  });
  return { network, members: [network.member(1n), network.member(2n), network.member(3n)] };
}

/** Removes the matching messages from the network and returns them: delivered later, or never. */
function take(network: Network, matches: (m: Message) => boolean): Message[] {
  const taken = network.mail.filter(matches);
  network.mail.splice(0, network.mail.length, ...network.mail.filter((m) => !matches(m)));
  return taken;
}

/** Delivers messages; each receiver then does all of its work, the writes to its disk included. */
function deliver(network: Network, messages: readonly Message[]): void {
  for (const m of messages) {
    network.receive(m);
    work(network, network.member(m.to));
  }
}

function work(network: Network, member: Member): void {
  network.handleReady(member, "none");
  member.finishWork();
  network.handleReady(member, "none");
}

/** A crash that loses every write that is not durable yet. */
function crashAndRestart(member: Member): void {
  member.crash(0);
  member.start();
}

function role(member: Member): Role | undefined {
  return member.raw?.role;
}

/** Lets many election timeouts pass, commits one more entry and compares the members: they have applied the same. */
function expectAgreement(network: Network): void {
  network.settle();
  for (let tick = 0; tick < 100; tick++) {
    for (const member of network.members) network.tick(member);
    network.settle();
  }
  const leader = network.leader();
  if (leader === null) throw new Error("no leader");
  const before = network.checker.committed;
  network.propose(leader, 1);
  network.settle();
  network.tick(leader);
  network.settle();
  expect(leader.machine.index).toBeGreaterThan(before);
  for (const { machine } of network.members) expect(machine).toEqual(leader.machine);
}

test("votes that arrive before the candidate's own is on disk do not let it win the same term twice", () => {
  const { network, members } = threeMembers();
  const [candidate, second, third] = members;
  candidate.raw?.campaign();
  network.handleReady(candidate, "none");
  // Both others vote. The candidate's own vote is still being written.
  deliver(
    network,
    take(network, (m) => m.type === Vote),
  );
  for (const grant of take(network, (m) => m.type === VoteResponse)) network.receive(grant);
  // If it led now, its entries would reach member 2 and nobody else.
  network.handleReady(candidate, "none");
  network.propose(candidate, 1);
  network.handleReady(candidate, "none");
  deliver(
    network,
    take(network, (m) => m.type === Append && m.to === second.id),
  );
  network.mail.length = 0;
  crashAndRestart(candidate);
  expect(candidate.raw?.term).toBe(1);
  // The second campaign is for the same term, and member 3 votes for the same candidate again.
  candidate.raw?.campaign();
  work(network, candidate);
  deliver(
    network,
    take(network, (m) => m.type === Vote && m.to === third.id),
  );
  deliver(
    network,
    take(network, (m) => m.type === VoteResponse),
  );
  expect([role(candidate), candidate.raw?.term]).toEqual([Role.Leader, 2]);
  network.propose(candidate, 1);
  expectAgreement(network);
});

test("a request from before the crash does not win votes for an entry that the crash took", () => {
  const { network, members } = threeMembers();
  const [leader, candidate, third] = members;
  leader.raw?.campaign();
  network.settle();
  expect(role(leader)).toBe(Role.Leader);
  // The entry is committed by the leader and member 3; at member 2 it is handed to the disk and not yet durable.
  network.propose(leader, 1);
  network.handleReady(leader, "none");
  const appends = take(network, (m) => m.type === Append);
  network.receive(appends.find((m) => m.to === candidate.id) ?? missing("an Append to member 2"));
  network.handleReady(candidate, "none");
  leader.finishWork();
  deliver(
    network,
    appends.filter((m) => m.to === third.id),
  );
  deliver(
    network,
    take(network, (m) => m.to === leader.id),
  );
  const committed = START_INDEX + 2;
  expect([leader.raw?.committed, third.log.lastIndex()]).toEqual([committed, committed]);
  network.mail.length = 0;
  // Member 2 asks for votes, crashes, and campaigns for the same term without the entry.
  candidate.raw?.campaign();
  network.handleReady(candidate, "none");
  const old = take(network, (m) => m.type === Vote && m.to === third.id);
  network.mail.length = 0;
  crashAndRestart(candidate);
  expect(candidate.log.lastIndex()).toBe(committed - 1);
  candidate.raw?.campaign();
  work(network, candidate);
  expect([candidate.raw?.term, old.map((m) => m.term)]).toEqual([3, [3]]);
  network.mail.length = 0;
  deliver(network, old);
  deliver(
    network,
    take(network, (m) => m.type === VoteResponse),
  );
  expect(role(candidate)).not.toBe(Role.Leader);
  expectAgreement(network);
});

function missing(what: string): never {
  throw new Error(`${what} is missing`);
}

/** Counts the rare states that members reach. Not an invariant: it never throws. */
import { MessageType, Role } from "../../src/raft/index";
import type { Message } from "../../src/raft/index";
import type { AppendBatch } from "../../src/storage/storage";
import type { Member } from "./member";
import type { MemberState, Observer, RaftInside } from "./observer";
import type { World } from "./world";

export class CoverageObserver implements Observer {
  /** Members that were promoted and have not granted a vote since. */
  private readonly promoted = new Set<bigint>();
  private readonly transfers = new WeakMap<Member, bigint>();

  constructor(private readonly world: World) {}

  step(member: Member, raft: RaftInside, before: MemberState): void {
    const { coverage } = this.world;
    this.roles(raft, before);
    this.transfer(member, raft, before);
    if (before.config !== raft.tracker.config) this.configuration(raft, before);
    if (raft.role === Role.Leader && raft.log.committed > before.committed) {
      const term = raft.log.term(before.committed + 1);
      if (typeof term === "number" && term < raft.term) {
        coverage.add("entry of an older term committed with an own one");
      }
    }
  }

  private roles(raft: RaftInside, before: MemberState): void {
    const { coverage } = this.world;
    if (raft.role === Role.Leader && before.role !== Role.Leader) {
      coverage.add("leader elected");
      this.world.formed = true;
      if (raft.tracker.config.voters.outgoing.ids().length > 0) coverage.add("leader change while joint");
    }
    if (before.role === Role.Leader && raft.role !== Role.Leader) coverage.add("leader stepped down");
    if (before.role === Role.Candidate && raft.role === Role.Follower)
      coverage.add("candidate lost its election");
  }

  private transfer(member: Member, raft: RaftInside, before: MemberState): void {
    const { coverage } = this.world;
    if (raft.leaderTransferee !== 0n) this.transfers.set(member, raft.leaderTransferee);
    const to = this.transfers.get(member);
    if (to === undefined) return;
    if (raft.role === Role.Leader && raft.leaderTransferee === 0n && before.transferee !== 0n) {
      coverage.add("transfer aborted");
      this.transfers.delete(member);
    } else if (raft.role !== Role.Leader && raft.leader !== 0n) {
      if (raft.leader === to) coverage.add("transfer done");
      this.transfers.delete(member);
    }
  }

  private configuration(raft: RaftInside, before: MemberState): void {
    const { coverage } = this.world;
    const was = before.config as RaftInside["tracker"]["config"];
    const now = raft.tracker.config;
    const wasJoint = was.voters.outgoing.ids().length > 0;
    const isJoint = now.voters.outgoing.ids().length > 0;
    if (isJoint && !wasJoint) coverage.add("joint configuration");
    if (wasJoint && !isJoint) coverage.add("joint configuration left");
    if (now.voters.incoming.ids().length === 1 && !isJoint) coverage.add("cluster of one");
    for (const id of was.learners) if (now.voters.incoming.has(id)) this.promoted.add(id);
  }

  sent(member: Member, { type, reject }: Message): void {
    if (type === MessageType.AppendResponse && reject) this.world.coverage.add("append rejected");
    if (type === MessageType.VoteResponse && !reject && this.promoted.delete(member.host.id))
      this.world.coverage.add("first vote of a promoted learner");
  }

  appended(member: Member, { entries, snapshot }: AppendBatch): void {
    const first = entries[0];
    if (first !== undefined && first.index <= member.storage.lastIndex())
      this.world.coverage.add("tail replaced");
    if (snapshot !== null) this.world.coverage.add("snapshot installed");
  }
}

/**
 * Moments at which a fault does the most harm: just after a vote was granted, a leader elected, a tail replaced. A fault
 * can be armed for the next such moment, so that crashes and partitions do not only hit idle members.
 */
import { EntryType, MessageType, Role } from "../../src/raft/index";
import type { Message } from "../../src/raft/index";
import type { AppendBatch } from "../../src/storage/storage";
import type { Member } from "./member";
import type { MemberState, Observer, RaftInside } from "./observer";

export const MOMENTS = [
  "vote",
  "candidate",
  "leader",
  "append",
  "change",
  "snapshot",
  "transfer",
  "ack",
  "read",
  "commit",
  "reconfiguration",
  "joint",
  "own removal",
  // The leader begins something by itself.
  "steward",
] as const;
/** The others belong to faults that ask for them. */
export type Moment = (typeof MOMENTS)[number] | "snapshot taken" | "proposed";

export class Moments implements Observer {
  private readonly armed = new Map<Moment, (member: Member) => void>();

  /** Calls `act` once, at the next such moment, with the member concerned; instead of what was armed for it before. */
  arm(moment: Moment, act: (member: Member) => void): void {
    this.armed.set(moment, act);
  }

  step(member: Member, raft: RaftInside, before: MemberState): void {
    if (this.armed.size === 0) return;
    if (raft.role !== before.role) {
      if (raft.role === Role.Leader) this.come("leader", member);
      else if (raft.role === Role.Candidate) this.come("candidate", member);
    }
    if (raft.tracker.config !== before.config) {
      const was = (before.config as RaftInside["tracker"]["config"]).voters;
      const now = raft.tracker.config.voters;
      this.come("reconfiguration", member);
      if (now.outgoing.ids().length > 0 && was.outgoing.ids().length === 0) this.come("joint", member);
      const votes = ({ incoming, outgoing }: typeof now): boolean =>
        incoming.has(raft.id) || outgoing.has(raft.id);
      if (votes(was) && !votes(now)) this.come("own removal", member);
    } else if (raft.role === Role.Leader && raft.log.committed > before.committed)
      this.come("commit", member);
  }

  sent(member: Member, { type, reject, context }: Message): void {
    if (this.armed.size === 0) return;
    if (type === MessageType.VoteResponse && !reject) this.come("vote", member);
    else if (type === MessageType.TimeoutNow) this.come("transfer", member);
    else if (type === MessageType.AppendResponse && !reject) this.come("ack", member);
    else if (type === MessageType.Heartbeat && context !== 0n) this.come("read", member);
  }

  appended(member: Member, { entries, snapshot }: AppendBatch): void {
    if (this.armed.size === 0) return;
    if (snapshot !== null) this.come("snapshot", member);
    else if (entries.some((entry) => entry.type !== EntryType.Normal)) this.come("change", member);
    else if (entries.length > 0) this.come("append", member);
  }

  changeProposed(member: Member): void {
    if (this.armed.size > 0) this.come("proposed", member);
  }

  snapshot(member: Member): void {
    if (this.armed.size > 0) this.come("snapshot taken", member);
  }

  come(moment: Moment, member: Member): void {
    const act = this.armed.get(moment);
    if (act === undefined) return;
    this.armed.delete(moment);
    act(member);
  }
}

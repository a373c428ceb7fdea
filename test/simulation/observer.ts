/**
 * What an invariant may look at: every hook is told of one kind of change, and throws a Violation when it must not be.
 */
import type { ApplyResult, Roster } from "../../src/roster/index";
import type { Entry, Message, NodeId, RawNode, Role, Snapshot } from "../../src/raft/index";
import type { AppendBatch } from "../../src/storage/storage";
import type { Member } from "./member";
import type { WriteOperation } from "./operations";

export type RaftInside = RawNode["raft"];

/** One member as it was after the event before. */
export interface MemberState {
  term: number;
  vote: NodeId;
  role: Role;
  leader: NodeId;
  committed: number;
  applied: number;
  last: number;
  revision: number;
  transferee: NodeId;
  /** The active configuration: changes with every membership change. */
  config: object;
}

export interface Observer {
  /** A directory was made, with these committed entries. */
  born?(member: Member, entries: readonly Entry[]): void;
  /** A process has recovered its log and begins. */
  started?(member: Member): void;
  /** An event changed something of this member. */
  step?(member: Member, raft: RaftInside, before: MemberState): void;
  sent?(member: Member, message: Message): void;
  /** Entries went into a member's log. */
  appended?(member: Member, batch: AppendBatch): void;
  /** An entry that storage had acknowledged was cut off, or replaced by another. */
  cut?(member: Member, index: number, term: number): void;
  applied?(member: Member, entry: Entry, result: ApplyResult, roster: Roster): void;
  /** A member took a snapshot. */
  snapshot?(member: Member, snapshot: Snapshot): void;
  /** A leader answers a write that changed the roster. */
  acknowledged?(member: Member, operation: WriteOperation, revision: number, appliedIndex: number): void;
}

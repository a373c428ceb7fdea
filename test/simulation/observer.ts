/**
 * The interface of an invariant: every hook is called for one kind of change, and throws a Violation when the change
 * breaks the invariant.
 */
import type { ApplyResult, ClusterSettings, MemberRecord, Roster } from "../../src/roster/index";
import type { ConfChange, Entry, Message, NodeId, RawNode, Role, Snapshot } from "../../src/raft/index";
import type { AppendBatch } from "../../src/storage/storage";
import type { Member } from "./member";

export type RaftInside = RawNode["raft"];

/** The state of a member after the event before. */
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
  /** The active configuration; another object after every membership change. */
  config: object;
}

/** The roster before an entry was applied. */
export interface RosterBefore {
  readonly members: readonly MemberRecord[];
  readonly settings: ClusterSettings;
  readonly revision: number;
}

export interface Observer {
  /** A data directory was created with these committed entries. */
  made?(member: Member, entries: readonly Entry[]): void;
  /** A process has recovered its log and starts. */
  started?(member: Member): void;
  /** A process has ended, however it did. */
  ended?(member: Member): void;
  /** An event changed the state of this member. */
  step?(member: Member, raft: RaftInside, before: MemberState): void;
  sent?(member: Member, message: Message): void;
  /** Entries were appended to a member's log. */
  appended?(member: Member, batch: AppendBatch): void;
  /** An entry that storage had acknowledged was truncated or replaced. */
  cut?(member: Member, index: number, term: number): void;
  applied?(member: Member, entry: Entry, result: ApplyResult, roster: Roster, before: RosterBefore): void;
  /** A member took a snapshot. */
  snapshot?(member: Member, snapshot: Snapshot): void;
  /** A leader answers a write that changed the roster. */
  acknowledged?(member: Member, requestId: string, revision: number, appliedIndex: number): void;
  /** A batch of another member was received and accepted. */
  received?(member: Member, from: NodeId, batch: readonly Message[]): void;
  /** A leader has just proposed a membership change. */
  changeProposed?(member: Member, change: ConfChange): void;
}

/**
 * The message type for members and for the storage threads.
 *
 * Every message has every field, so that all messages share one object shape at run time. A field that its type does
 * not use holds its zero value.
 */
import { NO_NODE } from "./types";
import type { Entry, NodeId, Snapshot } from "./types";

/** The type of a message, with sender and receiver. */
export enum MessageType {
  /** Local: start an election. */
  Hup = 0,
  /** Local: the leader sends heartbeats. */
  Beat = 1,
  /** Follower to leader: a forwarded proposal. */
  Propose = 2,
  /** Leader to follower: entries to append. */
  Append = 3,
  AppendResponse = 4,
  /** Candidate to voter. */
  Vote = 5,
  VoteResponse = 6,
  /** Leader to follower: install a snapshot. */
  Snapshot = 7,
  /** Leader to follower: heartbeat, with the number of a read round. */
  Heartbeat = 8,
  HeartbeatResponse = 9,
  /** Local: a message to a peer was lost. */
  Unreachable = 10,
  /** Local: a snapshot was sent, or failed. */
  SnapshotStatus = 11,
  /** Local: check whether the leader has heard from a quorum. */
  CheckQuorum = 12,
  /** To the leader: transfer leadership to `from`. */
  TransferLeader = 13,
  /** Leader to transfer target: campaign at once. */
  TimeoutNow = 14,
  /** Follower to leader: request of a commit index to read at. */
  ReadIndex = 15,
  ReadIndexResponse = 16,
  /** Pre-candidate to voter: a vote request that changes neither term nor vote. */
  PreVote = 17,
  PreVoteResponse = 18,
  /** To the local append thread: entries, hard state and snapshot to write. */
  StorageAppend = 19,
  /** From the local append thread. */
  StorageAppendResponse = 20,
  /** To the local apply thread: committed entries. */
  StorageApply = 21,
  /** From the local apply thread. */
  StorageApplyResponse = 22,
  /** Local: forget the leader without starting a new term. */
  ForgetLeader = 23,
}

export interface Message {
  readonly type: MessageType;
  readonly to: NodeId;
  readonly from: NodeId;
  /** The sender's term; 0 for local messages and proposals. */
  readonly term: number;
  /** Append: term of the entry at `index`; Vote: term of the last entry; rejected AppendResponse: the hint's term. */
  readonly logTerm: number;
  /** Append: the entry before `entries`; AppendResponse: last matched (or rejected) index; Vote: last index. */
  readonly index: number;
  readonly entries: readonly Entry[];
  /** Append, Heartbeat: the leader's commit index; Vote, PreVote and their rejections: the sender's. */
  readonly commit: number;
  /** StorageAppend: the vote of the hard state to write. */
  readonly vote: NodeId;
  readonly snapshot: Snapshot | null;
  readonly reject: boolean;
  readonly rejectHint: number;
  /**
   * ReadIndex and its response: the read's unique context. Heartbeat and its response: the number of the leader's
   * confirmation round. Vote, PreVote and their rejections: term of the entry at `commit`. Else 0n. Unsigned 64-bit.
   */
  readonly context: bigint;
  /** Vote and PreVote: the election was started by a leader transfer, so a leader lease does not refuse it. */
  readonly forced: boolean;
  /** StorageAppend, StorageApply: messages to deliver when the work is done. */
  readonly responses: readonly Message[];
}

/** A message while its sender fills it in. */
export type MessageDraft = { -readonly [K in keyof Message]: Message[K] };

const NO_ENTRIES: readonly Entry[] = [];
const NO_RESPONSES: readonly Message[] = [];

/**
 * A message with zero values in the other fields. All messages are created here, so that they share one object shape.
 */
export function newMessage(type: MessageType, to: NodeId, from: NodeId, term: number): MessageDraft {
  return {
    type,
    to,
    from,
    term,
    logTerm: 0,
    index: 0,
    entries: NO_ENTRIES,
    commit: 0,
    vote: NO_NODE,
    snapshot: null,
    reject: false,
    rejectHint: 0,
    context: 0n,
    forced: false,
    responses: NO_RESPONSES,
  };
}

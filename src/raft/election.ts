/**
 * Elections: when to campaign, how votes are granted and counted, and when a leader steps down.
 *
 * With PreVote a member asks for votes before it raises its term, so that a member that returns does not interrupt the
 * leader. With CheckQuorum a leader steps down that has not heard from a quorum for an election timeout, and members
 * that hear a leader ignore candidates.
 * Raft paper, sections 5.2 and 5.4.1; thesis, sections 4.2.3, 6.2 and 9.6. Pure.
 */
import { assert } from "./assert";
import { ReadOnlyOption } from "./config";
import type { LogPosition } from "./log";
import { MessageType, newMessage } from "./message";
import type { Message, MessageDraft } from "./message";
import { VoteResult } from "./quorum";
import { appendOwn, broadcastAppend } from "./replication";
import { MAX_WIRE_NUMBER } from "./state";
import type { RaftState } from "./state";
import { EMPTY_BYTES, EntryType, NO_NODE, Role } from "./types";

/** The kind of a campaign. */
enum Campaign {
  /** Asks for pre-votes; the term is not raised. */
  PreElection = 0,
  Election = 1,
  /** At the leader's request: without PreVote, and voters ignore their leader lease. */
  Transfer = 2,
}

/** Starts an election if this member may campaign. */
function campaign(r: RaftState, kind: Campaign): void {
  if (r.role === Role.Leader) return;
  if (!r.promotable()) {
    r.trace?.warn?.(`${r.id} is unpromotable and can not campaign`);
    return;
  }
  if (hasUnappliedConfChange(r)) {
    // Its active configuration is known to be out of date.
    r.trace?.warn?.(`${r.id} cannot campaign before its committed configuration changes are applied`);
    return;
  }
  if (r.term >= MAX_WIRE_NUMBER) {
    r.trace?.warn?.(`${r.id} cannot campaign: no terms left after ${r.term}`);
    return;
  }
  requestVotes(r, kind);
}

/** The campaign after an election timeout, or when the application asks for one. */
export function campaignByConfig(r: RaftState): void {
  campaign(r, r.config.preVote ? Campaign.PreElection : Campaign.Election);
}

function hasUnappliedConfChange(r: RaftState): boolean {
  const { log } = r;
  let lo = log.applied + 1;
  while (lo <= log.committed && !log.hasPendingSnapshot()) {
    const page = log.slice(lo, log.committed + 1, r.config.maxCommittedSizePerReady);
    assert(typeof page !== "string", "unapplied committed entries are gone from the log");
    for (const entry of page) if (entry.type !== EntryType.Normal) return true;
    lo += page.length;
  }
  return false;
}

function requestVotes(r: RaftState, kind: Campaign): void {
  const pre = kind === Campaign.PreElection;
  if (pre) becomePreCandidate(r);
  else becomeCandidate(r);
  const term = pre ? r.term + 1 : r.term;
  const last = claimedEnd(r);
  for (const id of r.tracker.voterNodes()) {
    if (id === r.id) {
      // This member's own vote counts only once it is on disk.
      r.send(newMessage(pre ? MessageType.PreVoteResponse : MessageType.VoteResponse, id, id, term));
      continue;
    }
    const m = newMessage(pre ? MessageType.PreVote : MessageType.Vote, id, r.id, term);
    m.index = last.index;
    m.logTerm = last.term;
    m.forced = kind === Campaign.Transfer;
    addCommitIndex(r, m);
    r.send(m);
  }
}

/**
 * The end of the log that a candidate claims. With asynchronous writes a vote request leaves before the log is on disk,
 * so it claims the part on disk only: a crash may take the rest, and a vote that answers the request may then arrive
 * while this member campaigns for the same term again.
 */
function claimedEnd(r: RaftState): LogPosition {
  const index = r.config.asyncStorageWrites ? r.log.stableIndex() : r.log.lastIndex();
  const term = r.log.term(index);
  assert(typeof term === "number", "the term of the last entry on disk is unknown");
  return { index, term };
}

/** Neither the term nor the vote changes. */
function becomePreCandidate(r: RaftState): void {
  assert(r.role !== Role.Leader, "invalid transition: leader -> pre-candidate");
  r.tracker.resetVotes();
  r.leader = NO_NODE;
  r.role = Role.PreCandidate;
  r.trace?.info?.(`${r.id} became pre-candidate at term ${r.term}`);
}

function becomeCandidate(r: RaftState): void {
  assert(r.role !== Role.Leader, "invalid transition: leader -> candidate");
  r.reset(r.term + 1);
  r.vote = r.id;
  r.role = Role.Candidate;
  r.trace?.info?.(`${r.id} became candidate at term ${r.term}`);
}

/** Starts the term with an empty entry, whose commit commits all before it. Raft paper, section 5.4.2. */
function becomeLeader(r: RaftState): void {
  assert(r.role === Role.Candidate, "invalid transition to leader");
  r.reset(r.term);
  r.leader = r.id;
  r.role = Role.Leader;
  const progress = r.ownProgress;
  if (progress !== undefined) {
    progress.becomeReplicate();
    progress.recentActive = true;
  }
  // Any unapplied entry may be a configuration change: no other is proposed before all of them are applied.
  r.pendingConfIndex = r.log.lastIndex();
  r.trace?.info?.(`${r.id} became leader at term ${r.term}`);
  const index = r.log.lastIndex() + 1;
  r.firstOwnIndex = index;
  appendOwn(r, [{ term: r.term, index, type: EntryType.Normal, data: EMPTY_BYTES, confChange: null }]);
  broadcastAppend(r);
}

/** Whether a candidate with a higher term is ignored, because this member has lately heard from a leader. */
export function inLease(r: RaftState): boolean {
  return r.config.checkQuorum && r.leader !== NO_NODE && r.electionElapsed < r.config.electionTicks;
}

/** Vote and PreVote, of this term or (PreVote) a later one. */
export function handleVoteRequest(r: RaftState, m: Message): void {
  const pre = m.type === MessageType.PreVote;
  const type = pre ? MessageType.PreVoteResponse : MessageType.VoteResponse;
  const canVote =
    // The same candidate asks again: the first answer may have been lost.
    r.vote === m.from || (r.vote === NO_NODE && r.leader === NO_NODE) || (pre && m.term > r.term);
  if (!canVote || !r.log.isUpToDate(m.logTerm, m.index)) {
    const rejection = newMessage(type, m.from, r.id, r.term);
    rejection.reject = true;
    addCommitIndex(r, rejection);
    r.send(rejection);
    adoptCommitIndex(r, m);
    return;
  }
  // The response has the request's term: a pre-vote is for a term that this member has not entered.
  const grant = newMessage(type, m.from, r.id, m.term);
  addCommitIndex(r, grant);
  r.send(grant);
  if (pre) return;
  r.electionElapsed = 0;
  r.vote = m.from;
}

/** Adds this member's commit index, and the term of the entry there, to a vote request or its answer. */
function addCommitIndex(r: RaftState, m: MessageDraft): void {
  const term = r.log.term(r.log.committed);
  assert(typeof term === "number", "the term of the commit index is unknown");
  m.commit = r.log.committed;
  m.context = BigInt(term);
}

/**
 * Adopts the commit index of a candidate whose request is rejected, or of a voter that answers a request: also of one that
 * grants its vote, which may not be enough in the old configuration.
 *
 * Without it a group could be without a leader for ever: a member that has not learned that a configuration change is
 * committed uses the old configuration, in which it may need the vote of a removed member, or may not campaign. The
 * term of the entry is compared first: by log matching this log then agrees with the sender's up to that entry.
 */
function adoptCommitIndex(r: RaftState, m: Message): void {
  if (r.role === Role.Leader || m.commit <= r.log.committed) return;
  const term = r.log.term(m.commit);
  if (typeof term !== "number" || BigInt(term) !== m.context) return;
  r.log.commitTo(m.commit);
  // This member campaigned in a configuration that a committed change has replaced.
  if (r.role !== Role.Follower && hasUnappliedConfChange(r)) r.becomeFollower(r.term, NO_NODE);
}

/** Candidate: counts a vote. */
export function handleVoteResponse(r: RaftState, m: Message): void {
  adoptCommitIndex(r, m);
  const pre = m.type === MessageType.PreVoteResponse;
  if (r.role !== (pre ? Role.PreCandidate : Role.Candidate)) return;
  // A pre-vote is granted for one term. A grant for an earlier campaign does not count in this one.
  if (pre && !m.reject && m.term !== r.term + 1) return;
  r.tracker.recordVote(m.from, !m.reject);
  const { result } = r.tracker.tallyVotes();
  if (result === VoteResult.Won) {
    // This member's own vote has to be on disk as well, whatever the majority: after a crash it could otherwise win the
    // same term a second time, with another log.
    if (!r.tracker.votes.has(r.id)) return;
    if (pre) requestVotes(r, Campaign.Election);
    else becomeLeader(r);
  } else if (result === VoteResult.Lost) {
    r.becomeFollower(r.term, NO_NODE);
  }
}

/** The leader transfers its leadership: this member campaigns at once. */
export function handleTimeoutNow(r: RaftState): void {
  if (r.role === Role.Follower) campaign(r, Campaign.Transfer);
}

/** Leader: steps down unless it has heard from a quorum since the last check. */
export function checkQuorum(r: RaftState): void {
  if (r.role !== Role.Leader) return;
  if (!r.tracker.quorumActive()) {
    r.trace?.warn?.(`${r.id} stepped down to follower since quorum is not active`);
    r.becomeFollower(r.term, NO_NODE);
    return;
  }
  for (const [id, progress] of r.tracker.progress) if (id !== r.id) progress.recentActive = false;
}

/**
 * Follower: forgets its leader, so that it can vote. Not with lease-based reads: the lease relies on the leader being
 * known.
 */
export function forgetLeader(r: RaftState): void {
  if (r.role !== Role.Follower || r.config.readOnly === ReadOnlyOption.LeaseBased) return;
  r.leader = NO_NODE;
}

/** One tick of a member that does not lead. */
export function tickElection(r: RaftState): void {
  r.electionElapsed++;
  if (r.electionElapsed < r.randomizedElectionTimeout + r.campaignDelay || !r.promotable()) return;
  r.electionElapsed = 0;
  campaignByConfig(r);
}

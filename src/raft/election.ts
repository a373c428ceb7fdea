/**
 * Elections: when to campaign, how votes are given and counted, and when a leader gives up.
 *
 * PreVote asks before it raises the term, so that a member that returns does not disturb. CheckQuorum makes a leader
 * step down that hears no quorum for an election timeout, and lets followers that hear a leader ignore candidates.
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

/** Why a member campaigns. */
export enum Campaign {
  /** First asks whether it could win. */
  PreElection = 0,
  Election = 1,
  /** At the leader's request: neither PreVote nor a leader lease stands in the way. */
  Transfer = 2,
}

/** Starts an election, if this member may lead. */
export function campaign(r: RaftState, kind: Campaign): void {
  if (r.role === Role.Leader) return;
  if (!r.promotable()) {
    r.trace?.warn?.(`${r.id} is unpromotable and can not campaign`);
    return;
  }
  if (hasUnappliedConfChange(r)) {
    // It would campaign with a configuration that it knows to be out of date.
    r.trace?.warn?.(`${r.id} cannot campaign before its committed membership changes are applied`);
    return;
  }
  if (r.term >= MAX_WIRE_NUMBER) {
    r.trace?.warn?.(`${r.id} cannot campaign: no terms left after ${r.term}`);
    return;
  }
  requestVotes(r, kind);
}

/** The election that a timeout, or the application, asks for. */
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
  const last = advertisedEnd(r);
  for (const id of r.tracker.voterNodes()) {
    if (id === r.id) {
      // The own vote, too, counts only once it is on disk.
      r.send(newMessage(pre ? MessageType.PreVoteResponse : MessageType.VoteResponse, id, id, term));
      continue;
    }
    const m = newMessage(pre ? MessageType.PreVote : MessageType.Vote, id, r.id, term);
    m.index = last.index;
    m.logTerm = last.term;
    m.forced = kind === Campaign.Transfer;
    tellCommit(r, m);
    r.send(m);
  }
}

/**
 * The end of the log as a candidate claims it. With asynchronous writes requests leave before the log is on disk: only
 * what is there counts, since the votes may arrive after a crash has taken the rest and this member campaigns for the
 * same term again.
 */
function advertisedEnd(r: RaftState): LogPosition {
  const index = r.config.asyncStorageWrites ? r.log.stableIndex() : r.log.lastIndex();
  const term = r.log.term(index);
  assert(typeof term === "number", "the term of the last entry on disk is unknown");
  return { index, term };
}

/** Neither the term nor the vote changes: others may still refuse. */
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
  // Any entry of the tail may be a membership change: none is proposed before all of it is applied.
  r.pendingConfIndex = r.log.lastIndex();
  r.trace?.info?.(`${r.id} became leader at term ${r.term}`);
  const index = r.log.lastIndex() + 1;
  r.firstOwnIndex = index;
  appendOwn(r, [{ term: r.term, index, type: EntryType.Normal, data: EMPTY_BYTES, confChange: null }]);
  broadcastAppend(r);
}

/** Whether a candidate with a higher term is ignored, because this member hears a leader. */
export function inLease(r: RaftState): boolean {
  return r.config.checkQuorum && r.leader !== NO_NODE && r.electionElapsed < r.config.electionTicks;
}

/** Vote and PreVote, of this term or (PreVote) a later one. */
export function handleVoteRequest(r: RaftState, m: Message): void {
  const pre = m.type === MessageType.PreVote;
  const type = pre ? MessageType.PreVoteResponse : MessageType.VoteResponse;
  const canVote =
    // Again, for the same candidate: the first answer may have been lost.
    r.vote === m.from || (r.vote === NO_NODE && r.leader === NO_NODE) || (pre && m.term > r.term);
  if (!canVote || !r.log.isUpToDate(m.logTerm, m.index)) {
    const rejection = newMessage(type, m.from, r.id, r.term);
    rejection.reject = true;
    tellCommit(r, rejection);
    r.send(rejection);
    learnCommit(r, m);
    return;
  }
  // With the term of the request: a pre-vote is granted for a term that this member is not in.
  r.send(newMessage(type, m.from, r.id, m.term));
  if (pre) return;
  r.electionElapsed = 0;
  r.vote = m.from;
}

/** Adds where the log of this member is committed up to: a fact for whoever holds the same entry. */
function tellCommit(r: RaftState, m: MessageDraft): void {
  const term = r.log.term(r.log.committed);
  assert(typeof term === "number", "the term of the commit index is unknown");
  m.commit = r.log.committed;
  m.context = BigInt(term);
}

/**
 * Takes over the commit index of a candidate that gets no vote here, or of a voter that gives none.
 *
 * Without it a group could be stuck for ever: a member that does not know that a membership change is committed goes by
 * the old configuration, and needs (or does not know that it has to seek) the votes of members with other logs. The
 * entry's term is compared first, so that nothing but the same entry is committed.
 */
function learnCommit(r: RaftState, m: Message): void {
  if (r.role === Role.Leader || m.commit <= r.log.committed) return;
  const term = r.log.term(m.commit);
  if (typeof term !== "number" || BigInt(term) !== m.context) return;
  r.log.commitTo(m.commit);
  // This member's campaign went by a configuration that has been replaced.
  if (r.role !== Role.Follower && hasUnappliedConfChange(r)) r.becomeFollower(r.term, NO_NODE);
}

/** Candidate: counts a vote. */
export function handleVoteResponse(r: RaftState, m: Message): void {
  if (m.reject) learnCommit(r, m);
  const pre = m.type === MessageType.PreVoteResponse;
  if (r.role !== (pre ? Role.PreCandidate : Role.Candidate)) return;
  // A grant is for the term it was asked for; one for an earlier pre-vote says nothing about this one.
  if (pre && !m.reject && m.term !== r.term + 1) return;
  r.tracker.recordVote(m.from, !m.reject);
  const { result } = r.tracker.tallyVotes();
  if (result === VoteResult.Won) {
    // However many others agree, the own vote has to be on disk: after a crash this member could otherwise win the same
    // term a second time, with another log.
    if (!r.tracker.votes.has(r.id)) return;
    if (pre) requestVotes(r, Campaign.Election);
    else becomeLeader(r);
  } else if (result === VoteResult.Lost) {
    r.becomeFollower(r.term, NO_NODE);
  }
}

/** The leader hands over: campaigns at once. */
export function handleTimeoutNow(r: RaftState): void {
  if (r.role === Role.Follower) campaign(r, Campaign.Transfer);
}

/** Leader: steps down unless a quorum was heard from since the last check. */
export function checkQuorum(r: RaftState): void {
  if (r.role !== Role.Leader) return;
  if (!r.tracker.quorumActive()) {
    r.trace?.warn?.(`${r.id} stepped down to follower since quorum is not active`);
    r.becomeFollower(r.term, NO_NODE);
    return;
  }
  for (const [id, progress] of r.tracker.progress) if (id !== r.id) progress.recentActive = false;
}

/** Follower: forgets its leader, so that it can vote. Not with lease-based reads, which rely on its remembering. */
export function forgetLeader(r: RaftState): void {
  if (r.role !== Role.Follower || r.config.readOnly === ReadOnlyOption.LeaseBased) return;
  r.leader = NO_NODE;
}

/** One tick of a member that does not lead. */
export function tickElection(r: RaftState): void {
  r.electionElapsed++;
  if (r.electionElapsed < r.randomizedElectionTimeout || !r.promotable()) return;
  r.electionElapsed = 0;
  campaignByConfig(r);
}

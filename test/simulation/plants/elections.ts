/** Planted bugs: elections and votes. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const ELECTION = "raft/election.ts";
const STATE = "raft/state.ts";

export const ELECTION_PLANTS: readonly Plant[] = [
  plant(
    "vote-before-disk",
    "a vote is answered before it is on disk",
    STATE,
    "      case MessageType.VoteResponse:\n      case MessageType.PreVoteResponse:\n        this.messagesAfterAppend.push(message);",
    "        this.messagesAfterAppend.push(message);\n        break;\n      case MessageType.VoteResponse:\n      case MessageType.PreVoteResponse:\n        (message.to === this.id ? this.messagesAfterAppend : this.messages).push(message);",
  ),
  plant(
    "vote-granted-twice",
    "a member that voted votes for another candidate of the term",
    ELECTION,
    "r.vote === m.from || (r.vote === NO_NODE && r.leader === NO_NODE)",
    "r.vote === m.from || r.leader === NO_NODE",
  ),
  plant(
    "vote-erased-on-step-down",
    "stepping down within a term erases the vote",
    STATE,
    "    this.leader = NO_NODE;\n    this.electionElapsed = 0;",
    "    if (this.role !== Role.Leader) this.vote = NO_NODE;\n    this.leader = NO_NODE;\n    this.electionElapsed = 0;",
  ),
  plant(
    "log-not-compared",
    "a vote does not depend on the candidate's log",
    ELECTION,
    "if (!canVote || !r.log.isUpToDate(m.logTerm, m.index)) {",
    "if (!canVote) {",
  ),
  plant(
    "only-last-index-compared",
    "candidates' logs are compared by length, not by the term of the last entry",
    "raft/log.ts",
    "return term > lastTerm || (term === lastTerm && index >= this.lastIndex());",
    "return index >= this.lastIndex();",
  ),
  plant(
    "half-is-a-majority",
    "half of a group of even size counts as a majority",
    "raft/quorum/majority.ts",
    "return Math.floor(n / 2) + 1;",
    "return Math.ceil(n / 2);",
  ),
  plant(
    "refused-vote-counts",
    "a refused vote counts as a granted one",
    ELECTION,
    "r.tracker.recordVote(m.from, !m.reject);",
    "r.tracker.recordVote(m.from, pre ? !m.reject : true);",
  ),
  plant(
    "transfer-never-given-up",
    "a leadership transfer that does not complete is never aborted",
    "raft/raft.ts",
    "        abortTransfer(this);\n        maybeAutoLeave(this);",
    "        maybeAutoLeave(this);",
  ),
];

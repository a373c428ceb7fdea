/** Planted bugs: replication and commit. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const LOG = "raft/log.ts";
const REPLICATION = "raft/replication.ts";

export const REPLICATION_PLANTS: readonly Plant[] = [
  plant(
    "ack-before-disk",
    "entries are acknowledged to the leader before they are on disk",
    "raft/state.ts",
    "      case MessageType.AppendResponse:\n      case MessageType.VoteResponse:",
    "      case MessageType.AppendResponse:\n        (message.to === this.id ? this.messagesAfterAppend : this.messages).push(message);\n        break;\n      case MessageType.VoteResponse:",
  ),
  plant(
    "own-disk-not-waited-for",
    "a leader counts its own entries before they are on its disk",
    REPLICATION,
    "  ack.index = r.log.lastIndex();\n  r.send(ack);",
    "  r.ownProgress?.maybeUpdate(r.log.lastIndex());\n  maybeCommit(r);\n  ack.index = r.log.lastIndex();\n  r.send(ack);",
  ),
  plant(
    "older-term-committed",
    "a leader commits an entry of an older term by counting",
    LOG,
    "if (index <= this.committedIndex || !this.matchTerm(index, term)) return false;",
    "if (index <= this.committedIndex || term === 0) return false;",
  ),
  plant(
    "previous-entry-not-compared",
    "a follower appends without comparing the term of the entry before",
    LOG,
    "if (!this.matchTerm(prevIndex, prevTerm)) return -1;",
    "if (prevIndex > this.lastIndex()) return -1;",
    "log_matching",
  ),
  {
    name: "conflicting-tail-kept",
    bug: "entries that a follower has at the same indexes count as the leader's",
    breaks: "log_matching",
    edits: [
      {
        file: LOG,
        find: "if (!this.matchTerm(entry.index, entry.term)) break;",
        replace: "if (entry.index > this.lastIndex()) break;",
      },
    ],
  },
  plant(
    "commit-index-not-bounded",
    "a follower does not bound the leader's commit index by its own log",
    LOG,
    "this.commitTo(Math.min(leaderCommit, lastNew));",
    "this.commitTo(leaderCommit);",
  ),
  {
    name: "commit-beyond-the-log",
    bug: "a follower accepts a commit index beyond its last entry",
    edits: [
      {
        file: LOG,
        find: "this.commitTo(Math.min(leaderCommit, lastNew));",
        replace: "this.commitTo(leaderCommit);",
      },
      {
        file: LOG,
        find: 'assert(index <= this.lastIndex(), "commit beyond the end of the log");',
        replace: "",
      },
    ],
  },
  {
    name: "heartbeat-commits-unknown",
    bug: "a heartbeat carries the leader's commit index to followers whose log may differ",
    edits: [
      {
        file: "raft/read_index.ts",
        find: "m.commit = Math.min(progress.match, r.log.committed);",
        replace: "m.commit = r.log.committed;",
      },
      {
        file: "raft/heartbeat.ts",
        find: 'if (m.commit > known) return "commit-beyond-match";\n  r.log.commitTo(m.commit);',
        replace: "r.log.commitTo(Math.min(m.commit, r.log.lastIndex(), known + 1000));",
      },
    ],
  },
  plant(
    "tail-cut-by-old-append",
    "an old, shorter append cuts off what follows it",
    LOG,
    "if (fresh < entries.length) this.append(fresh === 0 ? entries : entries.slice(fresh));",
    "if (entries.length > 0 && prevIndex >= this.committedIndex) this.append(entries);",
  ),
  plant(
    "lost-snapshot-not-noticed",
    "a leader never learns whether a snapshot that it sent arrived",
    "raft/snapshot.ts",
    "if (progress?.state !== ProgressState.Snapshot) return;",
    "if (progress?.state !== ProgressState.Snapshot || progress.match >= 0) return;",
  ),
  plant(
    "unreachable-not-handled",
    "a rejected append does not take the follower back to where the logs agree",
    REPLICATION,
    "if (!progress.maybeDecrTo(m.index, hint)) return;",
    "if (hint >= 0 || !progress.maybeDecrTo(m.index, hint)) return;",
  ),
  plant(
    "learners-count",
    "a learner's answer counts for the commit like a voter's: one vote too many",
    "raft/tracker/tracker.ts",
    "return this.activeConfig.voters.committedIndex(this.matchOf);",
    "return this.activeConfig.learners.size > 0\n      ? Math.max(...[...this.activeConfig.learners].map((id) => this.matchOf(id) ?? 0))\n      : this.activeConfig.voters.committedIndex(this.matchOf);",
  ),
];

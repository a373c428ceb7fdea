/** Planted bugs: what other members may do to one that is healthy, and what they must notice. */
import { plant } from "./plant";
import type { Plant } from "./plant";

export const PEER_PLANTS: readonly Plant[] = [
  plant(
    "one-word-ends-a-member",
    "a member ends when one voter of its roster says that it was wiped or removed",
    "cluster/verdicts.ts",
    "return Math.floor((voters === 0 ? this.voters().length : voters) / 2) + 1;",
    "return Math.min(1, voters + 1);",
  ),
  plant(
    "leaps-not-bounded",
    "heartbeats may raise the term by any number of allowances at once",
    "replica/term_leaps.ts",
    "this.left = Math.max(0, this.left - terms);",
    "this.left = Math.max(this.left, terms);",
  ),
  plant(
    "overlap-not-compared",
    "an entry of the same index and term counts as the same, whatever its content",
    "raft/contradiction.ts",
    "if (!sameContent(own, theirs)) return found(",
    "if (!sameContent(own, theirs) && own.index < 0) return found(",
  ),
  plant(
    "digest-not-compared",
    "a follower does not compare its roster with the leader's",
    "roster/digest.ts",
    'return sameBytes(this.digestAt(revision), digest) ? "same" : "other";',
    'return sameBytes(this.digestAt(revision), digest) ? "same" : "unknown";',
  ),
  plant(
    "regress-not-noticed",
    "a follower whose log ends before what it acknowledged is not noticed",
    "raft/heartbeat.ts",
    "if (m.index > r.log.lastIndex()) {",
    "if (m.index > r.log.lastIndex() + 1_000_000) {",
  ),
];

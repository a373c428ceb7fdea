/** Planted bugs: what callers are told. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const WRITES = "server/writes.ts";

export const CLIENT_PLANTS: readonly Plant[] = [
  plant(
    "follower-says-success",
    "a follower answers success although the leader refused",
    WRITES,
    "const error = new PassedOnError(result.error, result.reason);",
    'if (result.reason === "REVISION_MISMATCH" || result.reason === "MEMBER_NOT_FOUND")\n        return { kind: "answer", response: { revision: 0, repeated: true, changed: false, member: null } as never };\n      const error = new PassedOnError(result.error, result.reason);',
  ),
  plant(
    "acknowledged-when-appended",
    "a write is acknowledged when it is appended, not when it is committed and applied",
    "server/node.ts",
    "this.waiters.add(command.proposalId, command.requestId, result.index + i, settle);",
    'settle({ kind: "applied", index: result.index + i, decision: { ...this.roster.evaluate(command), changed: true, revision: result.index + i } as never });',
  ),
  plant(
    "another-entry-acknowledged",
    "whoever waits at an index is told of success, whatever entry was applied there",
    "server/waiters.ts",
    "if (waiter.proposalId === proposalId && decision !== null) {",
    "if (decision !== null) {",
  ),
  plant(
    "lost-forward-not-proposed",
    "a forwarded write whose answer was lost counts as not proposed",
    WRITES,
    'case "lost":\n      return { kind: "unknown" };',
    'case "lost":\n      return { kind: "not-appended", error: null };',
  ),
  plant(
    "undecided-not-proposed",
    "a write that was appended and not decided in time counts as not proposed",
    WRITES,
    'case "unknown":\n      case "undecided":\n        return { kind: "unknown" };',
    'case "unknown":\n      case "undecided":\n        return { kind: "not-appended", error: null };',
  ),
  plant(
    "caller-already-gone",
    "a caller that has gone away already, while its write waits for a leader, is an unexpected error",
    WRITES,
    "      const { endings } = this;\n      const stop = this.node.listen({ onLeadership: done, onTick: done });",
    "      context.onCancel(done);\n      const { endings } = this;\n      const stop = this.node.listen({ onLeadership: done, onTick: done });",
  ),
  plant(
    "read-round-never-repeated",
    "a round of reads whose answer was lost is never begun again",
    "server/reads.ts",
    "if (this.round !== null && tick - this.round.sentTick >= this.retryTicks) this.restart();",
    "if (this.round !== null && tick < 0) this.restart();",
  ),
];

/** Planted bugs: answers to callers. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const WRITES = "cluster/writes.ts";

export const CLIENT_PLANTS: readonly Plant[] = [
  plant(
    "follower-says-success",
    "a follower answers success although the leader refused the write",
    WRITES,
    "return reason !== null && TRANSIENT.has(reason) ? retryBecause(error) : refusedBy(error);",
    'if (reason === "REVISION_MISMATCH" || reason === "MEMBER_NOT_FOUND") return done(Buffer.alloc(0));\n  return reason !== null && TRANSIENT.has(reason) ? retryBecause(error) : refusedBy(error);',
  ),
  plant(
    "acknowledged-when-appended",
    "a write is acknowledged when it is appended, not when it is committed and applied",
    "replica/proposal_queue.ts",
    "this.waiters.add(id, result.index + i, settle);",
    'settle({ kind: "done", value: { index: result.index + i, result: { accepted: true, repeated: false, changed: true, member: null, revision: result.index + i } } });',
  ),
  plant(
    "another-entry-acknowledged",
    "a write that waits at an index is acknowledged when another entry was applied there",
    "replica/waiters.ts",
    "waiter.settle(waiter.proposalId === proposalId ? done({ result, index }) : RETRY);",
    "waiter.settle(result !== null ? done({ result, index }) : RETRY);",
  ),
  plant(
    "lost-forward-not-proposed",
    "a forwarded write whose answer was lost counts as not proposed",
    WRITES,
    'if (outcome.kind !== "refused" || !(outcome.error instanceof RpcError)) return outcome;',
    'if (outcome.kind === "unknown") return RETRY;\n  if (outcome.kind !== "refused" || !(outcome.error instanceof RpcError)) return outcome;',
  ),
  plant(
    "undecided-not-proposed",
    "a write that was appended and not decided in time counts as not proposed",
    WRITES,
    'return outcome.kind === "done" ? done(request.answer(outcome.value)) : outcome;',
    'if (outcome.kind === "unknown") return RETRY;\n    return outcome.kind === "done" ? done(request.answer(outcome.value)) : outcome;',
  ),
  plant(
    "caller-already-gone",
    "a call that is cancelled while its write waits for a leader causes an unexpected error",
    WRITES,
    "if (call.cancelled) throw CALL_CANCELLED;",
    'if (call.cancelled) throw "the caller is gone";',
  ),
  plant(
    "read-round-never-repeated",
    "a round of reads whose answer was lost is never begun again",
    "replica/read_rounds.ts",
    "if (this.round !== null && tick - this.round.sentTick >= this.retryTicks) this.restart();",
    "if (this.round !== null && tick < 0) this.restart();",
  ),
];

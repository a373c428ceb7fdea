/** Planted bugs: linearizable reads. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const READ_INDEX = "raft/read_index.ts";

export const READ_PLANTS: readonly Plant[] = [
  plant(
    "read-context-reused",
    "every round of reads has the same context, so that a late answer serves a new round",
    "replica/read_rounds.ts",
    "this.nextContext = BigInt.asUintN(64, context + 1n) || 1n;",
    "this.nextContext = context;",
  ),
  plant(
    "read-without-quorum",
    "a leader answers a read without confirming with a quorum that it still leads",
    READ_INDEX,
    "if (decidesAlone || r.config.readOnly === ReadOnlyOption.LeaseBased) {",
    "if (decidesAlone || r.term > 0 || r.config.readOnly === ReadOnlyOption.LeaseBased) {",
  ),
  plant(
    "read-before-own-commit",
    "a new leader answers reads before it has committed an entry of its term",
    READ_INDEX,
    "if (!r.committedOwn()) r.reads.addEarly(from, context);",
    "if (r.term === 0) r.reads.addEarly(from, context);",
  ),
  plant(
    "read-does-not-wait-for-apply",
    "a confirmed read is answered before its index is applied",
    "replica/read_rounds.ts",
    "if (first === undefined || first.index > index) return;",
    "if (first === undefined || index < 0) return;",
  ),
];

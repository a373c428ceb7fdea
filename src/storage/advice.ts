/**
 * What to do about a damaged directory depends on the cluster: a member among several is replaced from the others, the only
 * member is restored from a backup. How many voters there are is taken from what is still readable.
 */
import { ConfChangeType, type Entry } from "../raft/index";
import { DataDirError } from "./errors";

/** The members that a part of the log and its newest readable snapshot show. */
export interface KnownVoters {
  readonly voters: ReadonlySet<bigint>;
  /** The member that the directory belongs to. */
  readonly memberId: bigint;
}

/** Follows the membership changes of the entries that could be read. Changes that were refused in apply count too. */
export function votersAfter(start: Iterable<bigint>, entries: readonly Entry[]): Set<bigint> {
  const voters = new Set(start);
  for (const { confChange } of entries) {
    for (const { type, nodeId } of confChange?.changes ?? []) {
      if (type === ConfChangeType.AddVoter) voters.add(nodeId);
      else if (type !== ConfChangeType.Update) voters.delete(nodeId);
    }
  }
  return voters;
}

const ADVISED: ReadonlySet<string> = new Set(["damage", "gap", "hard-state-beyond-log"]);

const REPLACE =
  "Do not repair it by hand: remove this member from the cluster and add it again with an empty data directory.";
const ONE_OF_TWO =
  "Do not repair it by hand. As far as this log can be read, its cluster has two members, and the other one alone is no " +
  "quorum: stop it, and make a new cluster of its data with `muster rescue` and `muster snapshot restore`.";
const ALONE =
  "Do not repair it by hand. As far as this log can be read, this member is the only one of its cluster: restore its " +
  "newest backup with `muster snapshot restore`, or give `muster rescue` an intact copy of this directory.";
const UNKNOWN =
  "Do not repair it by hand. While a majority of the other members runs, remove this member and add it again with an " +
  "empty data directory; if it is the only member, restore a backup with `muster snapshot restore`.";

/** Adds to the message of an error what to do; errors that are no damage are returned as they are. */
export function withAdvice(error: unknown, known: KnownVoters | null): unknown {
  if (!(error instanceof DataDirError) || !ADVISED.has(error.reason)) return error;
  const { reason, file, offset, message, errno } = error;
  return new DataDirError(reason, file, offset, `${message} ${adviceFor(known)}`, errno);
}

function adviceFor(known: KnownVoters | null): string {
  if (known === null || known.voters.size === 0) return UNKNOWN;
  if (!known.voters.has(known.memberId)) return REPLACE;
  if (known.voters.size === 1) return ALONE;
  return known.voters.size === 2 ? ONE_OF_TWO : REPLACE;
}

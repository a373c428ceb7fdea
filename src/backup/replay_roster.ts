/**
 * The roster that a log of a stopped member leads to: its snapshot, then every entry after it, in order, as a running member
 * would apply them. What can't be applied here stops a member too.
 */
import { EMPTY_BYTES, EntryType } from "../raft/index";
import type { Entry } from "../raft/index";
import { formatId, Roster } from "../roster/index";
import type { OfflineLog } from "../storage/offline";

type Replayed =
  | { readonly kind: "whole"; readonly roster: Roster }
  /** @property index of the entry that can't be applied; null when the snapshot has no roster of this cluster */
  | { readonly kind: "broken"; readonly index: number | null; readonly text: string };

/** Applies all entries, also those that are not known to be committed. Never throws. */
export function replayRoster({ snapshot, entries, identity }: OfflineLog): Replayed {
  const { clusterId } = identity;
  let roster = new Roster({ clusterId });
  if (snapshot !== null) {
    const { index } = snapshot.meta;
    try {
      roster = Roster.restore(snapshot.data, { appliedIndex: index });
    } catch (error) {
      return { kind: "broken", index: null, text: textOf(error) };
    }
    if (roster.clusterId !== clusterId)
      return { kind: "broken", index: null, text: `its roster is of cluster ${formatId(roster.clusterId)}` };
  }
  const covered = roster.appliedIndex;
  for (const entry of entries) {
    if (entry.index <= covered) continue;
    try {
      roster.apply(ownCommand(entry));
    } catch (error) {
      return { kind: "broken", index: entry.index, text: textOf(error) };
    }
  }
  return { kind: "whole", roster };
}

/** Commands of other state machines begin with a zero byte, which no roster command does; the roster skips them. */
function ownCommand(entry: Entry): Entry {
  return entry.type === EntryType.Normal && entry.data[0] === 0 ? { ...entry, data: EMPTY_BYTES } : entry;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

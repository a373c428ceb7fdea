/**
 * What log entries and snapshots hold, in a few words: for `muster wal`. Never throws: what this version does not know is
 * said to be unknown.
 */
import { CommandKind, decodeCommand, formatId, Roster } from "../roster/index";
import { EntryType } from "../raft/index";
import type { Entry, Snapshot } from "../raft/index";

/** One entry as people look at it. */
export interface EntrySummary {
  readonly index: number;
  readonly term: number;
  /** The command's kind in words ("add member"); "empty" without one. */
  readonly kind: string;
  /** Empty for commands without one. */
  readonly requestId: string;
  /** Whether it changes the Raft configuration. */
  readonly confChange: boolean;
  readonly sizeBytes: number;
}

const KINDS: ReadonlyMap<number, string> = new Map([
  [CommandKind.ADD_MEMBER, "add member"],
  [CommandKind.UPDATE_MEMBER, "update member"],
  [CommandKind.REMOVE_MEMBER, "remove member"],
  [CommandKind.UPDATE_ADMIN_URLS, "update admin URLs"],
  [CommandKind.PUBLISH, "publish"],
  [CommandKind.PROMOTE_MEMBER, "promote member"],
  [CommandKind.REPLACE_MEMBER, "replace member"],
]);

export function summarise({ index, term, type, data, confChange }: Entry): EntrySummary {
  const bytes = confChange === null ? data : confChange.context;
  const common = { index, term, confChange: type !== EntryType.Normal, sizeBytes: bytes.length };
  if (bytes.length === 0) {
    return { ...common, kind: confChange === null ? "empty" : "leave joint configuration", requestId: "" };
  }
  try {
    const { kind, requestId } = decodeCommand(bytes);
    return { ...common, kind: KINDS.get(kind) ?? `unknown (${String(kind)})`, requestId };
  } catch {
    return { ...common, kind: "unknown", requestId: "" };
  }
}

/** Why a snapshot's roster can't be the one of this cluster, or null. */
export function checkRoster({ meta, data }: Snapshot, clusterId: bigint): string | null {
  try {
    const roster = Roster.restore(data, { appliedIndex: meta.index });
    return roster.clusterId === clusterId ? null : `its roster is of cluster ${formatId(roster.clusterId)}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

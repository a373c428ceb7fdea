/**
 * Short descriptions of log entries for `muster wal`. Never throws: a command that this version does not
 * know is reported as "unknown".
 */
import { CommandKind, decodeCommand } from "../roster/index";
import { EntryType } from "../raft/index";
import type { Entry } from "../raft/index";

/** One log entry in a form for people. */
interface EntrySummary {
  readonly index: number;
  readonly term: number;
  /** The command's kind in words ("add member"); "empty" for an entry without a command. */
  readonly kind: string;
  /** Empty for a command without a request id. */
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
  [CommandKind.REFUSE, "refuse"],
  [CommandKind.CHANGE_MEMBERS, "change members"],
  [CommandKind.UPDATE_SETTINGS, "update settings"],
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

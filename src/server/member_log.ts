/**
 * The log as a running member writes it: members by id and name, and no warning again and again.
 *
 * A warning with the same text, peer and reason is written once in REPEAT_MS, then with the number that was left out; a
 * line of another level about that peer begins a new state, after which the warning is news again.
 */
import type { Clock } from "../base/clock";
import type { Log, LogFields } from "../base/log";

/** Fields whose value is a member's id; the name is added as `<field>_name`. */
const MEMBER_FIELDS = ["peer", "leader", "from", "to"] as const;
/** How long the same warning is not repeated, in milliseconds: rare enough for a year of a member that is down. */
const REPEAT_MS = 10 * 60 * 1000;
/** Most warnings that are remembered. More differing ones than this can't be the same few again and again. */
const REMEMBERED_MAX = 256;

interface MemberLogOptions {
  readonly clock: Clock;
  /** The name of a member; null when the roster does not have it. */
  readonly nameOf: (id: bigint) => string | null;
}

interface Remembered {
  readonly peer: string;
  readonly atMs: number;
  leftOut: number;
}

export function memberLog(log: Log, { clock, nameOf }: MemberLogOptions): Log {
  const warned = new Map<string, Remembered>();
  const named = (fields: LogFields): LogFields => {
    const names: Record<string, string> = {};
    for (const field of MEMBER_FIELDS) {
      const id = fields[field];
      const name = typeof id === "bigint" ? nameOf(id) : null;
      if (name !== null) names[`${field}_name`] = name;
    }
    return { ...fields, ...names };
  };
  const newState = (fields: LogFields): void => {
    const peer = peerOf(fields);
    if (peer === "") return;
    for (const [key, entry] of warned) if (entry.peer === peer) warned.delete(key);
  };
  return {
    debug: (fields, text) => {
      log.debug(fields, text);
    },
    info: (fields, text) => {
      newState(fields);
      log.info(named(fields), text);
    },
    warn: (fields, text) => {
      const peer = peerOf(fields);
      const key = `${text}\n${peer}\n${String(fields["reason"] ?? "")}`;
      const known = warned.get(key);
      const now = clock.now();
      if (known !== undefined && now - known.atMs < REPEAT_MS) {
        known.leftOut++;
        log.debug(fields, text);
        return;
      }
      warned.delete(key);
      const [oldest] = warned.keys();
      if (oldest !== undefined && warned.size >= REMEMBERED_MAX) warned.delete(oldest);
      warned.set(key, { peer, atMs: now, leftOut: 0 });
      const leftOut = known?.leftOut ?? 0;
      log.warn(leftOut === 0 ? named(fields) : { ...named(fields), left_out: leftOut }, text);
    },
    error: (fields, text, error) => {
      newState(fields);
      log.error(named(fields), text, error);
    },
  };
}

function peerOf(fields: LogFields): string {
  const peer = fields["peer"] ?? fields["from"];
  return peer === undefined ? "" : String(peer);
}

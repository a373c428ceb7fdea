/** Which messages of other members reach the core, and in which form. */
import type { Log } from "../base/log";
import type { Message, NodeId, Snapshot } from "../raft/index";

/**
 * Largest accepted gap between a peer's term and this member's. With PreVote every term takes a real election, so no
 * correct peer is this far ahead; following one would use up the range of terms. A member without a term takes any.
 */
const TERM_LEAP_MAX = 2 ** 20;

export interface InboundOptions {
  readonly term: () => number;
  readonly hasSpace: () => boolean;
  readonly canInstall: (snapshot: Snapshot) => boolean;
  readonly log: Log;
}

/** The message as the core may take it; null: not at all. */
export function admitMessage(from: NodeId, message: Message, options: InboundOptions): Message | null {
  const term = options.term();
  if (term > 0 && message.term > term + TERM_LEAP_MAX) {
    const fields = { from, term: message.term, own: term };
    options.log.warn(fields, "refused a term far ahead of this member's");
    return null;
  }
  const taken = options.hasSpace() ? message : withoutEntries(message);
  return taken === null || (taken.snapshot !== null && !options.canInstall(taken.snapshot)) ? null : taken;
}

/**
 * What a member whose disk is full takes of a message: entries would wait for space, and every later vote behind them.
 * An append without its entries still tells the leader where this log ends, and this member what is committed of it;
 * the leader sends the entries again with its heartbeats. Null: nothing of it. docs/adr/0009-disk-full-waits.md
 */
function withoutEntries(message: Message): Message | null {
  if (message.snapshot !== null) return null;
  return message.entries.length === 0 ? message : { ...message, entries: [] };
}

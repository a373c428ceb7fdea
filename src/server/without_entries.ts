/** What a full disk leaves of a message. docs/adr/0009-disk-full-waits.md */
import type { Message } from "../raft/index";

/**
 * What a member whose disk is full takes of a message: entries would wait for space, and every later vote behind them.
 * An append without its entries still tells the leader where this log ends, and this member what is committed of it;
 * the leader sends the entries again with its heartbeats. Null: nothing of it.
 */
export function withoutEntries(message: Message): Message | null {
  if (message.snapshot !== null) return null;
  return message.entries.length === 0 ? message : { ...message, entries: [] };
}

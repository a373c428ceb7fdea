/** What a Ready and its messages ask of the replica, in the form in which transport and storage take it. */
import { LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD } from "../raft/index";
import type { Message } from "../raft/index";
import type { AppendBatch } from "../storage/storage";

/** Messages to other members, and those to this member's own storage and state machines; each in order. */
export function byReceiver(messages: readonly Message[]): { outgoing: Message[]; local: Message[] } {
  const outgoing: Message[] = [];
  const local: Message[] = [];
  for (const message of messages) {
    const isLocal = message.to === LOCAL_APPEND_THREAD || message.to === LOCAL_APPLY_THREAD;
    (isLocal ? local : outgoing).push(message);
  }
  return { outgoing, local };
}

/** What a StorageAppend message asks to be written. */
export function writeOf(message: Message, mustSync: boolean): AppendBatch {
  const { entries, snapshot, term, vote, commit } = message;
  // A term of 0 says that the hard state did not change.
  const hardState = term === 0 ? null : { term, vote, commit };
  return { hardState, entries, snapshot, mustSync: mustSync || snapshot !== null };
}

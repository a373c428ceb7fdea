/**
 * What the core wants done: the output of one turn.
 *
 * With asynchronous storage writes, `messages` holds StorageAppend and StorageApply messages to the local threads,
 * whose `responses` are delivered once the work is done; `advance` is not called. Without them the application writes
 * hard state, entries and snapshot, syncs where `mustSync`, sends, applies, and calls `advance`.
 */
import type { Message } from "./message";
import type { Entry, HardState, NodeId, Role, Snapshot } from "./types";

/** Volatile state, for observers. */
export interface SoftState {
  readonly leader: NodeId;
  readonly role: Role;
}

/** A confirmed ReadIndex: reads with this context may be answered once `index` is applied. */
export interface ReadState {
  readonly index: number;
  readonly context: bigint;
}

export interface Ready {
  /** Null when unchanged. */
  readonly softState: SoftState | null;
  /** Null when unchanged. */
  readonly hardState: HardState | null;
  readonly readStates: readonly ReadState[];
  /** To be written before messages that depend on them leave. */
  readonly entries: readonly Entry[];
  /** To be written, and to replace the state machine. */
  readonly snapshot: Snapshot | null;
  /** Committed and durable here: to be applied, in order. */
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  /** False when only the commit index changed. A snapshot must be synced in every case. */
  readonly mustSync: boolean;
}

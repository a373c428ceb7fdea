/**
 * The output of one turn: everything that the application has to write, send and apply now.
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

/** A confirmed read: it may be answered once `index` is applied. */
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
  /** To be written before the messages of this Ready are sent. */
  readonly entries: readonly Entry[];
  /** To be written; its state replaces the state machine's. */
  readonly snapshot: Snapshot | null;
  /**
   * Committed: to be applied, in order. Already durable with asynchronous storage writes; otherwise after `entries`
   * are.
   */
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  /** False when neither entries, term nor vote changed. A snapshot must be synced even then. */
  readonly mustSync: boolean;
}

/**
 * What the replica knows of a state machine: commands go in, in the order of the log; snapshots come out and in. The
 * roster is one, and owns the membership; others may stand beside it on the same log.
 *
 * Invariant: apply is deterministic. Two machines that applied the same entries are equal, byte by byte in capture().
 */
import type { ConfChange } from "../raft/index";
import type { RosterView } from "../roster/index";

/** Where in the log a command stands. */
export interface EntryPosition {
  readonly index: number;
  readonly term: number;
  /** The membership change that carries the command; null in a normal entry. */
  readonly confChange: ConfChange | null;
}

/** What became of a command. */
export interface Applied<Result = unknown> {
  /** The id of the command's proposal, which finds the waiting call. Null when no call can wait for it. */
  readonly proposalId: bigint | null;
  readonly result: Result;
}

export interface StateMachine<Result = unknown> {
  /**
   * Applies one committed command.
   *
   * @throws only when this build can't understand the command: the member stops, since going on without it would make
   *   its state another one than the cluster's
   */
  apply(command: Uint8Array, at: EntryPosition): Applied<Result>;
  /** The whole state after the last applied entry. */
  capture(): Uint8Array;
  /**
   * Decodes a state that capture() gave, and changes nothing yet. Null: the state before the first entry.
   *
   * @returns what puts the decoded state in place
   * @throws when the bytes are no state of this machine
   */
  restore(state: Uint8Array | null, index: number): () => void;
}

/** The machine that decides who is in the cluster. It sees every index, those of other machines' commands as empty. */
export interface MembershipMachine<Result = unknown> extends StateMachine<Result> {
  readonly roster: RosterView;
  /** Applies a command that may change the membership. `confChange` is what the core must do; null: nothing. */
  apply(command: Uint8Array, at: EntryPosition): Applied<Result> & { readonly confChange: ConfChange | null };
  /** The bytes of capture() as they are now, in pieces that are encoded when they are asked for, however much later. */
  freeze(): Iterator<Uint8Array, undefined>;
  /** An entry without a command for this machine. */
  skip(at: EntryPosition): void;
}

/** Number of a machine in the frames of its commands and in snapshots. 0 is the membership, 1 to 127 are free. */
export type MachineNumber = number;

export const MEMBERSHIP_MACHINE: MachineNumber = 0;
/** Largest number of a machine: it has to fit one byte of the frame. */
export const MACHINE_NUMBER_MAX = 127;

/** A second state machine: a number, and commands that add to it. */
import { frameCommand } from "../../../src/replica/frame";
import type { Applied, EntryPosition, StateMachine } from "../../../src/replica/state_machine";

/** Its number in frames and snapshots. */
export const COUNTER = 7;

export class Counter implements StateMachine<number> {
  total = 0;
  /** Indexes of the commands applied. */
  readonly indexes: number[] = [];

  apply(command: Uint8Array, at: EntryPosition): Applied<number> {
    const view = Buffer.from(command);
    if (view.length !== 12) throw new Error(`a counter's command has ${view.length} bytes`);
    this.total += view.readInt32LE(8);
    this.indexes.push(at.index);
    return { proposalId: view.readBigUInt64LE(0), result: this.total };
  }

  capture(): Uint8Array {
    const state = Buffer.alloc(4);
    state.writeInt32LE(this.total);
    return state;
  }

  restore(state: Uint8Array | null): () => void {
    if (state !== null && state.length !== 4) throw new Error("no state of a counter");
    const total = state === null ? 0 : Buffer.from(state).readInt32LE(0);
    return () => {
      this.total = total;
    };
  }
}

/** The command to add `amount`, without its frame. */
export function addition(proposalId: bigint, amount: number): Uint8Array {
  const command = Buffer.alloc(12);
  command.writeBigUInt64LE(proposalId, 0);
  command.writeInt32LE(amount, 8);
  return command;
}

/** The bytes of an entry that adds `amount`. */
export function additionEntry(proposalId: bigint, amount: number): Uint8Array {
  return frameCommand(COUNTER, addition(proposalId, amount));
}

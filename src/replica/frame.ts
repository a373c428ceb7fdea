/**
 * How commands and states of several machines share one log and one snapshot.
 *
 * The membership's commands and its state stand in entries and snapshots as they are. Those of other machines stand in
 * a frame, which begins with a zero byte: no protobuf message does (field number 0 does not exist), so the two can't be
 * confused. Logs and snapshots without other machines have no frames at all.
 */
import { MACHINE_NUMBER_MAX, MEMBERSHIP_MACHINE } from "./state_machine";
import type { MachineNumber } from "./state_machine";

const FRAME_MARK = 0;
/** A command's frame: the mark, then the machine's number in one byte. */
const COMMAND_HEAD_BYTES = 2;
/** Before each state of a snapshot: the machine's number in one byte and the state's length in four. */
const SECTION_HEAD_BYTES = 5;

/** An entry or a snapshot that no machine of this member can take: the entry stops the member, the snapshot is refused. */
export class UnknownMachineError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UnknownMachineError";
  }
}

/** @throws RangeError unless `machine` can be the number of a machine beside the membership */
export function assertMachineNumber(machine: MachineNumber): void {
  if (!Number.isInteger(machine) || machine <= MEMBERSHIP_MACHINE || machine > MACHINE_NUMBER_MAX)
    throw new RangeError(`machine number ${machine} is not between 1 and ${MACHINE_NUMBER_MAX}`);
}

/**
 * The bytes of an entry that carries `command` for `machine`.
 *
 * @throws RangeError for a number that no machine can have
 */
export function frameCommand(machine: MachineNumber, command: Uint8Array): Uint8Array {
  if (machine === MEMBERSHIP_MACHINE) return command;
  assertMachineNumber(machine);
  const framed = new Uint8Array(COMMAND_HEAD_BYTES + command.length);
  framed[0] = FRAME_MARK;
  framed[1] = machine;
  framed.set(command, COMMAND_HEAD_BYTES);
  return framed;
}

/**
 * The command of an entry, and the machine that it is for.
 *
 * @param data not empty
 * @throws UnknownMachineError when the frame is cut, or has the membership's number: its commands have no frame
 */
export function unframeCommand(data: Uint8Array): {
  readonly machine: MachineNumber;
  readonly command: Uint8Array;
} {
  if (data[0] !== FRAME_MARK) return { machine: MEMBERSHIP_MACHINE, command: data };
  const machine = data[1];
  if (machine === undefined) throw new UnknownMachineError("an entry ends inside its frame");
  if (machine === MEMBERSHIP_MACHINE) throw new UnknownMachineError("an entry of the membership has a frame");
  return { machine, command: data.subarray(COMMAND_HEAD_BYTES) };
}

/** The data of a snapshot of all machines, in the order of `states`: equal on members that put them in one order. */
export function frameStates(states: ReadonlyMap<MachineNumber, Uint8Array>): Uint8Array {
  const membership = states.get(MEMBERSHIP_MACHINE);
  if (states.size === 1 && membership !== undefined) return membership;
  let size = 1;
  for (const state of states.values()) size += SECTION_HEAD_BYTES + state.length;
  const framed = Buffer.alloc(size);
  let at = 1;
  for (const [machine, state] of states) {
    framed.writeUInt8(machine, at);
    framed.writeUInt32LE(state.length, at + 1);
    framed.set(state, at + SECTION_HEAD_BYTES);
    at += SECTION_HEAD_BYTES + state.length;
  }
  return framed;
}

/** The bytes of frameStates in pieces. Each state comes whole or in pieces; how long it is shows when the last is there. */
export function* framePieces(
  membership: Iterator<Uint8Array, undefined>,
  others: ReadonlyMap<MachineNumber, Uint8Array>,
): Generator<Uint8Array, undefined> {
  if (others.size === 0) {
    for (let next = membership.next(); next.done !== true; next = membership.next()) yield next.value;
    return;
  }
  // The length stands before the state: its pieces are kept until it is known. An empty one says that time passes.
  const pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  for (let next = membership.next(); next.done !== true; next = membership.next()) {
    pieces.push(next.value);
    sizeBytes += next.value.length;
    yield EMPTY;
  }
  yield Uint8Array.of(FRAME_MARK);
  yield sectionHead(MEMBERSHIP_MACHINE, sizeBytes);
  yield* pieces;
  for (const [machine, state] of others) {
    yield sectionHead(machine, state.length);
    yield state;
  }
}

const EMPTY = new Uint8Array(0);

function sectionHead(machine: MachineNumber, sizeBytes: number): Uint8Array {
  const head = Buffer.alloc(SECTION_HEAD_BYTES);
  head.writeUInt8(machine, 0);
  head.writeUInt32LE(sizeBytes, 1);
  return head;
}

/**
 * The states in the data of a snapshot.
 *
 * @throws UnknownMachineError when the sections do not fill the data exactly, or one comes twice
 */
export function unframeStates(data: Uint8Array): ReadonlyMap<MachineNumber, Uint8Array> {
  if (data[0] !== FRAME_MARK) return new Map([[MEMBERSHIP_MACHINE, data]]);
  const view = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const states = new Map<MachineNumber, Uint8Array>();
  let at = 1;
  while (at < view.length) {
    if (at + SECTION_HEAD_BYTES > view.length)
      throw new UnknownMachineError("a snapshot ends inside a section's head");
    const machine = view.readUInt8(at);
    const begin = at + SECTION_HEAD_BYTES;
    const end = begin + view.readUInt32LE(at + 1);
    if (end > view.length) throw new UnknownMachineError("a snapshot ends inside a section");
    if (states.has(machine)) throw new UnknownMachineError(`a snapshot has two states of machine ${machine}`);
    states.set(machine, view.subarray(begin, end));
    at = end;
  }
  return states;
}

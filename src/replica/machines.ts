/**
 * The state machines of one replica as one: an entry goes to the machine that it is for, a snapshot holds the state of
 * each.
 *
 * Invariants: the membership sees every index; a machine that a snapshot does not know begins empty; a snapshot with a
 * machine that this member does not have is refused as a whole, before anything changes.
 */
import { EntryType } from "../raft/index";
import type { ConfChange, Entry } from "../raft/index";
import type { RosterView } from "../roster/index";
import {
  assertMachineNumber,
  framePieces,
  frameStates,
  unframeCommand,
  unframeStates,
  UnknownMachineError,
} from "./frame";
import { MEMBERSHIP_MACHINE } from "./state_machine";
import type { EntryPosition, MachineNumber, MembershipMachine, StateMachine } from "./state_machine";

/** What became of an entry. */
interface AppliedEntry {
  /** Null when no call can wait for it. */
  readonly proposalId: bigint | null;
  readonly result: unknown;
  /** What the core must apply. */
  readonly confChange: ConfChange | null;
}

export class Machines {
  /** In order of their numbers, so that equal members take equal snapshots. */
  private readonly others: ReadonlyMap<MachineNumber, StateMachine>;

  /** @throws RangeError for a number that no machine beside the membership may have */
  constructor(
    private readonly membership: MembershipMachine,
    others: ReadonlyMap<MachineNumber, StateMachine>,
  ) {
    for (const machine of others.keys()) assertMachineNumber(machine);
    this.others = new Map([...others].sort(([a], [b]) => a - b));
  }

  get roster(): RosterView {
    return this.membership.roster;
  }

  /** @throws what the machine throws; UnknownMachineError when no machine here takes the entry: the member must stop */
  apply(entry: Entry): AppliedEntry {
    const { index, term, confChange } = entry;
    const at: EntryPosition = { index, term, confChange };
    if (entry.type !== EntryType.Normal && confChange === null)
      throw new UnknownMachineError(`the membership change at index ${index} is missing`);
    const data = confChange === null ? entry.data : confChange.context;
    const isEmpty = data.length === 0 && (confChange === null || confChange.changes.length === 0);
    if (isEmpty) {
      // A leader's first entry, a change that the leader's core refused, or the end of a joint configuration.
      this.membership.skip(at);
      return { proposalId: null, result: null, confChange };
    }
    if (confChange !== null) return this.membership.apply(data, at);
    const { machine, command } = unframeCommand(data);
    if (machine === MEMBERSHIP_MACHINE) return this.membership.apply(command, at);
    const other = this.others.get(machine);
    if (other === undefined)
      throw new UnknownMachineError(`entry ${index} is for state machine ${machine}, which is not here`);
    const { proposalId, result } = other.apply(command, at);
    this.membership.skip(at);
    return { proposalId, result, confChange: null };
  }

  /** The data of a snapshot. */
  capture(): Uint8Array {
    const states = new Map([[MEMBERSHIP_MACHINE, this.membership.capture()]]);
    for (const [machine, other] of this.others) states.set(machine, other.capture());
    return frameStates(states);
  }

  /** The bytes of capture() as they are now, in pieces that are encoded later. Other machines are captured whole, at once. */
  freeze(): Iterator<Uint8Array, undefined> {
    const others = new Map<MachineNumber, Uint8Array>();
    for (const [machine, other] of this.others) others.set(machine, other.capture());
    return framePieces(this.membership.freeze(), others);
  }

  /**
   * Decodes the data of a snapshot, and changes nothing yet.
   *
   * @returns what puts the decoded states in place
   * @throws when a state does not decode, or is of a machine that is not here
   */
  restore(data: Uint8Array, index: number): () => void {
    const states = unframeStates(data);
    for (const machine of states.keys()) {
      if (machine !== MEMBERSHIP_MACHINE && !this.others.has(machine))
        throw new UnknownMachineError(`the snapshot has a state of machine ${machine}, which is not here`);
    }
    const install = [this.membership.restore(states.get(MEMBERSHIP_MACHINE) ?? null, index)];
    for (const [machine, other] of this.others)
      install.push(other.restore(states.get(machine) ?? null, index));
    return () => {
      for (const put of install) put();
    };
  }
}

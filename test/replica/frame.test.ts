/** Frames: commands and states of several machines in one log and one snapshot, and bytes that are no frame. */
import fc from "fast-check";
import {
  UnknownMachineError,
  assertMachineNumber,
  frameCommand,
  frameStates,
  unframeCommand,
  unframeStates,
} from "../../src/replica/frame";
import { MACHINE_NUMBER_MAX, MEMBERSHIP_MACHINE } from "../../src/replica/state_machine";
import { encodeCommand } from "../../src/roster/index";
import { add, rosterOf } from "../roster/support/log";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const plain = (data: Uint8Array): number[] => [...data];
const machineNumber = fc.integer({ min: 1, max: MACHINE_NUMBER_MAX });
const content = fc.uint8Array({ maxLength: 40 });
/** What the membership puts into the log: any bytes but a zero first. */
const membershipBytes = fc.uint8Array({ minLength: 1, maxLength: 40 }).filter((data) => data[0] !== 0);

describe("commands", () => {
  test("a command of the membership has no frame: its entry is the command itself", () => {
    const command = encodeCommand(add(4));
    expect(frameCommand(MEMBERSHIP_MACHINE, command)).toBe(command);
    expect(unframeCommand(command)).toEqual({ machine: MEMBERSHIP_MACHINE, command });
  });

  test("another machine's command follows a zero byte and the machine's number", () => {
    expect(plain(frameCommand(9, bytes(0, 1, 2)))).toEqual([0, 9, 0, 1, 2]);
    expect(plain(frameCommand(127, bytes()))).toEqual([0, 127]);
  });

  test("every command comes back with its machine", () => {
    fc.assert(
      fc.property(machineNumber, content, (machine, command) => {
        const found = unframeCommand(frameCommand(machine, command));
        expect(found.machine).toBe(machine);
        expect(plain(found.command)).toEqual(plain(command));
      }),
    );
  });

  test("an entry that ends inside its frame is refused", () => {
    expect(() => unframeCommand(bytes(0))).toThrow(UnknownMachineError);
  });

  test.each([256, 263, 128, -1, 1.5])("no frame is made for machine number %s", (machine) => {
    expect(() => frameCommand(machine, bytes(1))).toThrow(RangeError);
  });
});

describe("machine numbers", () => {
  test.each([1, 2, 127])("%i may be used", (machine) => {
    expect(() => assertMachineNumber(machine)).not.toThrow();
  });

  test.each([0, -1, 128, 1.5, NaN])("%s may not", (machine) => {
    expect(() => assertMachineNumber(machine)).toThrow(RangeError);
  });
});

describe("states", () => {
  test("the state of the membership alone has no frame", () => {
    const state = rosterOf(3).snapshot();
    expect(frameStates(new Map([[MEMBERSHIP_MACHINE, state]]))).toBe(state);
    expect([...unframeStates(state)]).toEqual([[MEMBERSHIP_MACHINE, state]]);
  });

  test("several states follow a zero byte, each after its machine's number and its length", () => {
    const states = new Map([
      [MEMBERSHIP_MACHINE, bytes(8, 1)],
      [5, bytes(9)],
      [6, bytes()],
    ]);
    const expected = [0, ...[0, 2, 0, 0, 0, 8, 1], ...[5, 1, 0, 0, 0, 9], ...[6, 0, 0, 0, 0]];
    expect(plain(frameStates(states))).toEqual(expected);
  });

  test("every set of states comes back", () => {
    const others = fc.uniqueArray(fc.tuple(machineNumber, content), { selector: ([machine]) => machine });
    fc.assert(
      fc.property(membershipBytes, others, (membership, list) => {
        const states = new Map<number, Uint8Array>([[MEMBERSHIP_MACHINE, membership], ...list]);
        const found = unframeStates(frameStates(states));
        expect([...found].map(([machine, state]) => [machine, plain(state)])).toEqual(
          [...states].map(([machine, state]) => [machine, plain(state)]),
        );
      }),
    );
  });

  test("a framed snapshot that is cut anywhere, or has bytes too many, is refused or lacks a section", () => {
    const states = new Map([
      [MEMBERSHIP_MACHINE, bytes(8, 1, 2)],
      [5, bytes(9, 9)],
    ]);
    const whole = frameStates(states);
    const sectionEnds = [1, 9, whole.length];
    for (let length = 1; length < whole.length; length++) {
      const cut = whole.subarray(0, length);
      if (sectionEnds.includes(length)) expect(unframeStates(cut).size).toBeLessThan(states.size);
      else expect(() => unframeStates(cut)).toThrow(UnknownMachineError);
    }
    expect(() => unframeStates(Buffer.concat([whole, bytes(1)]))).toThrow("inside a section's head");
  });

  test("two states of one machine are refused", () => {
    const twice = bytes(0, ...[5, 1, 0, 0, 0, 9], ...[5, 1, 0, 0, 0, 9]);
    expect(() => unframeStates(twice)).toThrow("two states of machine 5");
  });
});

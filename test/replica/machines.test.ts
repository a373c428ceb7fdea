/** Several state machines on one log: an entry goes to one, a snapshot has all, and strangers are refused. */
import fc from "fast-check";
import { RosterMachine } from "../../src/cluster/roster_machine";
import { silentLog } from "../../src/base/log";
import { EntryType } from "../../src/raft/index";
import type { Entry } from "../../src/raft/index";
import { UnknownMachineError, frameCommand } from "../../src/replica/frame";
import { Machines } from "../../src/replica/machines";
import type { MachineNumber, StateMachine } from "../../src/replica/state_machine";
import { CLUSTER_ID, add, emptyEntry, entryFor, rosterOf } from "../roster/support/log";
import { COUNTER, Counter, addition, additionEntry } from "./support/counter";

interface Fixture {
  readonly roster: RosterMachine;
  readonly counter: Counter;
  readonly machines: Machines;
}

function fixture(others: (counter: Counter) => [MachineNumber, StateMachine][] = () => []): Fixture {
  const roster = new RosterMachine({ clusterId: CLUSTER_ID, log: silentLog });
  const counter = new Counter();
  return { roster, counter, machines: new Machines(roster, new Map(others(counter))) };
}

const alone = (): Fixture => fixture();
const withCounter = (): Fixture => fixture((counter) => [[COUNTER, counter]]);

function normal(index: number, data: Uint8Array): Entry {
  return { index, term: 1, type: EntryType.Normal, data, confChange: null };
}

/** Applies the additions of members 1 to `size`. */
function found({ machines, roster }: Fixture, size: number): void {
  for (let n = 1; n <= size; n++) machines.apply(entryFor(roster.roster, add(n)));
}

describe("entries", () => {
  test("an entry goes to the machine of its frame, and the membership counts its index", () => {
    const { machines, roster, counter } = withCounter();
    const result = machines.apply(normal(1, additionEntry(41n, 5)));
    expect(result).toEqual({ proposalId: 41n, result: 5, confChange: null });
    expect(counter.total).toBe(5);
    expect(roster.roster.appliedIndex).toBe(1);
    expect(roster.roster.revision).toBe(0);
  });

  test("an entry without a frame goes to the membership", () => {
    const one = withCounter();
    const entry = entryFor(one.roster.roster, add(1));
    const { proposalId, confChange } = one.machines.apply(entry);
    expect(proposalId).toBe(7n);
    expect(confChange).toBe(entry.confChange);
    expect(one.roster.roster.member(1n)?.name).toBe("n1");
    expect(one.counter.indexes).toEqual([]);
  });

  test("an empty entry is for nobody, and counts", () => {
    const { machines, roster } = withCounter();
    expect(machines.apply(emptyEntry(1))).toEqual({ proposalId: null, result: null, confChange: null });
    expect(roster.roster.appliedIndex).toBe(1);
  });

  test("leaving a joint configuration is a change of the core alone", () => {
    const { machines, roster } = withCounter();
    const confChange = { transition: 0, changes: [], context: new Uint8Array(0) };
    const entry = { ...emptyEntry(1), type: EntryType.ConfChangeV2, confChange };
    expect(machines.apply(entry)).toEqual({ proposalId: null, result: null, confChange });
    expect(roster.roster.appliedIndex).toBe(1);
  });

  test("a membership change without its change is refused", () => {
    const entry = { ...emptyEntry(1), type: EntryType.ConfChangeV2 };
    expect(() => withCounter().machines.apply(entry)).toThrow("membership change at index 1 is missing");
  });

  test("an entry for a machine that is not here is refused, and nothing is applied", () => {
    const { machines, roster } = alone();
    expect(() => machines.apply(normal(1, additionEntry(1n, 5)))).toThrow(UnknownMachineError);
    expect(roster.roster.appliedIndex).toBe(0);
  });

  test("the membership has no frame: one with its number is refused", () => {
    const { machines, roster } = withCounter();
    for (const data of [Uint8Array.of(0, 0), Uint8Array.of(0, 0, 8, 1)])
      expect(() => machines.apply(normal(1, data))).toThrow(UnknownMachineError);
    expect(roster.roster.appliedIndex).toBe(0);
  });

  test("what a machine throws comes through", () => {
    const broken = frameCommand(COUNTER, Uint8Array.of(1));
    expect(() => withCounter().machines.apply(normal(1, broken))).toThrow("command has 1 bytes");
  });
});

describe("snapshots", () => {
  test("with the roster alone a snapshot is the roster's own bytes", () => {
    const one = alone();
    found(one, 3);
    expect(Buffer.compare(one.machines.capture(), rosterOf(3).snapshot())).toBe(0);
  });

  test("a snapshot with two sections puts both states in place, once it is asked to", () => {
    const source = withCounter();
    found(source, 2);
    source.machines.apply(normal(3, additionEntry(1n, 40)));
    const data = source.machines.capture();
    const target = withCounter();
    const put = target.machines.restore(data, 3);
    expect([target.counter.total, target.roster.roster.appliedIndex]).toEqual([0, 0]);
    put();
    expect([target.counter.total, target.roster.roster.appliedIndex]).toEqual([40, 3]);
    expect(Buffer.compare(target.machines.capture(), data)).toBe(0);
  });

  test("a machine that the snapshot does not know begins empty", () => {
    const before = alone();
    found(before, 2);
    const target = withCounter();
    target.machines.apply(normal(1, additionEntry(1n, 40)));
    target.machines.restore(before.machines.capture(), 2)();
    expect(target.counter.total).toBe(0);
    expect(target.roster.roster.members()).toHaveLength(2);
  });

  test("a snapshot of a machine that is not here is refused before anything changes", () => {
    const source = withCounter();
    found(source, 2);
    const target = alone();
    expect(() => target.machines.restore(source.machines.capture(), 2)).toThrow(
      `state of machine ${COUNTER}, which is not here`,
    );
    expect(target.roster.roster.appliedIndex).toBe(0);
  });

  test("a state that does not decode is refused before anything changes", () => {
    const source = fixture(() => [[COUNTER, { ...stub, capture: () => Uint8Array.of(1, 2, 3) }]]);
    found(source, 2);
    const target = withCounter();
    expect(() => target.machines.restore(source.machines.capture(), 2)).toThrow("no state of a counter");
    expect(target.roster.roster.appliedIndex).toBe(0);
  });

  test("a snapshot without the membership is refused", () => {
    const sections = Uint8Array.of(0, COUNTER, 4, 0, 0, 0, 1, 0, 0, 0);
    expect(() => withCounter().machines.restore(sections, 1)).toThrow("the snapshot has no roster");
  });

  test("the order in which machines were registered does not show", () => {
    const other = new Counter();
    const ascending = fixture((counter) => [
      [3, other],
      [COUNTER, counter],
    ]);
    const descending = fixture((counter) => [
      [COUNTER, counter],
      [3, other],
    ]);
    for (const one of [ascending, descending]) {
      found(one, 1);
      one.machines.apply(normal(2, frameCommand(COUNTER, addition(1n, 9))));
    }
    expect(Buffer.compare(ascending.machines.capture(), descending.machines.capture())).toBe(0);
  });

  test("any mix of commands survives its snapshot", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("count" as const), amount: fc.integer({ min: -99, max: 99 }) }),
      fc.record({ kind: fc.constant("member" as const) }),
      fc.record({ kind: fc.constant("empty" as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.nat(29), (steps, cut) => {
        let one = withCounter();
        const whole = withCounter();
        let members = 0;
        steps.forEach((each, i) => {
          const index = i + 1;
          const entry =
            each.kind === "count"
              ? normal(index, additionEntry(1n, each.amount))
              : each.kind === "member"
                ? entryFor(whole.roster.roster, add(++members))
                : emptyEntry(index);
          whole.machines.apply(entry);
          one.machines.apply(entry);
          if (i !== cut) return;
          const again = withCounter();
          again.machines.restore(one.machines.capture(), index)();
          one = again;
        });
        expect(Buffer.compare(one.machines.capture(), whole.machines.capture())).toBe(0);
        expect(one.counter.total).toBe(whole.counter.total);
      }),
    );
  });
});

const stub: StateMachine = {
  apply: () => ({ proposalId: null, result: null }),
  capture: () => new Uint8Array(0),
  restore: () => () => undefined,
};

test.each([0, 128])("a machine can't be registered under number %i", (machine) => {
  expect(() => fixture(() => [[machine, stub]])).toThrow(RangeError);
});

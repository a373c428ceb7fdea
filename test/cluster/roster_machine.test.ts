/** The roster as a state machine: what it says of each command, and which states it takes. */
import { RosterMachine } from "../../src/cluster/roster_machine";
import { encodeCommand } from "../../src/roster/index";
import {
  CLUSTER_ID,
  add,
  adminUrls,
  emptyEntry,
  entryFor,
  move,
  remove,
  rosterOf,
} from "../roster/support/log";
import type { RosterCommand } from "../../src/roster/index";
import { ListLog } from "../replica/support/list_log";

let log: ListLog;
let machine: RosterMachine;
beforeEach(() => {
  log = new ListLog();
  machine = new RosterMachine({ clusterId: CLUSTER_ID, log });
});

function apply(command: RosterCommand) {
  const { index, term, data, confChange } = entryFor(machine.roster, command);
  return machine.apply(confChange === null ? data : confChange.context, { index, term, confChange });
}

test("an accepted change gives the core its change, a refused one none", () => {
  expect(apply(add(1)).confChange?.changes).toEqual([{ type: 0, nodeId: 1n }]);
  const refused = apply(remove({ id: 1n }));
  expect([refused.confChange, refused.proposalId]).toEqual([null, 7n]);
  expect(refused.result).toMatchObject({ accepted: false, refusal: { reason: "LAST_VOTER" } });
});

test.each<[string, () => RosterCommand, string]>([
  ["a change", () => add(3), "info membership changed"],
  [
    "admin URLs, which may change often",
    () => adminUrls({ id: 1n }, ["http://h:1"]),
    "debug membership changed",
  ],
  ["a refusal", () => remove({ id: 9n }), "info refused in apply"],
  [
    "a change that changes nothing",
    () => move({ id: 1n }, "http://10.0.0.1:7461"),
    "debug applied without change",
  ],
])("%s is a line", (_what, command, expected) => {
  for (const n of [1, 2]) apply(add(n));
  log.lines.length = 0;
  apply(command());
  expect(log.lines.map(({ level, text }) => `${level} ${text}`)).toEqual([expected]);
});

test("a skipped entry counts and changes nothing", () => {
  machine.skip(emptyEntry(1));
  expect([machine.roster.appliedIndex, machine.roster.revision]).toEqual([1, 0]);
});

test("a command that this build does not know is thrown", () => {
  const unknown = encodeCommand({ ...add(1), version: 99 });
  expect(() => machine.apply(unknown, { index: 1, term: 1, confChange: null })).toThrow("is not known here");
});

describe("a state", () => {
  test("replaces the roster by another object, once it is asked to", () => {
    const before = machine.roster;
    const put = machine.restore(rosterOf(3).snapshot(), 3);
    expect(machine.roster).toBe(before);
    put();
    expect(machine.roster).not.toBe(before);
    expect([machine.roster.members().length, machine.roster.appliedIndex]).toEqual([3, 3]);
  });

  test("of another cluster is refused", () => {
    const other = new RosterMachine({ clusterId: 99n, log });
    expect(() => other.restore(rosterOf(3).snapshot(), 3)).toThrow("the snapshot is of cluster c1, not 63");
  });

  test("that is missing is refused", () => {
    expect(() => machine.restore(null, 3)).toThrow("the snapshot has no roster");
  });
});

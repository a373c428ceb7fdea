/** Entries of peers that no member can apply are refused where they arrive; those of a newer build are not. */
import { RosterCommand } from "../../src/generated/muster/storage/v1/command";
import { ConfChangeTransition, ConfChangeType, EMPTY_BYTES, EntryType } from "../../src/raft/index";
import type { Entry } from "../../src/raft/index";
import { EntryCheck } from "../../src/replica/entry_check";
import { frameCommand } from "../../src/replica/frame";
import { addMemberCommand, encodeCommand } from "../../src/roster/index";
import { ListLog } from "./support/list_log";

const command = addMemberCommand(
  { proposalId: 1n, timeMs: 5 },
  { id: 7n, name: "n7", peerUrl: "http://127.0.0.1:7461", adminUrls: [] },
);
const good = encodeCommand(command);

const normal = (data: Uint8Array): Entry => ({
  term: 2,
  index: 9,
  type: EntryType.Normal,
  data,
  confChange: null,
});

function change(context: Uint8Array, steps = 1): Entry {
  const changes = Array.from({ length: steps }, () => ({ type: ConfChangeType.AddVoter, nodeId: 7n }));
  const confChange = { transition: ConfChangeTransition.Auto, changes, context };
  return { term: 2, index: 9, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
}

const TAKEN: readonly [string, Entry][] = [
  ["an empty entry", normal(EMPTY_BYTES)],
  ["a command", normal(good)],
  ["a command in a membership change", change(good)],
  ["the end of a joint configuration", change(EMPTY_BYTES, 0)],
  ["a command of another state machine", normal(frameCommand(3, Buffer.from([255, 255])))],
  ["a newer kind", normal(RosterCommand.encode({ ...command, kind: 900 as never }).finish())],
  ["a newer version", change(RosterCommand.encode({ ...command, version: 99 }).finish())],
];

const REFUSED: readonly [string, Entry, RegExp][] = [
  ["bytes that do not decode", normal(Buffer.from([0x0a, 0xff, 0xff])), /does not decode/],
  ["a membership change whose command does not decode", change(Buffer.from([0x0a, 0xff])), /does not decode/],
  ["a membership change without a command", change(EMPTY_BYTES), /kind 0 version 0/],
  ["no kind", normal(RosterCommand.encode({ ...command, kind: 0 }).finish()), /kind 0/],
  ["no version", normal(RosterCommand.encode({ ...command, version: 0 }).finish()), /version 0/],
  [
    "a kind with another body",
    normal(RosterCommand.encode({ ...command, kind: 2 }).finish()),
    /has the body addMember/,
  ],
  ["a frame that is cut", normal(Buffer.from([0])), /ends inside its frame/],
];

test.each(TAKEN)("%s is taken", (_what, entry) => {
  const log = new ListLog();
  expect(new EntryCheck(log).takes(2n, [entry])).toBe(true);
  expect(log.lines).toEqual([]);
});

test.each(REFUSED)("%s is refused, with index and reason", (_what, entry, problem) => {
  const log = new ListLog();
  const check = new EntryCheck(log);
  expect(check.takes(2n, [normal(good), entry])).toBe(false);
  expect(check.refused).toBe(1);
  expect(log.lines).toHaveLength(1);
  expect(JSON.stringify(log.lines[0], (_k, v: unknown) => (typeof v === "bigint" ? String(v) : v))).toMatch(
    problem,
  );
});

test("a leader that repeats it is refused every time, and logged less and less often", () => {
  const log = new ListLog();
  const check = new EntryCheck(log);
  for (let i = 0; i < 100; i++) expect(check.takes(2n, [normal(Buffer.from([1]))])).toBe(false);
  expect(check.refused).toBe(100);
  expect(log.lines).toHaveLength(7);
});

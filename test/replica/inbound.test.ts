/** Which messages of other members reach the core: terms far ahead, a full disk, snapshots of strangers. */
import { MessageType, newMessage } from "../../src/raft/index";
import type { Message, MessageDraft } from "../../src/raft/index";
import { admitMessage } from "../../src/replica/inbound";
import { entries, snapshotAt } from "../raft/support/build";
import { ListLog } from "./support/list_log";

const LEAP_MAX = 2 ** 20;

function message(type: MessageType, part: Partial<MessageDraft> = {}): Message {
  return { ...newMessage(type, 1n, 2n, 5), ...part };
}

interface Member {
  readonly term?: number;
  readonly hasSpace?: boolean;
  readonly canInstall?: boolean;
}

function admit(
  given: Message,
  { term = 5, hasSpace = true, canInstall = true }: Member = {},
  log = new ListLog(),
) {
  return admitMessage(2n, given, {
    term: () => term,
    hasSpace: () => hasSpace,
    canInstall: () => canInstall,
    log,
  });
}

const append = message(MessageType.Append, { index: 3, logTerm: 4, commit: 4, entries: entries(4, 5, 5) });
const snapshot = message(MessageType.Snapshot, { snapshot: snapshotAt(9, 5) });

test("an ordinary message is taken as it is", () => {
  expect(admit(append)).toBe(append);
  expect(admit(snapshot)).toBe(snapshot);
});

describe("terms", () => {
  test.each([
    ["the farthest accepted", 5, 5 + LEAP_MAX, true],
    ["one farther", 5, 6 + LEAP_MAX, false],
    ["an older one", 5, 1, true],
    ["any, for a member without a term", 0, 6 + LEAP_MAX, true],
  ])("%s", (_what, own, theirs, taken) => {
    const log = new ListLog();
    const given = message(MessageType.Heartbeat, { term: theirs });
    expect(admit(given, { term: own }, log)).toBe(taken ? given : null);
    expect(log.texts).toEqual(taken ? [] : ["warn refused a term far ahead of this member's"]);
    if (!taken) expect(log.lines[0]?.fields).toEqual({ from: 2n, term: theirs, own });
  });
});

describe("a full disk", () => {
  const full = { hasSpace: false };

  test("an append comes without its entries, all else is kept", () => {
    expect(admit(append, full)).toEqual({ ...append, entries: [] });
    expect(append.entries).toHaveLength(2);
  });

  test.each([MessageType.Heartbeat, MessageType.Vote, MessageType.AppendResponse, MessageType.TimeoutNow])(
    "message type %i without entries is taken as it is",
    (type) => {
      const given = message(type);
      expect(admit(given, full)).toBe(given);
    },
  );

  test("a snapshot is not taken, nor decoded", () => {
    const canInstall = jest.fn(() => true);
    const options = { term: () => 5, hasSpace: () => false, canInstall, log: new ListLog() };
    expect(admitMessage(2n, snapshot, options)).toBeNull();
    expect(canInstall).not.toHaveBeenCalled();
  });
});

test("a snapshot that can't be installed does not reach the core", () => {
  expect(admit(snapshot, { canInstall: false })).toBeNull();
  expect(admit(append, { canInstall: false })).toBe(append);
});

/** A member's log: names beside ids, and a warning that repeats is written once. */
import { memberLog } from "../../src/server/member_log";
import type { Log } from "../../src/base/log";
import { ManualClock } from "../base/support/manual_clock";
import { ListLog } from "../replica/support/list_log";

let list: ListLog;
let clock: ManualClock;
let log: Log;

beforeEach(() => {
  list = new ListLog();
  clock = new ManualClock();
  log = memberLog(list, { clock, nameOf: (id) => (id === 2n ? "n2" : null) });
});

const texts = (): string[] => list.lines.filter(({ level }) => level !== "debug").map(({ text }) => text);

test("peers have their name beside their id, where the roster knows them", () => {
  log.info({ peer: 2n, leader: 3n }, "a line");
  expect(list.lines[0]?.fields).toEqual({ peer: 2n, peer_name: "n2", leader: 3n });
});

test("a warning a second for an hour is seven lines, and the later ones count what was left out", () => {
  for (let second = 0; second <= 3600; second++) {
    log.warn({ peer: 2n, reason: "", problem: `refused ${String(second)}` }, "stream to peer ended");
    clock.advance(1000);
  }
  expect(texts()).toHaveLength(7);
  expect(list.lines.filter(({ level }) => level === "warn")[1]?.fields).toMatchObject({ left_out: 599 });
});

test("another peer, another reason and another text are warnings of their own", () => {
  log.warn({ peer: 2n, reason: "" }, "ended");
  log.warn({ peer: 3n, reason: "" }, "ended");
  log.warn({ peer: 2n, reason: "MEMBER_WIPED" }, "ended");
  log.warn({ peer: 2n, reason: "" }, "too large");
  expect(texts()).toHaveLength(4);
});

test("after a change of state the warning is news again", () => {
  log.warn({ peer: 2n }, "ended");
  log.info({ peer: 2n }, "open");
  log.warn({ peer: 2n }, "ended");
  expect(texts()).toEqual(["ended", "open", "ended"]);
});

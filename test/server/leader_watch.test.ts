/** What a member without a leader says, and how often. */
import { LeaderWatch } from "../../src/server/leader_watch";
import { ManualClock } from "../base/support/manual_clock";
import { FakeView } from "../cluster/support/fake_view";
import { ListLog } from "../replica/support/list_log";

const TICK_MS = 100;

let view: FakeView;
let clock: ManualClock;
let log: ListLog;
let watch: LeaderWatch;

beforeEach(() => {
  view = new FakeView();
  clock = new ManualClock();
  log = new ListLog();
  watch = new LeaderWatch(view, clock, log);
});

function pass(ms: number): void {
  for (let at = 0; at < ms; at += TICK_MS) {
    clock.advance(TICK_MS);
    view.tick();
    watch.onTick();
  }
}

test("nothing is said of an election that is over in time", () => {
  pass(900);
  view.ledBy(2n);
  pass(5000);
  expect(log.lines).toEqual([]);
});

test("a warning after an election timeout, with whom it hears", () => {
  clock.advance(TICK_MS);
  view.contacts.receivedFrom(2n, clock.now());
  pass(1000);
  expect(log.lines).toHaveLength(1);
  expect(log.lines[0]).toMatchObject({ level: "warn", text: "no leader for an election timeout" });
  expect(log.lines[0]?.fields).toMatchObject({ heard: "n2 (1000 ms ago)", not_heard: "n3" });
});

test("again after 30 s, 2 min, and then every ten minutes; and once when there is a leader", () => {
  pass(3600_000);
  const at = log.lines.map(({ fields }) => Math.round(Number(fields["for_ms"]) / 1000));
  expect(at).toEqual([1, 30, 120, 720, 1320, 1920, 2520, 3120]);
  view.ledBy(2n);
  pass(1000);
  expect(log.lines.at(-1)).toMatchObject({ level: "info", text: "there is a leader again" });
  expect(log.lines).toHaveLength(9);
});

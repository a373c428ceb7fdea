/** Where the leader is, and waits that leave nothing behind. */
import { Routing } from "../../src/cluster/routing";
import { ManualClock } from "../base/support/manual_clock";
import { FakeView } from "./support/fake_view";
import { callOf } from "./support/test_calls";
import { Tracked, promisesSettle } from "./support/tracked";

let view: FakeView;
let clock: ManualClock;
let routing: Routing;
beforeEach(() => {
  view = new FakeView();
  clock = new ManualClock();
  routing = new Routing(view, clock);
});

test.each([
  ["none is known", 0n, null],
  ["this member leads", 1n, null],
  ["another member leads", 2n, "http://10.0.0.2:7461"],
  ["the leader is not in this member's roster", 9n, null],
])("the leader's peer URL when %s", (_what, leader, url) => {
  view.leader = leader;
  expect(routing.leaderUrl()).toBe(url);
});

describe("NOT_LEADER", () => {
  test.each([
    ["none is known", 0n],
    ["this member began to lead meanwhile", 1n],
  ])("has no metadata when %s", (_what, leader) => {
    view.leader = leader;
    const { refusal } = routing.notLeader();
    expect([refusal.reason, refusal.metadata]).toEqual(["NOT_LEADER", {}]);
  });

  test("says who leads, and where to reach it", () => {
    view.leader = 2n;
    expect(routing.notLeader().refusal).toEqual({
      reason: "NOT_LEADER",
      message: "this member does not lead; n2 (2) does: ask it",
      metadata: {
        leader_id: "2",
        leader_admin_url: "http://10.0.0.2:7460",
        leader_peer_url: "http://10.0.0.2:7461",
      },
    });
  });

  test("has the id alone of a leader that is not in this member's roster", () => {
    view.leader = 9n;
    expect(routing.notLeader().refusal.metadata).toEqual({
      leader_id: "9",
      leader_admin_url: "",
      leader_peer_url: "",
    });
  });
});

describe("a wait", () => {
  beforeEach(() => (view.leader = 2n));

  function wait(timeoutMs = 300) {
    const call = callOf(clock, { timeoutMs });
    return { call, tracked: new Tracked(routing.changeOrTick(call)) };
  }

  test("goes on while nothing happens", async () => {
    const { tracked } = wait();
    clock.advance(299);
    await promisesSettle();
    expect([tracked.state, view.listenerCount, clock.timerCount]).toEqual(["open", 1, 1]);
  });

  test("is not ended by a tick while no leader is known: another attempt would find none", async () => {
    view.leader = 0n;
    const { tracked } = wait();
    view.tick();
    await promisesSettle();
    expect(tracked.state).toBe("open");
    view.ledBy(2n);
    await promisesSettle();
    expect(tracked.state).toBe("done");
  });

  test.each<[string, (call: ReturnType<typeof callOf>) => void]>([
    ["a change of the leadership", () => view.ledBy(2n)],
    ["a tick", () => view.tick()],
    ["the deadline", () => clock.advance(310)],
    ["the caller's going away", (call) => call.cancel()],
    ["the stop of the member", () => routing.stop()],
  ])("ends by %s, and leaves no timer behind", async (_what, end) => {
    const { call, tracked } = wait();
    end(call);
    await promisesSettle();
    expect([tracked.state, view.listenerCount, clock.timerCount]).toEqual(["done", 1, 0]);
    view.tick();
    call.cancel();
    routing.stop();
  });

  test("ends at once for a caller that has gone", async () => {
    const call = callOf(clock);
    call.cancel();
    const tracked = new Tracked(routing.changeOrTick(call));
    await promisesSettle();
    expect([tracked.state, view.listenerCount, clock.timerCount]).toEqual(["done", 1, 0]);
  });

  test("ends at once on a member that has stopped", async () => {
    routing.stop();
    const { tracked } = wait();
    await promisesSettle();
    expect([tracked.state, view.listenerCount, clock.timerCount]).toEqual(["done", 1, 0]);
  });

  test("many end together", async () => {
    const waits = [wait(), wait(), wait()];
    view.tick();
    await promisesSettle();
    expect(waits.map(({ tracked }) => tracked.state)).toEqual(["done", "done", "done"]);
    expect([view.listenerCount, clock.timerCount]).toEqual([1, 0]);
  });

  test("thousands with like deadlines share the member's listener and few timers", async () => {
    const waits = Array.from({ length: 5000 }, (_, i) => wait(300 + (i % 50)));
    expect([view.listenerCount, clock.timerCount]).toEqual([1, 6]);
    clock.advance(310);
    await promisesSettle();
    const ended = waits.filter(({ tracked }) => tracked.state === "done").length;
    expect(ended).toBe(1100);
    for (const { call } of waits) call.cancel();
    await promisesSettle();
    expect(waits.filter(({ tracked }) => tracked.state === "open")).toEqual([]);
    expect(clock.timerCount).toBe(0);
  });
});

/** One write from its arrival to its answer: what each outcome of an attempt, here or at the leader, leads to. */
import { RETRY, UNKNOWN, done, refusedBy, retryBecause } from "../../src/base/outcome";
import type { Outcome } from "../../src/base/outcome";
import type { Accepted } from "../../src/cluster/leader/submission";
import { Routing } from "../../src/cluster/routing";
import { WaitingRoom } from "../../src/cluster/waiting_room";
import { Writes } from "../../src/cluster/writes";
import { refused } from "../../src/roster/index";
import type { Feature, Reason } from "../../src/roster/index";
import { RpcError, refusalError } from "../../src/rpc/rpc_error";
import { ManualClock } from "../base/support/manual_clock";
import { adminUrls, apply, publish, request } from "../roster/support/log";
import { FakeView } from "./support/fake_view";
import { MemoryPeers } from "./support/memory_peers";
import { callOf, why, writeOf } from "./support/test_calls";
import type { TestCallOptions } from "./support/test_calls";
import { Tracked, promisesSettle } from "./support/tracked";

const COMMAND = adminUrls({ id: 2n }, ["http://h:1"], request("r1"));
const ACCEPTED: Accepted = { accepted: true, repeated: false, changed: true, member: null, revision: 42 };

/** An attempt under way, which the test ends. */
interface Attempt<T> {
  end(outcome: Outcome<T>): void;
}

/** Writes of member 1 among fakes: attempts end when the test says so. */
class Fixture {
  readonly view = new FakeView();
  readonly clock = new ManualClock();
  readonly peers = new MemoryPeers(() => null);
  readonly routing = new Routing(this.view, this.clock);
  readonly here: (Attempt<Accepted> & { readonly proposalId: bigint; cancelled: boolean })[] = [];
  readonly there: Attempt<Uint8Array>[] = [];
  readonly room = new WaitingRoom("writes", 3);
  readonly writes: Writes;

  constructor() {
    this.peers.answer = () => new Promise((resolve) => this.there.push({ end: resolve }));
    this.writes = new Writes({
      replica: this.view,
      routing: this.routing,
      peers: this.peers,
      connectMs: 77,
      room: this.room,
      submissions: {
        submit: ({ command: { proposalId } }) => {
          const attempt = { proposalId, cancelled: false, end: (_outcome: Outcome<Accepted>) => {} };
          this.here.push(attempt);
          const outcome = new Promise<Outcome<Accepted>>((resolve) => (attempt.end = resolve));
          return { outcome, cancel: () => (attempt.cancelled = true) };
        },
      },
    });
  }

  write(options: TestCallOptions & { readonly validateOnly?: boolean; readonly feature?: Feature } = {}) {
    const call = callOf(this.clock, options);
    const { feature } = options;
    const request = {
      ...writeOf(COMMAND, options.validateOnly),
      ...(feature === undefined ? {} : { feature }),
    };
    return { call, tracked: new Tracked(this.writes.execute(request, call)) };
  }

  /** The newest attempt ends. */
  async end(outcome: Outcome<Accepted> | Outcome<Uint8Array>): Promise<void> {
    const attempt = this.view.isLeader ? this.here.at(-1) : this.there.at(-1);
    if (attempt === undefined) throw new Error("no attempt is under way");
    (attempt as Attempt<unknown>).end(outcome);
    await promisesSettle();
  }

  async tick(): Promise<void> {
    this.view.tick();
    await promisesSettle();
  }

  /** The member's calls end, in the order of cluster/stop.ts. */
  async stop(): Promise<void> {
    this.writes.stop();
    this.routing.stop();
    await promisesSettle();
  }
}

let one: Fixture;
beforeEach(() => {
  one = new Fixture();
});

const refusal = (reason: Reason): Outcome<never> => refusedBy(refused(reason, reason));
const fromPeer = (reason: Reason): Outcome<never> =>
  refusedBy(refusalError({ reason, message: reason, metadata: {} }));
const answerOf = (tracked: Tracked<unknown>): string =>
  tracked.state === "failed" ? why(tracked.error) : tracked.state;

/** What a call shows after its attempt ended, and after the deadline; how many attempts were made by then. */
async function follow(tracked: Tracked<unknown>, attempts: () => number): Promise<string> {
  const first = answerOf(tracked);
  if (first !== "open") return first;
  await one.tick();
  const again = attempts() > 1 ? "again" : "waits";
  await one.end(RETRY);
  one.clock.advance(10_000);
  await promisesSettle();
  return `${again}, then ${answerOf(tracked)}`;
}

describe("on the member that leads", () => {
  test.each<[string, Outcome<Accepted>, string]>([
    ["done", done(ACCEPTED), "done"],
    ["refused by the roster", refusal("MEMBER_NAME_EXISTS"), "MEMBER_NAME_EXISTS"],
    ["refused by the check", refusal("UNHEALTHY_CLUSTER"), "UNHEALTHY_CLUSTER"],
    ["retry without a reason", RETRY, "again, then NOT_PROPOSED"],
    ["retry: too many", retryBecause(refused("TOO_MANY_REQUESTS", "")), "TOO_MANY_REQUESTS"],
    ["retry: the disk is full", retryBecause(refused("DISK_FULL", "")), "DISK_FULL"],
    ["retry: the deadline", retryBecause(refused("NOT_PROPOSED", "")), "NOT_PROPOSED"],
    ["retry: stopping", retryBecause(refused("SERVER_STOPPING", "")), "again, then NOT_PROPOSED"],
    ["unknown", UNKNOWN, "again, then OUTCOME_UNKNOWN"],
  ])("%s", async (_what, outcome, expected) => {
    one.view.leader = 1n;
    const { tracked } = one.write();
    await one.end(outcome);
    expect(await follow(tracked, () => one.here.length)).toBe(expected);
  });

  test("the answer is made of the decision", async () => {
    one.view.leader = 1n;
    const { tracked } = one.write();
    await one.end(done(ACCEPTED));
    expect(tracked.value).toBe(42);
  });

  test("each attempt has a proposal of its own", async () => {
    one.view.leader = 1n;
    one.write();
    await one.end(RETRY);
    await one.tick();
    expect(new Set(one.here.map(({ proposalId }) => proposalId)).size).toBe(2);
  });
});

describe("at another member", () => {
  test.each<[string, Outcome<Uint8Array>, string]>([
    ["done", done(Uint8Array.of(1)), "done"],
    ["not reached", RETRY, "again, then NOT_PROPOSED"],
    ["sent, and no answer", UNKNOWN, "again, then OUTCOME_UNKNOWN"],
    ["its own outcome is unknown", fromPeer("OUTCOME_UNKNOWN"), "again, then OUTCOME_UNKNOWN"],
    ["it does not lead", fromPeer("NOT_LEADER"), "again, then NOT_PROPOSED"],
    ["it knows no leader", fromPeer("NO_LEADER"), "again, then NOT_PROPOSED"],
    ["it stops", fromPeer("SERVER_STOPPING"), "again, then NOT_PROPOSED"],
    ["it has too many", fromPeer("TOO_MANY_REQUESTS"), "TOO_MANY_REQUESTS"],
    ["its disk is full", fromPeer("DISK_FULL"), "DISK_FULL"],
    ["its deadline passed", fromPeer("NOT_PROPOSED"), "NOT_PROPOSED"],
    ["its roster refuses", fromPeer("PEER_URL_EXISTS"), "PEER_URL_EXISTS"],
    ["an error without a reason", refusedBy(new RpcError(13, "broken", null)), "RpcError"],
    ["an error of another kind", refusedBy(new TypeError("odd")), "TypeError"],
  ])("%s", async (_what, outcome, expected) => {
    one.view.leader = 2n;
    const { tracked } = one.write();
    await one.end(outcome);
    expect(await follow(tracked, () => one.there.length)).toBe(expected);
  });

  test("its answer and its error come as they are", async () => {
    one.view.leader = 2n;
    const answered = one.write();
    await one.end(done(Uint8Array.of(8, 9)));
    expect(answered.tracked.value).toEqual(Buffer.from([8, 9]));
    const failed = one.write();
    const error = refusalError({ reason: "LAST_VOTER", message: "last", metadata: { a: "b" } });
    await one.end(refusedBy(error));
    expect(failed.tracked.error).toBe(error);
  });

  test("every attempt sends the same request, to the member that leads then", async () => {
    one.view.leader = 2n;
    one.write();
    await one.end(UNKNOWN);
    one.view.ledBy(3n);
    await promisesSettle();
    await one.end(RETRY);
    await one.tick();
    const { calls } = one.peers;
    expect(calls.map(({ url }) => url)).toEqual(["2", "3", "3"].map((n) => `http://10.0.0.${n}:7461`));
    expect(
      new Set(calls.map(({ request: { path, body } }) => `${path} ${Buffer.from(body).toString("hex")}`))
        .size,
    ).toBe(1);
    expect(calls.every(({ connectMs }) => connectMs === 77)).toBe(true);
  });

  test("is not asked when the caller forbids it; an attempt made while this member led stays unknown", async () => {
    one.view.leader = one.view.id;
    const { tracked } = one.write({ mayForward: false });
    const attempt = one.here.at(-1);
    one.view.leader = 2n;
    attempt?.end(UNKNOWN);
    await promisesSettle();
    await one.tick();
    expect(answerOf(tracked)).toBe("OUTCOME_UNKNOWN");
    expect(one.there).toEqual([]);
  });

  test("is not asked when the caller forbids it: NOT_LEADER with the leader's address", async () => {
    one.view.leader = 2n;
    const { tracked } = one.write({ mayForward: false });
    await promisesSettle();
    expect(one.peers.calls).toEqual([]);
    expect(tracked.error).toMatchObject({
      refusal: {
        reason: "NOT_LEADER",
        metadata: { leader_id: "2", leader_peer_url: "http://10.0.0.2:7461" },
      },
    });
  });
});

describe("after an attempt whose outcome is unknown", () => {
  /** A call with one such attempt, and a second one under way. */
  async function unknownOnce(options: Parameters<Fixture["write"]>[0] = {}) {
    one.view.leader = 2n;
    const { call, tracked } = one.write(options);
    await one.end(UNKNOWN);
    await one.tick();
    expect(one.there).toHaveLength(2);
    return { call, tracked };
  }

  test.each<[string, Outcome<Uint8Array>, string]>([
    ["done is the answer", done(Uint8Array.of(1)), "done"],
    [
      "a refusal is final: the leader had confirmed its term",
      fromPeer("REVISION_MISMATCH"),
      "REVISION_MISMATCH",
    ],
    ["a full disk is not returned", fromPeer("DISK_FULL"), "again, then OUTCOME_UNKNOWN"],
    ["too many is not returned", fromPeer("TOO_MANY_REQUESTS"), "again, then OUTCOME_UNKNOWN"],
    ["NOT_PROPOSED is not returned", fromPeer("NOT_PROPOSED"), "again, then OUTCOME_UNKNOWN"],
  ])("%s", async (_what, outcome, expected) => {
    const { tracked } = await unknownOnce();
    await one.end(outcome);
    expect(await follow(tracked, () => one.there.length)).toBe(expected);
  });

  test("a stop answers OUTCOME_UNKNOWN, without waiting for a tick", async () => {
    const { tracked } = await unknownOnce();
    await one.stop();
    expect(answerOf(tracked)).toBe("OUTCOME_UNKNOWN");
  });

  test("a dry run changed nothing: its answer is not OUTCOME_UNKNOWN", async () => {
    const { tracked } = await unknownOnce({ validateOnly: true });
    await one.end(fromPeer("DISK_FULL"));
    expect(answerOf(tracked)).toBe("DISK_FULL");
  });
});

describe("the deadline", () => {
  test.each([
    ["NO_LEADER when none is known", 0n, "NO_LEADER"],
    ["NOT_PROPOSED when one is known", 9n, "NOT_PROPOSED"],
  ])("%s", async (_what, leader, expected) => {
    one.view.leader = leader;
    const { tracked } = one.write({ timeoutMs: 300 });
    one.clock.advance(299);
    await promisesSettle();
    expect(answerOf(tracked)).toBe("open");
    one.clock.advance(1);
    await promisesSettle();
    expect(answerOf(tracked)).toBe(expected);
    expect([one.view.listenerCount, one.clock.timerCount]).toEqual([1, 0]);
  });

  test("the last reason is the answer", async () => {
    one.view.leader = 2n;
    const { tracked } = one.write({ timeoutMs: 300 });
    await one.end(fromPeer("SERVER_STOPPING"));
    one.clock.advance(300);
    await promisesSettle();
    expect(answerOf(tracked)).toBe("SERVER_STOPPING");
  });

  test("that has passed already allows no attempt", async () => {
    one.view.leader = 1n;
    const { tracked } = one.write({ timeoutMs: 0 });
    await promisesSettle();
    expect([answerOf(tracked), one.here]).toEqual(["NOT_PROPOSED", []]);
  });
});

describe("a caller that goes away", () => {
  test("while it waits for a leader", async () => {
    const { call, tracked } = one.write();
    await promisesSettle();
    call.cancel();
    await promisesSettle();
    expect(answerOf(tracked)).toBe("CallCancelledError");
    expect([one.view.listenerCount, one.clock.timerCount]).toEqual([1, 0]);
  });

  test("while an attempt here is under way, which is cancelled", async () => {
    one.view.leader = 1n;
    const { call, tracked } = one.write();
    call.cancel();
    expect(one.here[0]?.cancelled).toBe(true);
    await one.end(UNKNOWN);
    expect(answerOf(tracked)).toBe("CallCancelledError");
    expect(one.here).toHaveLength(1);
  });

  test("after an attempt was settled: the attempt is not cancelled", async () => {
    one.view.leader = 1n;
    const { call } = one.write();
    await one.end(RETRY);
    call.cancel();
    await promisesSettle();
    expect(one.here[0]?.cancelled).toBe(false);
  });
});

describe("more writes than may wait", () => {
  test.each([
    ["without a leader", 0n],
    ["for the leader's answer", 2n],
    ["here", 1n],
  ])("%s are refused at once, with when to come back", async (_where, leader) => {
    one.view.leader = leader;
    const waiting = [one.write(), one.write(), one.write()];
    const late = one.write();
    await promisesSettle();
    expect(waiting.map(({ tracked }) => tracked.state)).toEqual(["open", "open", "open"]);
    expect(answerOf(late.tracked)).toBe("TOO_MANY_REQUESTS");
    expect(late.tracked.error).toMatchObject({ retryDelayMs: 1000 });
  });

  test.each<[string, (waiting: ReturnType<Fixture["write"]>) => void]>([
    ["its deadline", () => one.clock.advance(10_010)],
    ["the caller's going away", ({ call }) => call.cancel()],
    ["a leader's answer", () => one.view.ledBy(2n)],
  ])("a place is free again after %s", async (_what, end) => {
    const waiting = [one.write(), one.write(), one.write()];
    await promisesSettle();
    for (const each of waiting) end(each);
    await promisesSettle();
    for (const { end: answer } of one.there) answer(done(Uint8Array.of(1)));
    await promisesSettle();
    expect([one.room.size, waiting.some(({ tracked }) => tracked.state === "open")]).toEqual([0, false]);
    one.view.leader = 0n;
    const next = one.write();
    await promisesSettle();
    expect(next.tracked.state).toBe("open");
  });
});

describe("a member that stops", () => {
  test("takes no write any more", async () => {
    one.view.leader = 1n;
    await one.stop();
    const { tracked } = one.write();
    await promisesSettle();
    expect([answerOf(tracked), one.here]).toEqual(["SERVER_STOPPING", []]);
  });

  test("ends a call that waits for a leader", async () => {
    const { tracked } = one.write();
    await promisesSettle();
    await one.stop();
    expect(answerOf(tracked)).toBe("SERVER_STOPPING");
  });

  test("does not wait for the leader's answer: it is unknown", async () => {
    one.view.leader = 2n;
    const { tracked } = one.write();
    await one.stop();
    expect(answerOf(tracked)).toBe("OUTCOME_UNKNOWN");
    expect([one.view.listenerCount, one.clock.timerCount]).toEqual([1, 0]);
  });

  test("answers OUTCOME_UNKNOWN at once when its own attempt is abandoned", async () => {
    one.view.leader = 1n;
    const { tracked } = one.write();
    one.here[0]?.end(UNKNOWN);
    await one.stop();
    expect(answerOf(tracked)).toBe("OUTCOME_UNKNOWN");
  });
});

describe("a feature that the leader does not know", () => {
  const older = (n: number): void => void apply(one.view.roster, publish(n, n, undefined, "0.2.0"));

  test("is not sent to it: it would take the call for another one", async () => {
    older(2);
    one.view.ledBy(2n);
    const { tracked } = one.write({ feature: "target" });
    await promisesSettle();
    expect([answerOf(tracked), one.there.length]).toEqual(["FEATURE_NOT_READY", 0]);
  });

  test("is decided by a leader that knows it, whoever else does not", async () => {
    older(3);
    one.view.ledBy(2n);
    const { tracked } = one.write({ feature: "target" });
    await promisesSettle();
    await one.end(done(Buffer.from("42")));
    expect(answerOf(tracked)).toBe("done");
  });

  test("says nothing of an earlier attempt, which a leader of before may have done", async () => {
    one.view.ledBy(2n);
    const { tracked } = one.write({ feature: "target" });
    await promisesSettle();
    await one.end(UNKNOWN);
    older(3);
    one.view.ledBy(3n);
    await one.tick();
    expect([answerOf(tracked), one.there.length]).toEqual(["open", 1]);
    one.clock.advance(20_000);
    await one.tick();
    expect(answerOf(tracked)).toBe("OUTCOME_UNKNOWN");
  });
});

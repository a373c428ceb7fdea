/** The live view: what it shows, that it never goes backwards, and that it says when it may be old. */
import { status } from "@grpc/grpc-js";
import { MusterError } from "../../src/client";
import type { MembersChange } from "../../src/client";
import { Caller } from "../../src/client/caller";
import type { SeenRoster } from "../../src/client/pool";
import { LiveMembers } from "../../src/client/view";
import { MemberEvent, MemberEventKind } from "../../src/generated/muster/v1/membership_service";
import { FakeClock } from "./support/fake_clock";
import { HeldClock } from "./support/held_clock";
import { StreamChannel, until } from "./support/stream_channel";
import { added, events, leader, member, progress, removed, roster, settings } from "./support/watch_messages";

/** Other work of the event loop goes on during a pause. */
class TurnClock extends FakeClock {
  override async sleep(ms: number): Promise<void> {
    await super.sleep(ms);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

let channel: StreamChannel;
let clock: TurnClock;
let waitClock: HeldClock;
let seen: SeenRoster[];
let view: LiveMembers;
let caller: Caller;

beforeEach(() => {
  channel = new StreamChannel("a:1");
  clock = new TurnClock();
  waitClock = new HeldClock();
  seen = [];
  const random = (): number => 1;
  const attemptClock = new HeldClock();
  caller = new Caller({ channels: [channel], clock, attemptClock, random, waitForConnection: true });
  const onRoster = (one: SeenRoster): void => void seen.push(one);
  view = new LiveMembers({ caller, clock, waitClock, random, timeoutMs: 7000, onRoster });
});

afterEach(() => {
  view.close();
  caller.close();
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const ids = (): string[] => view.all().map(({ id }) => id);

async function started(...members: string[]): Promise<void> {
  const ready = view.ready();
  await until(() => channel.streams.length === 1);
  channel.last.push(
    roster(
      5,
      members.map((id) => member(id)),
    ),
    leader("1", 3),
    progress(5),
  );
  await ready;
  await until(() => view.fresh);
}

async function failure(call: Promise<unknown>): Promise<MusterError> {
  return call.then(
    () => Promise.reject(new Error("it succeeded")),
    (error: unknown) => error as MusterError,
  );
}

test("nothing is watched before the first use, and one watch serves all", async () => {
  await turn();
  expect(channel.streams).toEqual([]);
  expect([view.all(), view.revision, view.leader, view.fresh, view.byName("n1")]).toEqual([
    [],
    0n,
    undefined,
    false,
    undefined,
  ]);
  await turn();
  expect(channel.streams).toHaveLength(1);
  expect(channel.last.request).toEqual({ startRevision: 0n, withLeader: true, withProgress: true });
});

test("members by name and id, sorted by id as numbers, with leader and revision; all frozen", async () => {
  await started("10", "1", "a");
  expect(ids()).toEqual(["1", "a", "10"]);
  expect([view.byName("na")?.id, view.byId("10")?.name, view.byId("b")]).toEqual(["a", "n10", undefined]);
  expect([view.leader?.id, view.revision, view.fresh, view.staleForMs]).toEqual(["1", 5n, true, 0]);
  expect(view.all()).toBe(view.all());
  expect([Object.isFrozen(view.all()), Object.isFrozen(view.byId("1"))]).toEqual([true, true]);
  expect(seen).toEqual([{ clusterId: "c1", revision: 5n, members: view.all() }]);
});

test("all changes of a message become visible at once", async () => {
  await started("1", "2");
  const changes: [MembersChange, string[]][] = [];
  const stop = view.onChange((change) => changes.push([change, ids()]));
  channel.last.push(events(added(6, "3"), removed(6, "2")));
  await view.waitFor(6n);
  expect(changes).toEqual([
    [{ kind: "events", revision: 6n, events: [added(6, "3"), removed(6, "2")] }, ["1", "3"]],
  ]);
  stop();
  channel.last.push(events(added(7, "4")));
  await view.waitFor(7n);
  expect(changes).toHaveLength(1);
  expect(seen.map(({ revision }) => revision)).toEqual([5n, 6n, 7n]);
});

test("it never goes backwards", async () => {
  await started("1");
  channel.last.push(events(added(9, "2"))).lose();
  await until(() => channel.streams.length === 2);
  expect(channel.last.request.startRevision).toBe(9n);
  channel.last.push(events(removed(7, "1")), roster(8, []));
  await until(() => channel.streams.length === 3);
  expect([ids(), view.revision]).toEqual([["1", "2"], 9n]);
  channel.last.push(events(added(10, "3")));
  await view.waitFor(10n);
  expect(ids()).toEqual(["1", "2", "3"]);
});

test("the leader of an older term is not believed", async () => {
  await started("1", "2");
  channel.last.push(leader("2", 4), leader("1", 3), progress(5));
  await until(() => view.leader?.id === "2");
  await turn();
  expect(view.leader?.id).toBe("2");
  channel.last.push(leader("", 4));
  await until(() => view.leader === undefined);
  expect(view.fresh).toBe(false);
});

test("it says for how long it may be old, and why", async () => {
  void view.all();
  void clock.sleep(40);
  expect(view.staleForMs).toBe(40);
  await started("1");
  const kinds: string[] = [];
  view.onChange(({ kind }) => kinds.push(kind));
  channel.last.push(progress(5, false));
  await until(() => !view.fresh);
  expect(view.error).toBeUndefined();
  channel.last.push(progress(5));
  await until(() => view.fresh);
  channel.last.lose();
  await until(() => channel.streams.length === 2);
  expect([view.fresh, view.error?.message, ids()]).toEqual([false, "connection lost", ["1"]]);
  void clock.sleep(1000);
  expect(view.staleForMs).toBe(1100);
  channel.last.push(progress(4)); // This member is behind.
  await turn();
  await turn();
  expect([view.fresh, view.error]).toEqual([false, undefined]);
  channel.last.push(progress(5));
  await until(() => view.fresh);
  expect(kinds).toEqual(["stale", "fresh", "stale", "fresh"]);
});

test("after lost history the roster is taken whole", async () => {
  await started("1", "2");
  const kinds: string[] = [];
  view.onChange(({ kind }) => kinds.push(kind));
  channel.last.fail(
    new MusterError({ code: status.OUT_OF_RANGE, reason: "REVISION_COMPACTED", message: "" }),
  );
  await until(() => channel.streams.length === 2);
  channel.last.push(roster(90, [member("9")]));
  await view.waitFor(90n);
  expect(ids()).toEqual(["9"]);
  expect(kinds).toContain("reset");
});

test("a removal that does not say of whom makes it fetch the roster", async () => {
  await started("1", "2");
  channel.last.push(events(MemberEvent.fromPartial({ revision: 6n, kind: MemberEventKind.REMOVED })));
  await until(() => channel.streams.length === 2);
  expect([view.revision, channel.last.request.startRevision]).toEqual([5n, 0n]);
  channel.last.push(roster(6, [member("2")]), events(added(7, "3")));
  await view.waitFor(7n);
  expect(ids()).toEqual(["2", "3"]);
});

test("a change of the settings, or of what this version does not know, moves the revision and no member", async () => {
  await started("1");
  const seenEvents: MembersChange[] = [];
  view.onChange((change) => seenEvents.push(change));
  const ofSettings = settings(6, { autoPromote: false });
  channel.last.push(
    events(ofSettings, MemberEvent.fromPartial({ revision: 7n, kind: 99 as MemberEventKind })),
  );
  await view.waitFor(7n);
  expect(ids()).toEqual(["1"]);
  expect(seenEvents[0]).toMatchObject({ kind: "events", revision: 7n, events: [ofSettings, {}] });
});

describe("waiting", () => {
  test("ends at its timeout, and says what there is", async () => {
    const ready = failure(view.ready({ timeoutMs: 10 }));
    await until(() => channel.streams.length === 1);
    channel.last.lose();
    await until(() => channel.streams.length === 2);
    await waitClock.pass();
    expect(await ready).toMatchObject({
      code: status.DEADLINE_EXCEEDED,
      message: "no roster within 10 ms: connection lost",
    });
    const late = failure(view.waitFor(9n));
    channel.last.push(roster(5, []));
    await view.ready();
    await waitClock.pass();
    expect((await late).message).toBe("not at revision 9 within 7000 ms, but at 5");
  });

  test("ends with its signal", async () => {
    const abort = new AbortController();
    const ready = failure(view.ready({ signal: abort.signal }));
    const already = failure(view.waitFor(1n, { signal: AbortSignal.abort() }));
    abort.abort();
    for (const one of [ready, already]) expect((await one).code).toBe(status.CANCELLED);
  });

  test("ends with an error that no endpoint gets over, and the view tries again", async () => {
    const ready = failure(view.ready());
    await until(() => channel.streams.length === 1);
    const refusal = new MusterError({ code: status.PERMISSION_DENIED, message: "no" });
    channel.last.fail(refusal);
    expect(await ready).toBe(refusal);
    expect(view.error).toBe(refusal);
    await until(() => channel.streams.length === 2);
    channel.last.push(roster(5, []));
    await view.ready();
    expect(clock.sleeps).toEqual([50]);
  });

  test("ends with close(), and so does the watch", async () => {
    const ready = failure(view.ready());
    await until(() => channel.streams.length === 1);
    view.close();
    expect(await ready).toMatchObject({ code: status.CANCELLED, message: "the client is closed" });
    await until(() => channel.last.closed);
    expect((await failure(view.waitFor(1n))).code).toBe(status.CANCELLED);
    expect(channel.streams).toHaveLength(1);
  });
});

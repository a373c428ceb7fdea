/** Watches on one member: every change once, in order, gap-free, at the pace of each reader, from one encoded history. */
import { CallCancelledError } from "../../src/base/call";
import { PROGRESS_MS } from "../../src/cluster/watch/watches";
import { MemberEventKind, MemberEventList } from "../../src/generated/muster/v1/membership_service";
import { MemberRole } from "../../src/generated/muster/v1/member";
import { RefusedError, Roster, replaceMemberCommand } from "../../src/roster/index";
import { decodeDetails } from "../../src/rpc/error_details";
import { RpcError } from "../../src/rpc/rpc_error";
import {
  accepted,
  add,
  adminUrls,
  apply,
  by,
  envelope,
  newMember,
  publish,
  remove,
  request,
  rosterOf,
} from "../roster/support/log";
import { WatchedRoster } from "./support/watched_roster";
import type { Reader } from "./support/watched_roster";
import { promisesSettle } from "./support/tracked";

let world: WatchedRoster;
beforeEach(() => {
  world = new WatchedRoster();
});

/** The n-th of many changes of one member. */
const moved = (n: number) => adminUrls({ id: 1n }, [`http://a:${String(n)}`]);

/** Why the watch ended: the reason, and the oldest revision where it says one. */
async function endOf(reader: Reader): Promise<string> {
  await promisesSettle();
  const { error } = reader;
  if (error instanceof CallCancelledError) return "cancelled";
  if (error instanceof RefusedError) {
    const { reason, metadata } = error.refusal;
    return `${reason} ${metadata["oldest_revision"] ?? ""}`.trim();
  }
  if (!(error instanceof RpcError)) throw new Error(`not ended: ${String(error)}`);
  const { metadata } = decodeDetails(error.details ?? undefined);
  return `${error.reason ?? ""} ${metadata.get("oldest_revision") ?? ""}`.trim();
}

describe("what a watch sends", () => {
  test("without a start: the roster, then each change as one message of all its events", () => {
    const reader = world.watch();
    world.settle();
    world.change(publish(1));
    world.settle();
    const fields = { member: by({ id: 2n }), peerUrl: "", replacement: newMember(9) };
    world.change(replaceMemberCommand(envelope(), fields));
    world.settle();
    expect(reader.story).toEqual(["roster @3", "4 @4", "5,5 @5"]);
    const [first] = reader.messages;
    if (first?.part?.$case !== "roster") throw new Error("no roster");
    expect(first.part.value.members.map(({ name }) => name)).toEqual(["n1", "n2", "n3"]);
    expect(first.header).toMatchObject({ clusterId: "c1", memberId: "1", leaderId: "2", raftTerm: 4n });
  });

  test("with a start: the changes after it, and nothing more", () => {
    world.change(moved(1), moved(2));
    const fromThree = world.watch({ startRevision: 3 });
    const fromNow = world.watch({ startRevision: 5 });
    const fromFuture = world.watch({ startRevision: 7 });
    world.settle();
    expect([fromThree.story, fromNow.story, fromFuture.story]).toEqual([["4,5 @5"], [], []]);
    world.change(moved(3), moved(4), moved(5));
    world.settle();
    expect([fromThree, fromNow, fromFuture].map(({ revisions }) => revisions)).toEqual([
      [4, 5, 6, 7, 8],
      [6, 7, 8],
      [8],
    ]);
  });

  test("an event has the member before and after, time, caller, note and request id", () => {
    const reader = world.watch({ startRevision: 3 });
    const head = request("r1", "content", { note: "why", caller: "ann", timeMs: 1_700_000_000_123 });
    world.change(add(4, { learner: true }, head), moved(1), remove({ id: 4n }));
    world.settle();
    const events = reader.messages.flatMap(({ part }) => (part?.$case === "events" ? part.value.events : []));
    expect(events).toMatchObject([
      {
        revision: 4n,
        kind: MemberEventKind.ADDED,
        member: { id: "4", role: MemberRole.LEARNER },
        previous: undefined,
        time: { seconds: 1_700_000_000n, nanos: 123_000_000 },
        caller: "ann",
        note: "why",
        requestId: "r1",
      },
      {
        kind: MemberEventKind.UPDATED,
        member: { id: "1", adminUrls: ["http://a:1"] },
        previous: { id: "1", adminUrls: [] },
      },
      { kind: MemberEventKind.REMOVED, member: undefined, previous: { id: "4", name: "n4" } },
    ]);
  });

  test("what changes nothing is no event: refusals, repeats, publishes of the same content", () => {
    world.change(publish(1));
    const reader = world.watch({ startRevision: 4, withProgress: true });
    world.change(publish(1));
    apply(world.roster, add(1));
    world.settle();
    expect(reader.story).toEqual(["mark @4"]);
  });
});

describe("one history for all", () => {
  test("readers at one revision get the same bytes, and each event is encoded once", () => {
    const encode = jest.spyOn(MemberEventList, "encode");
    const readers = Array.from({ length: 50 }, () => world.watch({ withLeader: true, withProgress: true }));
    world.settle();
    world.change(moved(1));
    world.settle();
    expect(encode).toHaveBeenCalledTimes(1);
    // Another reader, which comes later and is behind: the same event in another message.
    const late = world.watch({ startRevision: 2 });
    world.settle();
    expect(late.revisions).toEqual([3, 4]);
    expect(encode).toHaveBeenCalledTimes(2);
    encode.mockRestore();
    const [first] = readers;
    expect(first?.story).toEqual(["roster @3", "leader 2 @3", "mark @3", "4 @4"]);
    for (const reader of readers)
      reader.buffers.forEach((buffer, i) => {
        expect(buffer).toBe(first?.buffers[i]);
      });
  });

  test("a reader that catches up gets many changes in one message, and no message grows without bound", () => {
    world = new WatchedRoster({ eventsLimit: 5000 });
    for (let n = 1; n <= 2000; n++) world.change(moved(n));
    const reader = world.watch({ startRevision: 3 });
    world.settle();
    expect(reader.revisions).toEqual(Array.from({ length: 2000 }, (_, i) => i + 4));
    expect(reader.messages.length).toBeLessThan(20);
    for (const { length } of reader.buffers) expect(length).toBeLessThan(100_000);
    for (const { header, part } of reader.messages)
      expect(part?.$case === "events" && part.value.events.at(-1)?.revision).toBe(header?.revision);
  });

  test("writing to many readers takes many turns, and changes in between wait for no second round", () => {
    const readers = Array.from({ length: 1000 }, () => world.watch({ startRevision: 3 }));
    world.settle();
    const before = world.turns;
    world.change(moved(1));
    world.turn();
    expect(readers.filter(({ messages }) => messages.length > 0).length).toBeLessThan(200);
    world.change(moved(2));
    world.settle();
    expect(world.turns - before).toBeGreaterThan(5);
    for (const { revisions } of readers) expect(revisions).toEqual([4, 5]);
    // The last ones get both changes at once.
    expect(readers.at(-1)?.messages).toHaveLength(1);
  });

  test("without a reader nothing is done at all", () => {
    world.change(moved(1));
    world.leader(3n);
    expect([world.turn(), world.clock.timerCount]).toEqual([false, 0]);
  });
});

describe("a reader that stops", () => {
  test("has one message waiting, holds up nobody, and goes on where it was", () => {
    const [slow, quick] = [world.watch({ startRevision: 3 }), world.watch({ startRevision: 3 })];
    slow.isStopped = true;
    for (let n = 1; n <= 50; n++) {
      world.change(moved(n));
      world.settle();
    }
    expect(slow.messages).toHaveLength(1);
    expect(quick.messages).toHaveLength(50);
    world.clock.advance(24 * 60 * 60 * 1000);
    expect(slow.error).toBeNull();
    slow.isStopped = false;
    world.settle();
    expect(slow.revisions).toEqual(quick.revisions);
    expect(slow.messages).toHaveLength(2);
  });

  test("is ended once changes that it has not are dropped, and not before", async () => {
    world = new WatchedRoster({ eventsLimit: 10 });
    const slow = world.watch({ startRevision: 3 });
    slow.isStopped = true;
    world.change(moved(0));
    world.settle();
    for (let n = 1; n <= 10; n++) world.change(moved(n));
    world.settle();
    // It has 4; 5 to 14 are kept, and the oldest kept revision counts as dropped in part.
    expect(await endOf(slow)).toBe("REVISION_COMPACTED 5");
    expect([world.watches.size, world.room.size]).toEqual([0, 0]);
    slow.isStopped = false;
    world.settle();
    expect(slow.revisions).toEqual([4]);
  });

  test("loses nothing while all changes that it has not are kept", () => {
    world = new WatchedRoster({ eventsLimit: 10 });
    const slow = world.watch({ startRevision: 3 });
    slow.isStopped = true;
    world.change(moved(0));
    world.settle();
    for (let n = 1; n <= 9; n++) world.change(moved(n));
    world.settle();
    slow.isStopped = false;
    world.settle();
    expect(slow.revisions).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
  });

  test("may wait for its first message for ever: the roster is current when it is written", () => {
    world = new WatchedRoster({ eventsLimit: 4 });
    const reader = world.watch();
    for (let n = 1; n <= 20; n++) world.change(moved(n));
    world.settle();
    expect(reader.story).toEqual(["roster @23"]);
  });
});

describe("a snapshot that is installed", () => {
  /** What the leader has: the same history, further on. */
  function further(changes: number, eventsLimit = 100): Roster {
    const roster = rosterOf(3, { eventsLimit });
    for (let n = 1; n <= changes; n++) accepted(apply(roster, moved(n)).decision);
    return Roster.restore(roster.snapshot(), { appliedIndex: roster.appliedIndex, eventsLimit });
  }

  test("leaves no gap where its history covers what a reader is to get next", () => {
    const reader = world.watch({ startRevision: 3 });
    world.change(moved(1), moved(2));
    world.settle();
    world.install(further(7));
    world.settle();
    world.change(moved(8));
    world.settle();
    expect(reader.revisions).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
  });

  test("ends a reader whose next changes are not in it", async () => {
    const [behind, ahead] = [world.watch({ startRevision: 3 }), world.watch({ startRevision: 40 })];
    world.settle();
    world.install(further(50, 10));
    world.settle();
    // 44 to 53 are kept; a reader that waits for 41 can't be served either.
    expect(await endOf(behind)).toBe("REVISION_COMPACTED 44");
    expect(await endOf(ahead)).toBe("REVISION_COMPACTED 44");
    expect(behind.messages).toEqual([]);
  });
});

describe("leader and marks", () => {
  test("come when they were asked for: at the start, and when they change", () => {
    const all = world.watch({ withLeader: true, withProgress: true });
    const none = world.watch();
    world.settle();
    expect(all.story).toEqual(["roster @3", "leader 2 @3", "mark @3"]);
    world.leader(0n);
    world.settle();
    world.leader(0n);
    world.settle();
    world.leader(3n);
    world.settle();
    expect(all.story.slice(3)).toEqual(["leader none @3", "leader 3 @3"]);
    expect(none.story).toEqual(["roster @3"]);
  });

  test("follow all changes up to their revision", () => {
    const reader = world.watch({ withLeader: true, withProgress: true, startRevision: 1 });
    world.leader(3n);
    world.change(moved(1));
    world.settle();
    expect(reader.story).toEqual(["2,3,4 @4", "leader 3 @4", "mark @4"]);
  });

  test("a mark comes every few seconds without a change, and says whether there is a leader", () => {
    const reader = world.watch({ withProgress: true, startRevision: 3 });
    world.settle();
    world.clock.advance(PROGRESS_MS);
    world.settle();
    world.leader(0n);
    world.change(moved(1));
    world.settle();
    world.clock.advance(PROGRESS_MS);
    world.settle();
    expect(reader.story).toEqual(["mark @3", "mark @3", "4 @4"]);
    world.clock.advance(PROGRESS_MS);
    world.settle();
    expect(reader.story.slice(3)).toEqual(["mark without leader @4"]);
  });

  test("the clock is left alone once nobody asks for marks", async () => {
    const reader = world.watch({ withProgress: true });
    world.watch();
    world.settle();
    expect(world.clock.timerCount).toBe(1);
    reader.cancel();
    world.clock.advance(PROGRESS_MS);
    expect(world.clock.timerCount).toBe(0);
    expect(await endOf(reader)).toBe("cancelled");
  });
});

describe("the end of a watch", () => {
  test("older than what is kept: refused with the oldest revision", async () => {
    world = new WatchedRoster({ eventsLimit: 3 });
    world.change(moved(1), moved(2));
    expect(await endOf(world.watch({ startRevision: 2 }))).toBe("REVISION_COMPACTED 3");
    const reader = world.watch({ startRevision: 3 });
    world.settle();
    expect(reader.revisions).toEqual([4, 5]);
  });

  test("cancelled: its place is free at once, whether it is being written to or not", async () => {
    const [idle, busy] = [world.watch(), world.watch()];
    busy.isStopped = true;
    world.settle();
    idle.cancel();
    busy.cancel();
    expect(world.watches.size).toBe(0);
    world.change(moved(1));
    busy.isStopped = false;
    world.settle();
    expect([await endOf(idle), await endOf(busy)]).toEqual(["cancelled", "cancelled"]);
    expect([world.room.size, busy.story]).toEqual([0, ["roster @3"]]);
  });

  test("one too many is refused, with the time of the next try", async () => {
    world = new WatchedRoster({ watchesMax: 2 });
    const first = world.watch();
    world.watch();
    const third = world.watch();
    expect(await endOf(third)).toBe("TOO_MANY_REQUESTS");
    expect((third.error as RefusedError).retryDelayMs).toBe(1000);
    first.cancel();
    await promisesSettle();
    const fourth = world.watch();
    world.settle();
    expect(fourth.story).toEqual(["roster @3"]);
  });

  test("the member stops: all end, and no further one begins", async () => {
    const readers = [world.watch({ withProgress: true }), world.watch({ startRevision: 99 })];
    world.settle();
    world.watches.stop();
    readers.push(world.watch());
    for (const reader of readers) expect(await endOf(reader)).toBe("SERVER_STOPPING");
    world.change(moved(1));
    world.settle();
    expect([world.clock.timerCount, world.turn(), world.room.size]).toEqual([0, false, 0]);
  });
});

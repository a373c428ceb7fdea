/** Watching over streams that end, lag and repeat: each change once, in order, and a word where some were missed. */
import { status } from "@grpc/grpc-js";
import { ClientConfigError, MemberEventKind, MusterError } from "../../src/client";
import type { WatchItem, WatchMembersOptions } from "../../src/client";
import { Caller } from "../../src/client/caller";
import type { CallerDeps } from "../../src/client/caller";
import { MemberWatch } from "../../src/client/watch";
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

let channels: StreamChannel[];
let clock: FakeClock;
let caller: Caller;
let a: StreamChannel;
let b: StreamChannel;

function make(deps: Partial<CallerDeps> = {}): void {
  clock = new TurnClock();
  const attemptClock = new HeldClock();
  caller = new Caller({ channels, clock, attemptClock, random: () => 1, waitForConnection: true, ...deps });
}

beforeEach(() => {
  a = new StreamChannel("a:1");
  b = new StreamChannel("b:1");
  channels = [a, b];
  make();
});

afterEach(() => {
  caller.close();
});

const watch = (options: WatchMembersOptions = {}): MemberWatch => new MemberWatch(caller, options);

async function take(from: MemberWatch, count: number): Promise<WatchItem[]> {
  const items: WatchItem[] = [];
  while (items.length < count) {
    const { value, done } = await from.next();
    if (done === true) throw new Error("the watch ended");
    items.push(value);
  }
  return items;
}

/** An item in short: kind, revision, and the member of an event. */
function short(item: WatchItem): string {
  if (item.kind === "leader") return `leader ${item.leaderId ?? "none"}`;
  const id = item.kind === "event" ? ` ${(item.member ?? item.previous)?.id ?? "?"}` : "";
  return `${item.kind} ${item.revision}${id}`;
}

const error = (code: status, reason?: string): MusterError =>
  new MusterError({ code, reason, message: reason ?? "text" });

test("first the roster, then every change, with its facts", async () => {
  a.onOpen = (stream) => {
    const change = {
      ...added(6, "2"),
      caller: "anna",
      note: "more",
      requestId: "r",
      time: { seconds: 2n, nanos: 5e6 },
    };
    stream.push(roster(5, [member("1")]), events(change), leader("1", 3), leader("", 4), progress(6));
  };
  const items = await take(watch({ withLeader: true, withProgress: true }), 5);
  expect(items).toEqual([
    { kind: "roster", revision: 5n, members: [member("1")] },
    {
      kind: "event",
      revision: 6n,
      isLast: true,
      change: MemberEventKind.ADDED,
      member: member("2"),
      previous: undefined,
      time: new Date(2005),
      caller: "anna",
      note: "more",
      requestId: "r",
    },
    { kind: "leader", leaderId: "1", term: 3n },
    { kind: "leader", leaderId: undefined, term: 4n },
    { kind: "progress", revision: 6n, hasLeader: true },
  ]);
  expect(a.last.path).toBe("/muster.v1.MembershipService/WatchMembers");
  expect(a.last.request).toEqual({ startRevision: 0n, withLeader: true, withProgress: true });
});

test("a change of the settings is an item of its own, without a member", async () => {
  const change = { ...settings(6, { autoPromote: false }), caller: "anna", note: "by hand" };
  a.onOpen = (stream) => stream.push(roster(5, []), events(change, added(6, "2")));
  const [, item, last] = await take(watch(), 3);
  expect(item).toEqual({
    kind: "settings",
    revision: 6n,
    isLast: false,
    settings: { autoPromote: false },
    previous: { autoPromote: true },
    time: undefined,
    caller: "anna",
    note: "by hand",
    requestId: "",
  });
  expect(last).toMatchObject({ kind: "event", isLast: true });
});

test("with a start revision the changes after it come, and no roster", async () => {
  a.onOpen = (stream) => stream.push(events(added(8, "2")));
  expect((await take(watch({ startRevision: 7n }), 1)).map(short)).toEqual(["event 8 2"]);
  expect(a.last.request).toEqual({ startRevision: 7n, withLeader: false, withProgress: false });
});

test.each([-1n, 2n ** 64n])("%s is no start revision", (startRevision) => {
  expect(() => watch({ startRevision })).toThrow(ClientConfigError);
});

describe("after a lost stream", () => {
  test.each<[string, (stream: StreamChannel["last"]) => void]>([
    ["that broke", (stream) => stream.lose()],
    ["that the member ended", (stream) => stream.end()],
    ["of a member that stops", (stream) => stream.fail(error(status.UNAVAILABLE, "SERVER_STOPPING"))],
  ])("%s, it goes on at the next endpoint, after the last revision seen", async (_what, lose) => {
    a.onOpen = (stream) => lose(stream.push(roster(5, []), events(added(6, "2"), added(6, "3"))));
    b.onOpen = (stream) => stream.push(events(added(7, "4")));
    const items = await take(watch(), 4);
    expect(items.map(short)).toEqual(["roster 5", "event 6 2", "event 6 3", "event 7 4"]);
    expect(items.map((item) => item.kind === "event" && item.isLast)).toEqual([false, false, true, true]);
    expect(b.last.request.startRevision).toBe(6n);
    expect(clock.sleeps).toEqual([100]);
  });

  test("changes that come again are left out", async () => {
    a.onOpen = (stream) => stream.push(roster(5, []), events(added(6, "2"))).lose();
    b.onOpen = (stream) => stream.push(events(added(6, "2")), events(added(6, "2"), added(7, "3")));
    expect((await take(watch(), 3)).map(short)).toEqual(["roster 5", "event 6 2", "event 7 3"]);
  });

  test("before anything came, it begins as it was asked to", async () => {
    a.onOpen = (stream) => stream.lose();
    b.onOpen = (stream) => stream.push(roster(5, []));
    expect((await take(watch(), 1)).map(short)).toEqual(["roster 5"]);
    expect(clock.sleeps).toEqual([]);
  });

  test("the pauses grow while nothing comes, with jitter, and start over after a good stream", async () => {
    channels = [a];
    make();
    let opened = 0;
    a.onOpen = (stream) => {
      opened++;
      if (opened === 1) stream.push(roster(5, []));
      else if (opened === 5) stream.push(events(added(6, "2")));
      else if (opened < 5) stream.lose();
    };
    const items = watch();
    await take(items, 1);
    const next = take(items, 1);
    a.last.lose();
    await next;
    expect(clock.sleeps).toEqual([100, 100, 200, 400]);
    void clock.sleep(5000); // The stream is good for so long.
    const after = take(items, 1);
    a.last.lose();
    await until(() => opened === 6);
    expect(clock.sleeps.slice(5)).toEqual([800]);
    void clock.sleep(5000);
    a.last.lose();
    await until(() => opened === 7);
    expect(clock.sleeps.at(-1)).toBe(50);
    await items.return();
    await expect(after).rejects.toThrow("the watch ended");
  });
});

describe("when history was lost", () => {
  const compacted = error(status.OUT_OF_RANGE, "REVISION_COMPACTED");

  test("the roster comes as a reset, and then the changes after it", async () => {
    a.onOpen = (stream) => {
      if (a.streams.length === 1) stream.push(roster(5, [])).lose();
    };
    b.onOpen = (stream) => {
      if (b.streams.length === 1) stream.fail(compacted);
    };
    const items = watch();
    const got = take(items, 3);
    await until(() => a.streams.length === 2);
    a.last.push(roster(90, [member("9")]), events(added(91, "2")));
    expect((await got).map(short)).toEqual(["roster 5", "reset 90", "event 91 2"]);
    expect(a.last.request.startRevision).toBe(0n);
  });

  test("a member that is behind what was seen does not set it back", async () => {
    a.onOpen = (stream) => {
      if (a.streams.length === 1) stream.fail(compacted);
      else stream.push(roster(60, []));
    };
    b.onOpen = (stream) => stream.push(roster(40, []));
    expect((await take(watch({ startRevision: 50n }), 1)).map(short)).toEqual(["reset 60"]);
    expect(b.last.closed).toBe(true);
  });

  test("nothing is said when nothing was missed", async () => {
    channels = [a];
    make();
    a.onOpen = (stream) => {
      if (a.streams.length === 1) stream.fail(compacted);
      else stream.push(roster(50, []), events(added(51, "2")));
    };
    expect((await take(watch({ startRevision: 50n }), 1)).map(short)).toEqual(["event 51 2"]);
  });
});

describe("errors", () => {
  test.each([status.PERMISSION_DENIED, status.UNAUTHENTICATED, status.INVALID_ARGUMENT])(
    "%s ends the watch",
    async (code) => {
      const refusal = error(code);
      a.onOpen = (stream) => stream.fail(refusal);
      await expect(watch().next()).rejects.toBe(refusal);
      expect(b.streams).toEqual([]);
    },
  );

  test("a member of an older version is passed over; when all are, the watch ends", async () => {
    const unknown = error(status.UNIMPLEMENTED);
    a.onOpen = (stream) => stream.fail(unknown);
    b.onOpen = (stream) => stream.push(roster(5, []));
    const items = watch();
    await take(items, 1);
    b.onOpen = (stream) => stream.fail(unknown);
    b.last.lose();
    await expect(items.next()).rejects.toBe(unknown);
  });

  test("a member of another cluster is passed over", async () => {
    a.onOpen = (stream) => {
      if (a.streams.length === 1) stream.push(roster(5, [])).lose();
    };
    b.onOpen = (stream) => stream.push(roster(9, [], "c2"));
    const items = watch();
    await take(items, 1);
    const next = take(items, 1);
    await until(() => a.streams.length === 2);
    a.last.push(events(added(6, "2")));
    expect((await next).map(short)).toEqual(["event 6 2"]);
  });

  test("without patience, no connection to any endpoint ends a watch that never began", async () => {
    make({ waitForConnection: false });
    const unsent = new MusterError({ code: status.UNAVAILABLE, message: "refused", sent: false });
    for (const channel of channels) channel.onOpen = (stream) => stream.fail(unsent);
    await expect(watch().next()).rejects.toBe(unsent);
    expect([a.streams.length, b.streams.length]).toEqual([1, 1]);
    // The same with addresses that never answer: one wait for all of them.
    let waits = 0;
    const late = channels.map((channel) => Object.assign(channel, { ready: async () => (waits++, unsent) }));
    expect(late).toHaveLength(2);
    await expect(watch().next()).rejects.toBe(unsent);
    expect(waits).toBe(2);
  });
});

describe("the end", () => {
  test("break closes the stream", async () => {
    a.onOpen = (stream) => stream.push(roster(5, []), events(added(6, "2")));
    for await (const item of watch()) if (item.kind === "event") break;
    expect([a.last.closed, a.streams.length, b.streams.length]).toEqual([true, 1, 0]);
  });

  test("return() closes the stream while next() waits", async () => {
    a.onOpen = (stream) => stream.push(roster(5, []));
    const items = watch();
    await take(items, 1);
    const waiting = items.next();
    await items.return();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(await items.next()).toEqual({ done: true, value: undefined });
    expect(a.last.closed).toBe(true);
  });

  test("the signal ends the loop without an error, also before it began", async () => {
    const abort = new AbortController();
    a.onOpen = (stream) => stream.push(roster(5, []));
    const seen: string[] = [];
    for await (const item of watch({ signal: abort.signal })) {
      seen.push(short(item));
      setImmediate(() => abort.abort());
    }
    expect(seen).toEqual(["roster 5"]);
    expect(a.last.closed).toBe(true);
    for await (const item of watch({ signal: abort.signal })) seen.push(short(item));
    expect(seen).toHaveLength(1);
  });

  test("close() of the client ends it with CANCELLED", async () => {
    const waiting = watch().next();
    await until(() => a.streams.length === 1);
    caller.close();
    await expect(waiting).rejects.toMatchObject({ code: status.CANCELLED, message: "the client is closed" });
  });
});

test("what is not read is not fetched", async () => {
  a.onOpen = (stream) => {
    stream.push(roster(5, []));
    for (let i = 6; i < 100; i++) stream.push(events(added(i, "2"), removed(i, "2")));
  };
  await take(watch(), 3);
  expect(a.last.reads).toBe(2);
});

describe("a member that says it does not serve", () => {
  test("loses its watch after the second check, when another one may serve", async () => {
    const held = new HeldClock();
    make({ attemptClock: held });
    const lost: string[] = [];
    const stream = caller.stream({
      signal: undefined,
      judge: () => "resume",
      onLost: (failure) => lost.push(failure.message),
      open: (channel, attempt) =>
        channel.serverStream(
          { path: "", requestSerialize: Buffer.from, responseDeserialize: String },
          "",
          attempt,
        ),
    });
    const next = stream.next();
    await until(() => held.held.length === 1);
    a.serving = b.serving = false;
    for (let i = 0; i < 3; i++) await held.pass();
    b.serving = true;
    await held.pass();
    expect(a.last.closed).toBe(false);
    await held.pass();
    await until(() => b.streams.length === 1);
    expect([lost, a.last.closed]).toEqual([["a:1 does not serve at present"], true]);
    b.last.push({});
    await next;
    await stream.return();
  });
});

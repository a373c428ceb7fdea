/** How long outcomes are remembered, and what happens when the room for them is full. */
import {
  CommandKind,
  type Roster,
  knowsKind,
  publishCommand,
  refuseCommand,
  refused as refusedError,
} from "../../src/roster/index";
import type { CommandEnvelope, HistoryOptions, RosterCommand } from "../../src/roster/index";
import {
  accepted,
  adminUrls,
  apply,
  entryFor,
  envelope,
  move,
  refused,
  request,
  restored,
  rosterOf,
} from "./support/log";

const MINUTE = 60_000;
const START_MS = Date.UTC(2026, 0, 2);

/** A roster of one member that runs this version, or another. */
function started(options: HistoryOptions = {}, version = "0.2.0"): Roster {
  const roster = rosterOf(1, options);
  publishes(roster, version);
  return roster;
}

function publishes(roster: Roster, version: string, n = 1): void {
  const facts = { id: BigInt(n), instanceId: new Uint8Array(16).fill(n), adminUrls: [], version };
  accepted(apply(roster, publishCommand(envelope(), facts)).decision);
}

let port = 0;

/** A write that changes something, unless the URL is given. */
function write(
  id: string,
  atMs: number,
  extra: Partial<RosterCommand> = {},
  url = `http://a:${++port}`,
): RosterCommand {
  const head: Partial<CommandEnvelope> = { timeMs: START_MS + atMs };
  return { ...adminUrls({ id: 1n }, [url], request(id, url, head)), ...extra };
}

const generated = { generatedRequestId: true };

/** Applies a command under a leader of this term. */
function applyIn(roster: Roster, term: number, command: RosterCommand): void {
  roster.apply({ ...entryFor(roster, command), term });
}

const knows = (roster: Roster, ...ids: string[]): boolean[] => ids.map((id) => roster.outcome(id) !== null);

describe("an outcome under the caller's own request id", () => {
  test("outlives any number of later ones for ten minutes", () => {
    const roster = started({ outcomesLimit: 3 });
    apply(roster, write("r", 0, {}, "http://r:1"));
    for (let n = 0; n < 500; n++) apply(roster, write(`other${n}`, n));
    expect(apply(roster, write("r", 499, {}, "http://r:1")).decision.repeated).toBe(true);
    for (let minute = 1; minute < 10; minute++) apply(roster, write(`m${minute}`, minute * MINUTE));
    apply(roster, write("last", 10 * MINUTE - 1));
    expect(knows(roster, "r", "other0", "last")).toEqual([true, true, true]);
    apply(roster, write("now", 10 * MINUTE));
    expect(knows(roster, "r", "other499", "last")).toEqual([false, true, true]);
  });

  test("outlives any time until the limit of later ones", () => {
    const roster = started({ outcomesLimit: 3 });
    for (let n = 1; n <= 4; n++) apply(roster, write(`r${n}`, n * MINUTE));
    for (let n = 5; n <= 30; n++) apply(roster, write("r4", n * MINUTE));
    expect(knows(roster, "r1", "r2", "r3", "r4")).toEqual([true, true, true, true]);
    apply(roster, write("r5", 31 * MINUTE));
    expect(knows(roster, "r1", "r2", "r3", "r5")).toEqual([false, false, true, true]);
  });

  test("is kept when it changed nothing: a repeat does not undo a later change", () => {
    const roster = started();
    apply(roster, write("a", 0, {}, "http://a:1"));
    const nothing = write("b", 1, {}, "http://a:1");
    expect(accepted(apply(roster, nothing).decision).changed).toBe(false);
    apply(roster, write("c", 2, {}, "http://c:1"));
    expect(apply(roster, nothing).decision.repeated).toBe(true);
    expect(roster.member(1n)?.adminUrls).toEqual(["http://c:1"]);
  });

  test.each<[string, (roster: Roster) => void]>([
    [
      "ten thousand writes of members' own request ids",
      (roster) => {
        for (let n = 0; n < 10_001; n++) apply(roster, write(`g${n}`, n, generated));
      },
    ],
    [
      "ten thousand changes of nothing",
      (roster) => {
        for (let n = 0; n < 10_001; n++) apply(roster, write(`g${n}`, n, generated, "http://same:1"));
      },
    ],
  ])("is not pushed out by %s", (_what, load) => {
    const roster = started();
    apply(roster, write("r", 0));
    load(roster);
    expect(knows(roster, "r")).toEqual([true]);
  });
});

describe("an outcome under a request id that a member drew", () => {
  test("is kept until the limit of later ones of its kind", () => {
    const roster = started({ outcomesLimit: 3 });
    for (let n = 1; n <= 4; n++) apply(roster, write(`g${n}`, n, generated));
    for (let n = 1; n <= 9; n++) apply(roster, write(`r${n}`, n));
    expect(knows(roster, "g1", "g2", "g4")).toEqual([false, true, true]);
  });

  test("is not kept when it changed nothing, and kept when it was refused", () => {
    const roster = started();
    apply(roster, write("g1", 0, generated, "http://a:1"));
    const hash = roster.hash();
    const nothing = apply(roster, write("g2", 0, generated, "http://a:1"));
    expect(accepted(nothing.decision).changed).toBe(false);
    expect(roster.hash()).toBe(hash);
    apply(roster, {
      ...move({ name: "x" }, "http://x:1", request("g3", "x", { timeMs: START_MS })),
      ...generated,
    });
    expect(knows(roster, "g1", "g2", "g3")).toEqual([true, false, true]);
  });

  test("may be forgotten, and then no attempt from before that is applied", () => {
    const roster = started({ outcomesLimit: 3 });
    const base = roster.appliedIndex;
    const first = write("g", 0, { ...generated, requestBase: base });
    accepted(apply(roster, first).decision);
    apply(roster, write("g2", 1, generated));
    apply(roster, write("g3", 1, generated));
    // The last index at which the first outcome is certainly known, and the one after it.
    expect(apply(roster, { ...first, generatedRequestId: false }).decision).toMatchObject({ repeated: true });
    apply(roster, write("g4", 1, generated));
    const urls = roster.member(1n)?.adminUrls;
    expect(knows(roster, "g")).toEqual([false]);
    for (const late of [first, { ...first, generatedRequestId: false }]) {
      expect(refused(roster.evaluate(late), "NOT_PROPOSED").message).toContain("changed nothing");
      refused(apply(roster, late).decision, "NOT_PROPOSED");
    }
    expect(roster.member(1n)?.adminUrls).toEqual(urls);
    expect(knows(roster, "g")).toEqual([false]);
  });
});

describe("the request clock", () => {
  const forgotten = (roster: Roster): boolean => !knows(roster, "r")[0];
  const options = { outcomesLimit: 1 };

  test("is not moved by a leader whose clock is years ahead", () => {
    const roster = started(options);
    applyIn(roster, 1, write("r", 0));
    for (let n = 1; n <= 1000; n++) {
      applyIn(roster, 2, write(`a${n}`, 1e11 + n));
      if (n % 100 === 0) applyIn(roster, 3 + n, write(`b${n}`, n));
    }
    expect(forgotten(roster)).toBe(false);
    for (let n = 1; n <= 10; n++) applyIn(roster, 5000, write(`c${n}`, 2e11 + n * MINUTE));
    expect(forgotten(roster)).toBe(false);
    applyIn(roster, 5000, write("c11", 2e11 + 11 * MINUTE));
    expect(forgotten(roster)).toBe(true);
  });

  test("takes a leap of a leader's clock for a minute, and a step back for nothing", () => {
    const roster = started(options);
    apply(roster, write("r", 0));
    for (let leap = 1; leap <= 9; leap++) apply(roster, write(`a${leap}`, leap * 1e10));
    apply(roster, write("back", 0));
    for (let second = 1; second <= 59; second++) apply(roster, write(`s${second}`, second * 1000));
    expect(forgotten(roster)).toBe(false);
    apply(roster, write("s60", 60_000));
    expect(forgotten(roster)).toBe(true);
  });
});

describe("when the room is full", () => {
  // Each outcome counts for 128 bytes and its texts.
  const options = { outcomesLimit: 2, outcomesBytesMax: 2000 };

  function full(): Roster {
    const roster = started(options);
    for (let n = 0; roster.outcome(`r${n - 1}`) !== null || n === 0; n++) {
      if (n > 20) throw new Error("there is always room");
      apply(roster, write(`r${n}`, n));
    }
    return roster;
  }

  test("of younger outcomes, a write is refused in apply, changes nothing and is not remembered", () => {
    const roster = full();
    const before = { members: roster.members(), revision: roster.revision };
    const one = write("one", 100);
    expect(roster.evaluate(one).accepted).toBe(true);
    refused(apply(roster, one).decision, "TOO_MANY_REQUESTS");
    expect({ members: roster.members(), revision: roster.revision }).toEqual(before);
    expect(knows(roster, "one", "r0", "r1")).toEqual([false, true, true]);
    expect(apply(roster, write("r0", 0, {}, "http://a:x")).decision).toMatchObject({ accepted: false });
    accepted(apply(roster, write("g", 100, generated)).decision);
  });

  test("outcomes of ten minutes ago give way, whatever the number of later ones, and refused writes make time pass", () => {
    const roster = full();
    for (let minute = 1; minute < 10; minute++) {
      refused(apply(roster, write(`m${minute}`, minute * MINUTE)).decision, "TOO_MANY_REQUESTS");
    }
    accepted(apply(roster, write("now", 11 * MINUTE)).decision);
    expect(knows(roster, "r0", "now")).toEqual([false, true]);
  });

  test("membership changes and refusals of the leader have a part of the room for themselves", () => {
    const roster = full();
    accepted(apply(roster, move({ id: 1n }, "http://b:1", request("m", "m", { timeMs: START_MS }))).decision);
    const refusal = refusedError("UNHEALTHY_CLUSTER", "no").refusal;
    for (let n = 0; ; n++) {
      const { decision } = apply(roster, refuseCommand(write(`f${n}`, 0), 9n, refusal));
      if (decision.accepted) throw new Error("accepted");
      if (decision.refusal.reason === "TOO_MANY_REQUESTS") break;
      expect(n).toBeLessThan(3);
    }
  });

  test("the default room takes 200,000 writes", () => {
    const roster = started();
    for (let n = 0; n < 1000; n++) apply(roster, write(`00000000-0000-4000-8000-${n}`, 0));
    const bytes = (roster as unknown as { requests: { timedBytes: number } }).requests.timedBytes;
    expect(200_000 * (bytes / 1000)).toBeLessThan(64 * 1024 * 1024);
  });
});

describe("a refusal of the leader's", () => {
  const refusal = refusedError("UNHEALTHY_CLUSTER", "waiting for n2", { blocking_names: "n2" }).refusal;

  test.each([false, true])("is what every later attempt gets (after a snapshot: %s)", (snapshot) => {
    let roster = started();
    const late = move({ id: 1n }, "http://late:1", request("r"));
    const fence = refuseCommand(late, 8n, refusal);
    const { decision, confChange } = apply(roster, fence);
    expect(decision).toEqual({ accepted: false, repeated: false, refusal });
    expect(confChange).toBeNull();
    if (snapshot) roster = restored(roster);
    expect(apply(roster, late).decision).toEqual({ accepted: false, repeated: true, refusal });
    expect(apply(roster, fence).decision).toEqual({ accepted: false, repeated: true, refusal });
    expect(roster.member(1n)?.peerUrls).toEqual(["http://10.0.0.1:7461"]);
  });

  test("comes too late when the write was done", () => {
    const roster = started();
    const write = move({ id: 1n }, "http://done:1", request("r"));
    const first = accepted(apply(roster, write).decision);
    expect(apply(roster, refuseCommand(write, 8n, refusal)).decision).toEqual({
      ...first,
      repeated: true,
      changed: false,
    });
  });
});

describe("members of version 0.1", () => {
  test("forget by number alone, so all do until the last of them is gone", () => {
    const options = { outcomesLimit: 3 };
    const roster = started(options, "0.1.0");
    for (let n = 1; n <= 4; n++) apply(roster, write(`r${n}`, n, n === 3 ? generated : {}, "http://same:1"));
    expect(knows(roster, "r1", "r2", "r3", "r4")).toEqual([false, true, true, true]);
    expect(knowsKind(roster.members(), CommandKind.REFUSE)).toBe(false);
    publishes(roster, "0.2.0");
    expect(knowsKind(roster.members(), CommandKind.REFUSE)).toBe(true);
    // Outcomes of unknown time count as ones of that moment.
    const copy = restored(roster, options);
    for (const each of [roster, copy]) {
      for (let n = 0; n <= 9; n++) apply(each, write(`s${n}`, n * MINUTE, {}, `http://s:${n + 1}`));
      expect(knows(each, "r2", "r4")).toEqual([true, true]);
      for (let n = 10; n <= 11; n++) apply(each, write(`s${n}`, n * MINUTE, {}, `http://s:${n + 1}`));
      expect(knows(each, "r2", "r4", "s2")).toEqual([false, false, true]);
    }
    expect(copy.hash()).toBe(roster.hash());
  });

  test.each([
    ["0.2.0", true],
    ["0.2.0-dev", true],
    ["1.0.0", true],
    ["0.10.0", true],
    ["0.1.99", false],
    ["", false],
    ["next", false],
  ])("%s knows of refusals: %s", (version, expected) => {
    const roster = rosterOf(2);
    expect(knowsKind(roster.members(), CommandKind.REFUSE)).toBe(false);
    publishes(roster, "0.2.0");
    expect(knowsKind(roster.members(), CommandKind.REFUSE)).toBe(true);
    publishes(roster, version, 2);
    expect(knowsKind(roster.members(), CommandKind.REFUSE)).toBe(expected);
    expect(knowsKind(roster.members(), CommandKind.ADD_MEMBER)).toBe(true);
  });
});

test("a restored roster forgets the same outcomes at the same time", () => {
  const options = { outcomesLimit: 4, outcomesBytesMax: 3000 };
  let roster = started(options);
  const straight = started(options);
  for (let n = 0; n < 300; n++) {
    const command = write(
      `r${n % 40}${n % 3}`,
      (n * MINUTE) / 3,
      n % 4 === 0 ? generated : {},
      `http://u:${n % 40}`,
    );
    applyIn(roster, 1 + Math.floor(n / 50), command);
    applyIn(straight, 1 + Math.floor(n / 50), command);
    if (n % 7 === 0) roster = restored(roster, options);
    expect(Buffer.compare(roster.snapshot(), straight.snapshot())).toBe(0);
  }
});

test("a cluster in which no member has started yet keeps outcomes by time too", () => {
  const roster = rosterOf(1, { outcomesLimit: 2 });
  for (const n of [1, 2, 3, 4]) apply(roster, adminUrls({ id: 1n }, [`http://a:${n}`], request(`r${n}`)));
  expect(roster.members().some(({ started }) => started)).toBe(false);
  expect(roster.outcome("r1")).not.toBeNull();
});

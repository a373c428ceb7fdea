/** `muster watch` and `muster cluster --watch`: what they print, how they go on when a member is lost, and how they end. */
import { status } from "@grpc/grpc-js";
import { main } from "../../src/cli/main";
import { MemberRole, MemberTarget } from "../../src/client";
import { MemberEventKind, WatchMembersResponse } from "../../src/generated/muster/v1/membership_service";
import { ScriptedServer, refusal } from "../client/support/scripted_server";
import { ScriptedWatches } from "./support/scripted_watches";
import type { WatchStep } from "./support/scripted_watches";
import { FakeProcess, until } from "./support/harness";
import { cluster, n1, n2, n3 } from "./support/samples";

const servers: { stop(): void }[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

async function serve(...steps: WatchStep[]): Promise<ScriptedWatches> {
  const server = await ScriptedWatches.start(...steps);
  servers.push(server);
  return server;
}

type Message = WatchStep["send"][number];
const at = (revision: bigint): { header: { revision: bigint } } => ({ header: { revision } });
const roster: Message = { ...at(3n), part: { $case: "roster", value: { members: [n1, n2] } } };
const added: Message = {
  ...at(4n),
  part: {
    $case: "events",
    value: {
      events: [
        {
          revision: 4n,
          kind: MemberEventKind.ADDED,
          member: n3,
          time: { seconds: 1_767_323_045n, nanos: 678_000_000 },
          caller: "ann",
          note: "more room",
          requestId: "r1",
        },
      ],
    },
  },
};
const changed: Message = {
  ...at(6n),
  part: {
    $case: "events",
    value: {
      events: [
        { revision: 5n, kind: MemberEventKind.UPDATED, previous: n3, member: { ...n3, started: true } },
        { revision: 6n, kind: MemberEventKind.REMOVED, previous: n1 },
      ],
    },
  },
};
const leader: Message = { ...at(6n), part: { $case: "leader", value: { leaderId: n2.id } } };
const mark: Message = { ...at(6n), part: { $case: "progress", value: { hasLeader: false } } };
const gone = refusal({ code: status.UNAVAILABLE, reason: "SERVER_STOPPING", message: "it stops" });

/** Runs a command until `done`, then ends it as Ctrl-C does. */
async function run(words: readonly string[], done: (io: FakeProcess) => boolean, io = new FakeProcess()) {
  const code = main(words, io);
  await until(() => done(io));
  io.signal("SIGINT");
  return { code: await code, io };
}

const lines = (text: string): number => text.split("\n").length - 1;

test("prints one line for each event, and ends with code 0 at Ctrl-C", async () => {
  const server = await serve({ send: [roster, added, changed, leader, mark] });
  const words = ["watch", "--with-leader", "--with-progress", "--endpoints", server.endpoint];
  const { code, io } = await run(words, ({ out }) => lines(out) === 6);
  expect(io.out.split("\n")).toEqual([
    "3  members: n1, rack-2.n2",
    "4  2026-01-02T03:04:05.678Z  added n3 (c3) learner http://127.0.0.1:7481, target standby, by ann: more room",
    "5  updated n3 (c3) started",
    "6  removed n1 (a1)",
    "6  leader rack-2.n2 (b2b2b2b2b2b2b2b2)",
    "6  no further change; no leader is known: this may be old",
    "",
  ]);
  expect([code, io.err, io.listening("SIGINT")]).toEqual([0, "", 0]);
  expect(server.requests).toEqual([{ startRevision: 0n, withLeader: true, withProgress: true }]);
  await until(() => server.open === 0);
});

test("a change of the settings, a replacement and a demotion in words", async () => {
  const zero = { seconds: 0n, nanos: 0 };
  const before = { autoPromote: true, standbyTakeoverAfter: zero, removeUnstartedAfter: zero };
  const after = { ...before, autoPromote: false, standbyTakeoverAfter: { seconds: 600n, nanos: 0 } };
  const n4 = { ...n3, id: "d4", name: "n4", target: MemberTarget.VOTER, replaces: "a1" };
  const voter = { ...n4, role: MemberRole.VOTER, replaces: "" };
  const event = { caller: "ann", time: { seconds: 0n, nanos: 0 } };
  const events = [
    { ...event, revision: 4n, kind: MemberEventKind.SETTINGS, settings: after, previousSettings: before },
    { revision: 5n, kind: MemberEventKind.ADDED, member: n4 },
    { revision: 6n, kind: MemberEventKind.REMOVED, previous: n1 },
    { revision: 6n, kind: MemberEventKind.PROMOTED, previous: n4, member: voter },
    {
      revision: 7n,
      kind: MemberEventKind.DEMOTED,
      previous: { ...n2, target: MemberTarget.VOTER },
      member: { ...n2, role: MemberRole.LEARNER, target: MemberTarget.STANDBY },
    },
  ];
  const server = await serve({ send: [roster, { ...at(7n), part: { $case: "events", value: { events } } }] });
  const { io } = await run(["watch", "--endpoints", server.endpoint], ({ out }) => lines(out) === 6);
  expect(io.out.split("\n").slice(1)).toEqual([
    "4  1970-01-01T00:00:00.000Z  changed the settings: auto-promote true -> false, standby-takeover-after 0 -> 10m, by ann",
    "5  added n4 (d4) learner http://127.0.0.1:7481, replaces n1 (a1)",
    "6  removed n1 (a1)",
    "6  promoted n4 (d4) role learner -> voter, replaces n1 (a1) -> none",
    "7  demoted rack-2.n2 (b2b2b2b2b2b2b2b2) role voter -> learner, target voter -> standby",
    "",
  ]);
});

test("--output json is each message as proto3 JSON", async () => {
  const server = await serve({ send: [added] });
  const words = ["watch", "--from", "3", "--output", "json", "--endpoints", server.endpoint];
  const { io } = await run(words, ({ out }) => lines(out) === 1);
  const message = JSON.parse(io.out) as object;
  expect(message).toMatchObject({
    header: { revision: "4" },
    events: {
      events: [{ kind: "MEMBER_EVENT_KIND_ADDED", time: "2026-01-02T03:04:05.678Z", note: "more room" }],
    },
  });
  expect(WatchMembersResponse.fromJSON(message)).toEqual(WatchMembersResponse.fromPartial(added));
  expect(server.requests[0]?.startRevision).toBe(3n);
});

test("goes on at another endpoint from the last revision when a member is lost, and says so", async () => {
  const first = await serve({ send: [roster, added], fail: gone }, { send: [] });
  const second = await serve({ send: [changed] });
  const words = ["watch", "--endpoints", `${first.endpoint},${second.endpoint}`];
  const { code, io } = await run(words, ({ out }) => lines(out) === 4);
  expect(second.requests).toEqual([{ startRevision: 4n, withLeader: false, withProgress: false }]);
  expect([code, io.err]).toEqual([
    0,
    "muster: the watch was lost (SERVER_STOPPING: it stops); trying again\n" +
      `muster: the watch goes on at ${second.endpoint}; nothing was left out\n`,
  ]);
});

test("a member that can't be reached at the beginning is passed over; when none can, that is the end", async () => {
  const gone1 = await serve({ send: [] });
  gone1.stop();
  const server = await serve({ send: [roster] });
  const words = ["watch", "--endpoints", `${gone1.endpoint},${server.endpoint}`];
  const { code, io } = await run(words, ({ out }) => lines(out) === 1);
  expect([code, io.err]).toEqual([0, ""]);
  const alone = new FakeProcess();
  expect(await main(["watch", "--endpoints", gone1.endpoint], alone)).toBe(3);
  expect(alone.err).toContain(`no connection to ${gone1.endpoint}`);
});

test("members that answer and can't be watched at the beginning are the end too, after one round", async () => {
  const [first, second] = [await serve({ send: [], fail: gone }), await serve({ send: [], fail: gone })];
  const io = new FakeProcess();
  expect(await main(["watch", "--endpoints", `${first.endpoint},${second.endpoint}`], io)).toBe(3);
  expect(io.err).toMatch(/^muster: SERVER_STOPPING: it stops\n/);
  expect([first.requests.length, second.requests.length]).toEqual([1, 1]);
});

test("a change that comes again from another member is printed once", async () => {
  const first = await serve({ send: [roster, added], fail: gone }, { send: [] });
  const second = await serve({ send: [added, changed] });
  const words = ["watch", "--output", "json", "--endpoints", `${first.endpoint},${second.endpoint}`];
  const { io } = await run(words, ({ out }) => lines(out) === 3);
  const revisions = io.out
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { header: { revision: string } }).header.revision);
  expect(revisions).toEqual(["3", "4", "6"]);
});

test("changes that are no longer kept end it with what to do", async () => {
  const fail = refusal({
    code: status.OUT_OF_RANGE,
    reason: "REVISION_COMPACTED",
    message: "no longer kept",
    metadata: { oldest_revision: "9" },
  });
  const server = await serve({ send: [], fail });
  const io = new FakeProcess();
  expect(await main(["watch", "--from", "3", "--endpoints", server.endpoint], io)).toBe(1);
  expect(io.err).toBe(
    "muster: REVISION_COMPACTED: no longer kept\n" +
      "  watch again without --from: it begins with the roster as it is now\n",
  );
  expect(server.requests).toHaveLength(1);
});

test("a stream that ends without a reason counts as lost", async () => {
  const server = await serve({ send: [roster], end: true }, { send: [added] });
  const { io } = await run(["watch", "--endpoints", server.endpoint], ({ out }) => lines(out) === 2);
  expect(server.requests.map(({ startRevision }) => startRevision)).toEqual([0n, 3n]);
  expect(io.err).toContain("the watch was lost (UNAVAILABLE:");
});

test.each([
  [["watch", "--timeout", "5"], "--timeout has no meaning for `muster watch`"],
  [["watch", "--from", "x"], "Want a revision"],
  [["cluster", "--watch", "--timeout", "5"], "--timeout has no meaning for `muster cluster`"],
])("%j is a mistake of the command line", async (words, text) => {
  const io = new FakeProcess();
  expect(await main(words, io)).toBe(2);
  expect(io.err).toContain(text);
});

test("the text of a member is printed without control characters", async () => {
  const evil = "\u001b[2J";
  const event = { revision: 4n, kind: MemberEventKind.REMOVED, previous: n1, note: evil, caller: evil };
  const server = await serve({
    send: [{ ...at(4n), part: { $case: "events", value: { events: [event] } } }],
  });
  const { io } = await run(["watch", "--endpoints", server.endpoint], ({ out }) => lines(out) === 1);
  expect(io.out).toBe("4  removed n1 (a1), by ?[2J: ?[2J\n");
});

describe("cluster --watch", () => {
  async function reads(...answers: object[]): Promise<ScriptedServer> {
    const server = await ScriptedServer.start();
    servers.push(server);
    return server.on("getCluster", ...answers.map((respond) => ({ respond })));
  }
  const later = { ...cluster, failuresTolerated: 1, members: cluster.members.slice(0, 2) };

  test("prints a line whenever something is another than before, where there is no terminal", async () => {
    const server = await reads(cluster, cluster, later);
    const words = ["cluster", "--watch", "--endpoints", server.endpoint];
    const { code, io } = await run(words, ({ out }) => lines(out) === 2);
    expect(io.out.split("\n")).toEqual([
      "revision 9007199254740993: leader n1 (a1), 0 more may fail; n1 leader, rack-2.n2 ok, n3 never started",
      "revision 9007199254740993: leader n1 (a1), 1 more may fail; n1 leader, rack-2.n2 ok",
      "",
    ]);
    expect(code).toBe(0);
  });

  test("a line says who replaces whom, and settings that were changed", async () => {
    const replacing = {
      ...cluster,
      members: [
        { member: n1, isLeader: true },
        { member: { ...n3, replaces: n1.id }, reachable: true },
      ],
      settings: { autoPromote: false, standbyTakeoverAfter: undefined, removeUnstartedAfter: undefined },
    };
    const server = await reads(replacing);
    const words = ["cluster", "--watch", "--endpoints", server.endpoint];
    const { io } = await run(words, ({ out }) => lines(out) === 1);
    expect(io.out).toBe(
      "revision 9007199254740993: leader n1 (a1), 0 more may fail; n1 leader, n3 starting; n3 replaces n1; " +
        "settings auto-promote false\n",
    );
  });

  test("redraws the table in place on a terminal", async () => {
    const server = await reads(cluster, later);
    const io = new FakeProcess();
    const stdout = { ...io.stdout, isTerminal: true };
    const words = ["cluster", "--watch", "--endpoints", server.endpoint];
    const terminal: FakeProcess = Object.assign(io, { stdout });
    const home = "\u001b[H";
    const { code } = await run(words, ({ out }) => out.split(home).length === 3, terminal);
    const [before, first, second] = io.out.split(home);
    expect(before).toBe("");
    expect(first).toMatch(/^cluster c0ffee: leader n1 \(a1\), term 4, revision 9007199254740993\u001b\[K\n/);
    expect(first).toContain("n3");
    expect(second).not.toContain("n3");
    expect(second).toContain("1 more may fail now");
    expect(code).toBe(0);
  });
});

/** The early decision about a write as a table: what the leader sees, and what it does with the write. */
import { admit } from "../../src/cluster/leader/admission";
import type { Admission, LeaderView, Write } from "../../src/cluster/leader/admission";
import type { VoterHealth } from "../../src/cluster/leader/quorum_check";
import { changeMembersCommand, promoteMemberCommand, updateSettingsCommand } from "../../src/roster/index";
import type { MemberRecord, RosterCommand } from "../../src/roster/index";
import {
  CLUSTER_ID,
  add,
  adminUrls,
  apply,
  by,
  envelope,
  move,
  publish,
  remove,
  request,
  rosterOf,
} from "../roster/support/log";

const HEARTBEAT_MS = 100;
const ELECTION_TICKS = 10;
/** How long a voter must have been in contact to count. */
const CONTACT_TICKS = 2 * ELECTION_TICKS;

/** A roster of `size` published voters. */
function publishedRoster(size: number) {
  const roster = rosterOf(size);
  for (let n = 1; n <= size; n++) apply(roster, publish(n));
  return roster;
}

/** Voter n: "n*" is the leader, "n-" is not in contact, "n7" is for 7 ticks; "?" at the end: it never started. */
function voters(text: string): VoterHealth[] {
  return text.split(" ").map((word, i) => {
    const contact = word.slice(1).replace("?", "");
    return {
      id: BigInt(i + 1),
      name: `n${i + 1}`,
      started: !word.endsWith("?"),
      inContactTicks: contact === "*" ? Infinity : contact === "-" ? null : Number(contact),
    };
  });
}

const HEALTHY = "n* n20 n20";

type Given = Omit<Partial<LeaderView>, "voters"> & { readonly voters?: string };

/** What the leader n1 of three healthy voters sees of a write that it has confirmed, as far as not said otherwise. */
function view({ voters: text = HEALTHY, ...given }: Given = {}): LeaderView {
  return Object.freeze({
    self: 1n,
    clusterId: CLUSTER_ID,
    roster: publishedRoster(text.split(" ").length),
    hasSpace: true,
    handsOver: false,
    waiting: 5,
    waitingMax: 10,
    letIn: true,
    confirmed: true,
    voters: Object.freeze(voters(text).map((voter) => Object.freeze(voter))),
    electionTicks: ELECTION_TICKS,
    heartbeatMs: HEARTBEAT_MS,
    leadingTicks: 1000,
    remainingTicks: 1000,
    waitedTicks: 0,
    learners: [],
    urlAnswer: "not asked",
    handoverFailed: false,
    ...given,
  });
}

/** The kind, and what else decides what happens next. */
function shown(admission: Admission): string {
  switch (admission.kind) {
    case "ok":
    case "confirm":
    case "hand over":
    case "elsewhere":
      return admission.kind;
    case "wait":
      return `wait ${admission.ticks}`;
    case "ask url":
      return `ask ${admission.url}`;
    case "refused":
    case "turned away":
      return `${admission.kind} ${admission.error.refusal.reason}`;
    case "decided":
      return admission.decision.accepted
        ? `decided${admission.decision.repeated ? " repeated" : ""} ${admission.decision.changed ? "changed" : "unchanged"}`
        : `decided ${admission.decision.refusal.reason}`;
  }
}

/** A frozen command, so that admit can't change it. */
function write(command: RosterCommand, validateOnly = false): Write {
  return Object.freeze({ command: Object.freeze(command), validateOnly });
}

/** Asked twice, of a view and a write that can't be changed: the same answer both times. */
function admitted(given: Write, seen: LeaderView): Admission {
  const before = seen.roster.revision;
  const first = admit(given, seen);
  expect(admit(given, seen)).toEqual(first);
  expect(seen.roster.revision).toBe(before);
  return first;
}

const URLS = adminUrls({ id: 2n }, ["http://10.0.0.2:1"]);
const SAME_URLS = adminUrls({ id: 2n }, ["http://10.0.0.2:7460"]);
const ADD = add(4);
const TAKEN = add(3);
const REMOVE = remove({ id: 3n });
const DEMOTE_LEADER = changeMembersCommand(envelope(), { promote: [], demote: [by({ id: 1n })], remove: [] });
const REMOVE_LEADER = remove({ name: "n1" });

const SETTINGS = updateSettingsCommand(request("s1"), {
  autoPromote: false,
  standbyTakeoverAfterMs: undefined,
  removeUnstartedAfterMs: undefined,
});

/** A roster of three that remembers these requests, the first accepted and the second refused. */
function rememberingRoster(done: RosterCommand, denied: RosterCommand) {
  const roster = publishedRoster(3);
  apply(roster, done);
  apply(roster, denied);
  return roster;
}

const ADDED = add(4, {}, request("r1"));
const DENIED = add(3, {}, request("r2"));
const URLS_SET = adminUrls({ id: 2n }, ["http://10.0.0.2:2"], request("r3"));
const REMEMBERING = rememberingRoster(ADDED, DENIED);
const REMEMBERING_URLS = rememberingRoster(URLS_SET, DENIED);

type Row = [what: string, command: RosterCommand, given: Given, expected: string];

describe("at the door", () => {
  const arrived = { letIn: false, confirmed: false };
  test.each<Row>([
    ["no space", URLS, { ...arrived, hasSpace: false }, "turned away DISK_FULL"],
    ["too many", URLS, { ...arrived, waiting: 10 }, "turned away TOO_MANY_REQUESTS"],
    ["too many and no space", URLS, { ...arrived, waiting: 10, hasSpace: false }, "turned away DISK_FULL"],
    ["one fewer", URLS, { ...arrived, waiting: 9 }, "ok"],
    ["a change when there are too many", ADD, { ...arrived, waiting: 11 }, "turned away TOO_MANY_REQUESTS"],
    ["too many, but it was let in", ADD, { waiting: 11 }, "ok"],
    ["no space, but others have some", URLS, { ...arrived, hasSpace: false, handsOver: true }, "elsewhere"],
    ["no space, but it was let in", ADD, { hasSpace: false }, "ok"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(admitted(write(command), view(given)))).toBe(expected);
  });

  test("TOO_MANY_REQUESTS says when to come back, DISK_FULL does not", () => {
    const tooMany = admitted(write(URLS), view({ ...arrived, waiting: 10 }));
    expect(tooMany).toMatchObject({
      error: { retryDelayMs: 1000, message: "10 writes wait already; try again later" },
    });
    expect(admitted(write(URLS), view({ ...arrived, hasSpace: false }))).toMatchObject({
      error: { retryDelayMs: null },
    });
  });
});

describe("before a read of this term is confirmed", () => {
  const unconfirmed = { confirmed: false };
  test.each<Row>([
    ["a membership change", ADD, unconfirmed, "confirm"],
    ["one that the check would refuse", ADD, { ...unconfirmed, voters: "n* n- n-" }, "confirm"],
    ["a change that the roster refuses", TAKEN, unconfirmed, "confirm"],
    [
      "a refusal of a command that changes no configuration",
      adminUrls({ id: 9n }, ["http://h:1"]),
      unconfirmed,
      "confirm",
    ],
    ["a publish that changes nothing", publish(2), unconfirmed, "confirm"],
    ["a publish that changes something", publish(2, 2, ["http://h:1"]), unconfirmed, "ok"],
    ["new admin URLs", URLS, unconfirmed, "ok"],
    ["settings, which an older member would stop at", SETTINGS, unconfirmed, "confirm"],
    ["the same admin URLs: the outcome is remembered, so an entry is needed", SAME_URLS, unconfirmed, "ok"],
    ["a repeat of an accepted change", ADDED, { ...unconfirmed, roster: REMEMBERING }, "confirm"],
    [
      "a repeat of accepted admin URLs: apply finds it",
      URLS_SET,
      { ...unconfirmed, roster: REMEMBERING_URLS },
      "ok",
    ],
    ["a repeat of a refusal", DENIED, { ...unconfirmed, roster: REMEMBERING }, "confirm"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(admitted(write(command), view(given)))).toBe(expected);
  });

  test("a dry run of anything", () => {
    for (const command of [URLS, ADD, REMOVE, publish(2)])
      expect(shown(admitted(write(command, true), view({ confirmed: false })))).toBe("confirm");
  });
});

describe("while a member runs an older version", () => {
  const older = (): Given => {
    const roster = publishedRoster(3);
    apply(roster, publish(3, 3, undefined, "0.2.9"));
    return { roster };
  };
  test.each<Row>([
    ["settings", SETTINGS, older(), "refused FEATURE_NOT_READY"],
    ["settings, before the roster is known to be new", SETTINGS, { ...older(), confirmed: false }, "confirm"],
    ["a change of several", DEMOTE_LEADER, older(), "refused FEATURE_NOT_READY"],
    ["admin URLs", URLS, { ...older(), confirmed: false }, "ok"],
    ["settings, when all are new", SETTINGS, {}, "ok"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(admitted(write(command), view(given)))).toBe(expected);
  });
});

describe("a change that the leader decided on by itself", () => {
  const roster = publishedRoster(3);
  apply(roster, add(4, { learner: true }));
  apply(roster, publish(4));
  const found = roster.member(4n);
  if (found === null) throw new Error("no member 4");
  const health = { id: 4n, name: "n4", started: true, inContactTicks: 20 };
  const learners = [{ ...health, lagEntries: 0, holdsNewestChange: true, hasSpace: true }];
  const promotion = promoteMemberCommand(envelope(), { member: by({ id: 4n }) });
  const admission = (seen: MemberRecord, confirmed = true): string =>
    shown(
      admit({ command: promotion, validateOnly: false, seen: [seen] }, view({ roster, learners, confirmed })),
    );

  test("is made when the members are as they were seen, whatever else of them changed", () => {
    expect(admission(found)).toBe("ok");
    expect(admission({ ...found, adminUrls: ["http://x:1"], version: "9.9.9", updateRevision: 99 })).toBe(
      "ok",
    );
  });

  test.each<[string, Partial<MemberRecord>]>([
    ["another role", { learner: false }],
    ["another target", { target: 2 }],
    ["another replacement", { replaces: 1n }],
    ["not started", { started: false }],
    ["no such member", { id: 9n }],
  ])("is refused when they were seen with %s", (_, seen) => {
    expect(admission({ ...found, ...seen })).toBe("refused REVISION_MISMATCH");
    // Not by a roster that may be behind.
    expect(admission({ ...found, ...seen }, false)).toBe("confirm");
  });

  test("is refused when what it was decided on holds no longer", () => {
    const judged = (holds: boolean): string => {
      const decidedOn = { command: promotion, validateOnly: false, holds: () => holds };
      return shown(admit(decidedOn, view({ roster, learners })));
    };
    expect([judged(true), judged(false)]).toEqual(["ok", "refused REVISION_MISMATCH"]);
  });
});

describe("decided without an entry", () => {
  test.each<Row>([
    ["a name that is taken", TAKEN, {}, "decided MEMBER_ID_EXISTS"],
    ["a member that is not there", remove({ name: "n9" }), {}, "decided MEMBER_NOT_FOUND"],
    [
      "another revision expected",
      add(4, {}, { ...request("r9"), expectedRevision: 2 }),
      {},
      "decided REVISION_MISMATCH",
    ],
    ["the last voter", remove({ id: 1n }), { voters: "n*" }, "decided LAST_VOTER"],
    ["no member for new admin URLs", adminUrls({ id: 9n }, ["http://h:1"]), {}, "decided MEMBER_NOT_FOUND"],
    ["another data directory", publish(2, 9), {}, "decided MEMBER_WIPED"],
    ["a repeat of an accepted change", ADDED, { roster: REMEMBERING }, "decided repeated unchanged"],
    ["a repeat of a refusal", DENIED, { roster: REMEMBERING }, "decided MEMBER_ID_EXISTS"],
    [
      "a request id for something else",
      add(5, {}, request("r1", "else")),
      { roster: REMEMBERING },
      "decided REQUEST_ID_REUSED",
    ],
    [
      "a repeat, whatever the voters' health",
      ADDED,
      { roster: REMEMBERING, voters: "n* n- n-" },
      "decided repeated unchanged",
    ],
    ["a publish that changes nothing", publish(2), {}, "decided unchanged"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(admitted(write(command), view(given)))).toBe(expected);
  });

  test.each<Row>([
    ["an accepted change", ADD, {}, "decided changed"],
    ["a removal of the leader", REMOVE_LEADER, {}, "decided changed"],
    ["new admin URLs", URLS, {}, "decided changed"],
    ["the same admin URLs", SAME_URLS, {}, "decided unchanged"],
    ["a refusal", TAKEN, {}, "decided MEMBER_ID_EXISTS"],
    ["a change that the check refuses", ADD, { voters: "n* n20 n-" }, "refused UNHEALTHY_CLUSTER"],
    ["a change that has to wait", ADD, { voters: "n* n20 n12" }, "wait 8"],
  ])("a dry run: %s", (_what, command, given, expected) => {
    expect(shown(admitted(write(command, true), view(given)))).toBe(expected);
  });
});

describe("the strict check", () => {
  test.each<Row>([
    ["an add to healthy voters", ADD, {}, "ok"],
    ["an add while one voter is away", ADD, { voters: "n* n20 n-" }, "refused UNHEALTHY_CLUSTER"],
    ["an add while time is missing", ADD, { voters: "n* n20 n12" }, "wait 8"],
    [
      "an add whose caller can't wait that long",
      ADD,
      { voters: "n* n20 n12", remainingTicks: 8 },
      "refused UNHEALTHY_CLUSTER",
    ],
    ["an add whose caller just can", ADD, { voters: "n* n20 n12", remainingTicks: 8.1 }, "wait 8"],
    ["a removal of one that is away", REMOVE, { voters: "n* n20 n-" }, "ok"],
    [
      "a removal while another is away",
      remove({ id: 2n }),
      { voters: "n* n20 n-" },
      "refused UNHEALTHY_CLUSTER",
    ],
    ["a change of a peer URL asks who is there", move({ id: 3n }, "http://h:1"), {}, "ask http://h:1"],
    ["admin URLs are not checked", URLS, { voters: "n* n- n-" }, "ok"],
    ["a voter that publishes soon", ADD, { voters: "n* n20? n20?" }, "wait 1"],
    [
      "one that does, when the deadline is near",
      ADD,
      { voters: "n* n20? n20?", remainingTicks: 1 },
      "refused NOT_ENOUGH_STARTED_MEMBERS",
    ],
    [
      "voters that never started and are away",
      ADD,
      { voters: "n* n-? n-?" },
      "refused NOT_ENOUGH_STARTED_MEMBERS",
    ],
    ["a new leader that settles", ADD, { voters: "n* n- n-", leadingTicks: 3 }, "wait 7"],
    [
      "a new leader, when the deadline is near",
      ADD,
      { voters: "n* n- n-", leadingTicks: 3, remainingTicks: 10 },
      "refused UNHEALTHY_CLUSTER",
    ],
    ["a leader that has settled", ADD, { voters: "n* n- n-", leadingTicks: 10 }, "refused UNHEALTHY_CLUSTER"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(admitted(write(command), view(given)))).toBe(expected);
  });

  test("UNHEALTHY_CLUSTER names who is missing, and says to come back after two election timeouts", () => {
    expect(admitted(write(ADD), view({ voters: "n* n- n-" }))).toMatchObject({
      error: {
        refusal: { metadata: { blocking_names: "n2,n3", blocking_ids: "2,3" } },
        message:
          "too few voters would be in contact with the leader after this change; waiting for n2, n3: bring them back, " +
          "or remove those that are dead (muster member remove n2, muster member remove n3) first, then try again",
        retryDelayMs: CONTACT_TICKS * HEARTBEAT_MS,
      },
    });
  });

  test("UNHEALTHY_CLUSTER for lack of time says to come back when that time has passed", () => {
    expect(admitted(write(ADD), view({ voters: "n* n20 n12", remainingTicks: 2 }))).toMatchObject({
      error: { refusal: { metadata: { blocking_names: "n3" } }, retryDelayMs: 8 * HEARTBEAT_MS },
    });
  });

  test("NOT_ENOUGH_STARTED_MEMBERS says who never started and how many are needed; time does not help", () => {
    expect(admitted(write(ADD), view({ voters: "n* n-? n-?" }))).toMatchObject({
      error: { refusal: { metadata: { blocking_names: "n2,n3", needed: "3" } }, retryDelayMs: null },
    });
  });
});

const WAITS = {
  name: "n2",
  clusterId: 0n,
  memberId: 0n,
  waitingToJoin: true,
  instanceId: Buffer.alloc(0),
  peerUrl: "http://10.0.0.2:7461",
};

describe("a second member of a cluster of one", () => {
  const second = add(2);
  test.each<Row>([
    ["is asked for first", second, { voters: "n*" }, "ask http://10.0.0.2:7461"],
    ["is added when it waits", second, { voters: "n*", urlAnswer: WAITS }, "ok"],
    [
      "is refused when it is absent",
      second,
      { voters: "n*", urlAnswer: "nobody" },
      "refused UNHEALTHY_CLUSTER",
    ],
    ["is not asked for before a read is confirmed", second, { voters: "n*", confirmed: false }, "confirm"],
    ["is not asked for when the roster refuses it", add(1), { voters: "n*" }, "decided MEMBER_ID_EXISTS"],
    ["nor is a third member", add(3), { voters: "n* n20" }, "ok"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(admitted(write(command), view(given)))).toBe(expected);
  });

  test("the refusal says what to start where, and when to come back", () => {
    expect(admitted(write(second), view({ voters: "n*", urlAnswer: "nobody" }))).toMatchObject({
      error: {
        refusal: { metadata: { name: "n2", peer_url: "http://10.0.0.2:7461" } },
        retryDelayMs: CONTACT_TICKS * HEARTBEAT_MS,
      },
    });
  });
});

describe("removing the leader", () => {
  test.each<Row>([
    ["hands over first", REMOVE_LEADER, {}, "hand over"],
    ["hands over first when it is demoted among others", DEMOTE_LEADER, {}, "hand over"],
    ["by its id as well", remove({ id: 1n }), {}, "hand over"],
    ["goes on when that failed", REMOVE_LEADER, { handoverFailed: true }, "ok"],
    [
      "is checked again after it failed",
      REMOVE_LEADER,
      { handoverFailed: true, voters: "n* n20 n-" },
      "refused UNHEALTHY_CLUSTER",
    ],
    ["is checked before the handover", REMOVE_LEADER, { voters: "n* n20 n-" }, "refused UNHEALTHY_CLUSTER"],
    ["is not what removing another member is", REMOVE, {}, "ok"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(admitted(write(command), view(given)))).toBe(expected);
  });
});

test("a voter that went away while the write waited is seen when it is looked at again", () => {
  const waits = view({ voters: "n* n20 n12" });
  expect(shown(admitted(write(ADD), waits))).toBe("wait 8");
  expect(shown(admitted(write(ADD), view({ voters: "n* n20 n20" })))).toBe("ok");
  expect(shown(admitted(write(ADD), view({ voters: "n* n- n20" })))).toBe("refused UNHEALTHY_CLUSTER");
});

test("voters are only looked at for membership changes", () => {
  const seen = {
    ...view(),
    get voters(): never {
      throw new Error("looked at");
    },
  };
  expect(shown(admit(write(URLS), seen))).toBe("ok");
  expect(() => admit(write(ADD), seen)).toThrow("looked at");
});

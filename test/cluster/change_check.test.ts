/** The strict check of each kind of change as a table: who is there, who answers at the new URL, and what follows. */
import { checkChange } from "../../src/cluster/leader/change_check";
import type { CheckResult, CheckView } from "../../src/cluster/leader/change_check";
import type { VoterHealth } from "../../src/cluster/leader/quorum_check";
import type { Hello } from "../../src/cluster/leader/url_check";
import {
  addMemberCommand,
  changeMembersCommand,
  promoteMemberCommand,
  replaceMemberCommand,
  type RosterCommand,
} from "../../src/roster/index";
import {
  CLUSTER_ID,
  add,
  apply,
  by,
  envelope,
  move,
  newMember,
  publish,
  remove,
  rosterOf,
} from "../roster/support/log";

const ELECTION_TICKS = 10;
const HEARTBEAT_MS = 100;

interface Given extends Partial<Omit<CheckView, "voters" | "learners">> {
  /** Voter n: "*" is the leader, "-" is not in contact, "7" is for 7 ticks; "?" at the end: it never started. */
  readonly voters: string;
  /** The learners that follow them, in the same form. */
  readonly learners?: string;
}

function health(text: string, first: number): VoterHealth[] {
  const words = text.split(" ").filter((word) => word !== "");
  return words.map((word, i) => {
    const contact = word.replace("?", "");
    const inContactTicks = contact === "*" ? Infinity : contact === "-" ? null : Number(contact);
    return { id: BigInt(first + i), name: `n${first + i}`, started: !word.endsWith("?"), inContactTicks };
  });
}

/** A roster of these members, of which the started ones have published. */
function view({ voters, learners = "", ...given }: Given): CheckView {
  const voting = health(voters, 1);
  const learning = health(learners, voting.length + 1).map((learner) => ({
    ...learner,
    lagEntries: 0,
    holdsNewestChange: true,
    hasSpace: true,
  }));
  const roster = rosterOf(voting.length);
  for (const { id } of learning)
    apply(roster, addMemberCommand(envelope(), newMember(Number(id), { learner: true })));
  for (const { id, started } of [...voting, ...learning]) if (started) apply(roster, publish(Number(id)));
  return {
    self: 1n,
    clusterId: CLUSTER_ID,
    roster,
    voters: voting,
    learners: learning,
    electionTicks: ELECTION_TICKS,
    heartbeatMs: HEARTBEAT_MS,
    leadingTicks: 1000,
    remainingTicks: 1000,
    waitedTicks: 0,
    urlAnswer: "not asked",
    ...given,
  };
}

function shown(result: CheckResult): string {
  switch (result.kind) {
    case "ok":
      return "ok";
    case "wait":
      return `wait ${result.ticks}`;
    case "ask url":
      return `ask ${result.url}`;
    case "refused":
      return result.error.refusal.reason;
  }
}

const messageOf = (result: CheckResult): string =>
  result.kind === "refused" ? result.error.message : shown(result);

const URL = "http://10.0.0.99:1";
const MOVE_2 = move({ id: 2n }, URL);
const MOVE_3 = move({ id: 3n }, URL);
const answers = (n: number, changed: Partial<Hello> = {}): Hello => ({
  name: `n${n}`,
  clusterId: CLUSTER_ID,
  memberId: BigInt(n),
  waitingToJoin: false,
  instanceId: Buffer.alloc(16, n),
  peerUrl: "http://10.0.0.2:7461",
  ...changed,
});
const waits = (n: number, peerUrl = URL): Hello => ({
  name: `n${n}`,
  clusterId: 0n,
  memberId: 0n,
  waitingToJoin: true,
  instanceId: Buffer.alloc(0),
  peerUrl,
});
const promote = (n: number): RosterCommand =>
  promoteMemberCommand(envelope(), { member: by({ id: BigInt(n) }) });
const change = (promoted: number[], demoted: number[], removed: number[]): RosterCommand => {
  const selectors = (ids: number[]) => ids.map((id) => by({ id: BigInt(id) }));
  const lists = {
    promote: selectors(promoted),
    demote: selectors(demoted),
    remove: selectors(removed),
  };
  return changeMembersCommand(envelope(), lists);
};
const replace = (n: number, sideBySide = false): RosterCommand =>
  replaceMemberCommand(envelope(), {
    member: by({ id: BigInt(n) }),
    peerUrl: "",
    replacement: newMember(9, { learner: true }),
    sideBySide,
  });

const takeover = (standby: number, voter: number): RosterCommand =>
  changeMembersCommand(envelope(), {
    promote: [by({ id: BigInt(standby) })],
    demote: [],
    remove: [],
    standBy: [by({ id: BigInt(voter) })],
  });

type Row = [what: string, command: RosterCommand, given: Given, expected: string];
const HEALTHY = "* 20 20";

describe("a voter's new peer URL", () => {
  test.each<Row>([
    ["is asked for", MOVE_2, { voters: HEALTHY }, `ask ${URL}`],
    ["passes when this very member answers there", MOVE_2, { voters: HEALTHY, urlAnswer: answers(2) }, "ok"],
    ["nobody answers", MOVE_2, { voters: HEALTHY, urlAnswer: "nobody" }, "UNHEALTHY_CLUSTER"],
    ["another member answers", MOVE_2, { voters: HEALTHY, urlAnswer: answers(3) }, "UNHEALTHY_CLUSTER"],
    [
      "its name with another id",
      MOVE_2,
      { voters: HEALTHY, urlAnswer: answers(2, { memberId: 7n }) },
      "UNHEALTHY_CLUSTER",
    ],
    [
      "another data directory",
      MOVE_2,
      { voters: HEALTHY, urlAnswer: answers(2, { instanceId: Buffer.alloc(16, 9) }) },
      "UNHEALTHY_CLUSTER",
    ],
    [
      "no data directory said",
      MOVE_2,
      { voters: HEALTHY, urlAnswer: answers(2, { instanceId: Buffer.alloc(0) }) },
      "UNHEALTHY_CLUSTER",
    ],
    [
      "another cluster",
      MOVE_2,
      { voters: HEALTHY, urlAnswer: answers(2, { clusterId: 5n }) },
      "UNHEALTHY_CLUSTER",
    ],
    ["one that waits to join", MOVE_2, { voters: HEALTHY, urlAnswer: waits(2) }, "UNHEALTHY_CLUSTER"],
    [
      "of five one may be lost, but not for a URL",
      MOVE_2,
      { voters: "* 20 20 20 20", urlAnswer: "nobody" },
      "UNHEALTHY_CLUSTER",
    ],
    [
      "one that comes back is not given up",
      MOVE_3,
      { voters: "* 20 3", urlAnswer: "nobody" },
      "UNHEALTHY_CLUSTER",
    ],
    ["of one that is away anyway", MOVE_3, { voters: "* 20 -", urlAnswer: "nobody" }, "ok"],
    [
      "of one that is away, the others in contact for too short",
      MOVE_3,
      { voters: "* 12 -", urlAnswer: "nobody" },
      "wait 8",
    ],
    ["of one that is away and answers there", MOVE_3, { voters: "* 1 -", urlAnswer: answers(3) }, "ok"],
    ["of one that never started", MOVE_3, { voters: "* 20 -?", urlAnswer: "nobody" }, "ok"],
    [
      "of one that never started, and is in contact",
      MOVE_3,
      { voters: "* 20 20?", urlAnswer: "nobody" },
      "ok",
    ],
    ["of one that waits there for the first time", MOVE_3, { voters: "* 1 -?", urlAnswer: waits(3) }, "ok"],
    [
      "the leader's own",
      move({ id: 1n }, URL),
      { voters: HEALTHY, urlAnswer: "nobody" },
      "UNHEALTHY_CLUSTER",
    ],
    [
      "the only voter's: the next one that joins must reach it",
      move({ id: 1n }, URL),
      { voters: "*", urlAnswer: "nobody" },
      "UNHEALTHY_CLUSTER",
    ],
    [
      "the only voter's, where it answers",
      move({ id: 1n }, URL),
      { voters: "*", urlAnswer: answers(1) },
      "ok",
    ],
    ["the same URL again", move({ id: 2n }, "http://10.0.0.2:7461"), { voters: HEALTHY }, "ok"],
    ["a learner's", move({ id: 4n }, URL), { voters: HEALTHY, learners: "20" }, "ok"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(checkChange(command, view(given)))).toBe(expected);
  });

  test("is refused with what answers there, what would be lost, and what to do first", () => {
    const refusedFor = (urlAnswer: CheckView["urlAnswer"]) =>
      messageOf(checkChange(MOVE_2, view({ voters: HEALTHY, urlAnswer })));
    expect(refusedFor("nobody")).toBe(
      `nobody answers at ${URL}, so the change would count as the loss of n2, and the cluster tolerates no failure ` +
        `then: start n2 with the peer URL ${URL} first, then try again`,
    );
    expect(refusedFor(answers(3))).toContain(`another member, n3 (3), answers at ${URL}`);
    const lost = checkChange(MOVE_2, view({ voters: "* 20 -", urlAnswer: "nobody" }));
    expect(messageOf(lost)).toContain("the cluster would have no quorum then");
    expect(lost).toMatchObject({
      error: { refusal: { metadata: { name: "n2", id: "2", peer_url: URL } }, retryDelayMs: 2000 },
    });
  });
});

describe("a standby that takes the place of a voter", () => {
  const takeover = changeMembersCommand(envelope(), {
    promote: [by({ id: 4n })],
    demote: [],
    remove: [],
    standBy: [by({ id: 3n })],
  });

  test.each<Row>([
    ["the voter is away", takeover, { voters: "* 20 -", learners: "20" }, "ok"],
    ["the voter is back", takeover, { voters: "* 20 0", learners: "20" }, "MEMBER_IN_CONTACT"],
    ["the standby is away", takeover, { voters: "* 20 -", learners: "-" }, "LEARNER_NOT_READY"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(checkChange(command, view(given)))).toBe(expected);
  });
});

describe("removals, the way out of most troubles", () => {
  test.each<Row>([
    ["the dead one of three", remove({ id: 3n }), { voters: "* 20 -" }, "ok"],
    ["a dead one, the others in contact for a tick", remove({ id: 3n }), { voters: "* 1 -" }, "ok"],
    ["a dead one of four, another dead", remove({ id: 3n }), { voters: "* 20 - 20 -" }, "ok"],
    ["one that never started", remove({ id: 3n }), { voters: "* 20 -?" }, "ok"],
    ["one that never started, another not published yet", remove({ id: 3n }), { voters: "* 20? -?" }, "ok"],
    [
      "a new leader does not know yet who is dead",
      remove({ id: 3n }),
      { voters: "* 1 -", leadingTicks: 2 },
      "wait 19",
    ],
    ["a healthy one while another is dead", remove({ id: 2n }), { voters: "* 20 -" }, "UNHEALTHY_CLUSTER"],
    [
      "a healthy one of three: it says itself that fewer may fail",
      remove({ id: 2n }),
      { voters: HEALTHY },
      "ok",
    ],
    ["a learner", remove({ id: 4n }), { voters: "* - -", learners: "-" }, "ok"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(checkChange(command, view(given)))).toBe(expected);
  });

  test("a refusal names the dead member to remove first; one that is only late is waited for", () => {
    const dead = checkChange(add(4), view({ voters: "* 20 -" }));
    expect(messageOf(dead)).toContain(
      "or remove the dead member (muster member remove n3) first, then try again",
    );
    expect(dead).toMatchObject({ error: { retryDelayMs: 2000 } });
    const late = checkChange(add(4), view({ voters: "* 20 12", remainingTicks: 3 }));
    expect(messageOf(late)).not.toContain("remove");
    expect(late).toMatchObject({ error: { retryDelayMs: 800 } });
  });
});

describe("additions", () => {
  test.each<Row>([
    ["a fourth voter", add(4), { voters: HEALTHY }, "ok"],
    ["a fourth while one is dead", add(4), { voters: "* 20 -" }, "UNHEALTHY_CLUSTER"],
    ["a third while the second is dead", add(3), { voters: "* -" }, "UNHEALTHY_CLUSTER"],
    ["a fifth while one of four is dead", add(5), { voters: "* 20 20 -" }, "ok"],
    ["a second voter asks who waits", add(2), { voters: "*" }, "ask http://10.0.0.2:7461"],
    ["a second voter that waits", add(2), { voters: "*", urlAnswer: waits(2, "http://10.0.0.2:7461") }, "ok"],
    [
      "a second voter configured elsewhere",
      add(2),
      { voters: "*", urlAnswer: waits(2, URL) },
      "UNHEALTHY_CLUSTER",
    ],
    [
      "a second voter that is a member already",
      add(2),
      { voters: "*", urlAnswer: answers(2) },
      "UNHEALTHY_CLUSTER",
    ],
    ["a learner", add(4, { learner: true }), { voters: "* - -" }, "ok"],
    ["promoting a healthy learner", promote(4), { voters: HEALTHY, learners: "20" }, "ok"],
    ["promoting one that is away", promote(4), { voters: HEALTHY, learners: "-" }, "LEARNER_NOT_READY"],
    [
      "promoting one that never started",
      promote(4),
      { voters: HEALTHY, learners: "20?" },
      "LEARNER_NOT_READY",
    ],
    ["promoting a voter", promote(2), { voters: "* - -" }, "ok"],
    ["promoting the second voter", promote(2), { voters: "*", learners: "20" }, "ok"],
    [
      "promoting a second voter that is away",
      promote(2),
      { voters: "*", learners: "-" },
      "LEARNER_NOT_READY",
    ],
    ["promoting one that just came", promote(2), { voters: "*", learners: "5" }, "wait 15"],
    [
      "promoting one that just came, by a caller without the time",
      promote(2),
      { voters: "*", learners: "5", remainingTicks: 15 },
      "LEARNER_NOT_READY",
    ],
    [
      "a new leader has heard nothing of it yet",
      promote(4),
      { voters: HEALTHY, learners: "-", leadingTicks: 3 },
      "wait 7",
    ],
    [
      "one that never started is refused by a new leader too",
      promote(4),
      { voters: HEALTHY, learners: "-?", leadingTicks: 3 },
      "LEARNER_NOT_READY",
    ],
    [
      "promoting without a healthy majority",
      promote(4),
      { voters: "* - -", learners: "20" },
      "UNHEALTHY_CLUSTER",
    ],
    ["promoting while a voter is dead", promote(4), { voters: "* 20 -", learners: "20" }, "ok"],
    ["all voters at once", change([4, 5, 6], [], [1, 2, 3]), { voters: HEALTHY, learners: "20 20 20" }, "ok"],
    [
      "a change with one that is not ready",
      change([4, 5], [], [2]),
      { voters: HEALTHY, learners: "20 -" },
      "LEARNER_NOT_READY",
    ],
    ["a ready one for a dead one", change([4], [], [3]), { voters: "* 20 -", learners: "20" }, "ok"],
    ["a ready one, the dead one demoted", change([4], [3], []), { voters: "* 20 -", learners: "20" }, "ok"],
    [
      "a healthy one leaves while one is dead",
      change([], [2], []),
      { voters: "* 20 -" },
      "UNHEALTHY_CLUSTER",
    ],
    ["one that just came would be the majority", change([], [], [2]), { voters: "* 20 5" }, "wait 15"],
    [
      "two more voters while one is dead",
      change([4, 5], [], []),
      { voters: "* 20 -", learners: "20 20" },
      "ok",
    ],
    ["removing learners only", change([], [], [4, 5]), { voters: "* - -", learners: "- -" }, "ok"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(checkChange(command, view(given)))).toBe(expected);
  });

  test("a joiner that is configured with another peer URL is refused with both", () => {
    const result = checkChange(add(2), view({ voters: "*", urlAnswer: waits(2, URL) }));
    expect(messageOf(result)).toContain(
      `n2 answers at http://10.0.0.2:7461, but its configuration says ${URL}`,
    );
    expect(result).toMatchObject({
      error: { refusal: { metadata: { peer_url: "http://10.0.0.2:7461", answered_peer_url: URL } } },
    });
  });
});

describe("a replacement", () => {
  test.each<Row>([
    ["of the dead one", replace(3), { voters: "* 20 -" }, "ok"],
    ["of one that never started", replace(3), { voters: "* 20 -?" }, "ok"],
    ["of a dead learner", replace(4), { voters: "* - -", learners: "-" }, "ok"],
    ["of one that is away, where the others are just enough", replace(3), { voters: "* 1 -" }, "ok"],
    ["of one of two that are away", replace(3), { voters: "* 20 - - 20" }, "ok"],
    ["of one of three that are away", replace(3), { voters: "* - - - 20" }, "UNHEALTHY_CLUSTER"],
    ["of the leader", replace(1), { voters: HEALTHY }, "MEMBER_IN_CONTACT"],
    ["of the only voter", replace(1), { voters: "*" }, "MEMBER_IN_CONTACT"],
    ["of one in contact", replace(2), { voters: HEALTHY }, "MEMBER_IN_CONTACT"],
    ["of one that just came", replace(2), { voters: "* 0 20" }, "MEMBER_IN_CONTACT"],
    ["of one in contact that never started", replace(2), { voters: "* 20? 20" }, "MEMBER_IN_CONTACT"],
    ["of a learner in contact", replace(4), { voters: HEALTHY, learners: "3" }, "MEMBER_IN_CONTACT"],
    [
      "by a leader that may not have heard it yet",
      replace(3),
      { voters: "* 20 -", leadingTicks: 4 },
      "wait 6",
    ],
    [
      "by such a leader, with too little time",
      replace(3),
      { voters: "* 20 -", leadingTicks: 4, remainingTicks: 6 },
      "MEMBER_IN_CONTACT",
    ],
    [
      "by a leader that has just heard it",
      replace(3),
      { voters: "* 20 0", leadingTicks: 4 },
      "MEMBER_IN_CONTACT",
    ],
    ["by a leader that would have heard it", replace(3), { voters: "* 20 -", leadingTicks: 10 }, "ok"],
    ["of a member that there is not", replace(7), { voters: HEALTHY }, "ok"],
    ["side by side, of one in contact", replace(2, true), { voters: HEALTHY }, "ok"],
    ["side by side, of the leader, others dead", replace(1, true), { voters: "* - -" }, "ok"],
    ["side by side, of a dead one", replace(3, true), { voters: "* 20 -", leadingTicks: 0 }, "ok"],
  ])("in place %s", (_what, command, given, expected) => {
    expect(shown(checkChange(command, view(given)))).toBe(expected);
  });

  test("MEMBER_IN_CONTACT names the member, what to do, and when to come back", () => {
    const result = checkChange(replace(2), view({ voters: HEALTHY }));
    expect(messageOf(result)).toContain("in contact with n2 (2)");
    expect(messageOf(result)).toContain("another name and peer URL");
    expect(result).toMatchObject({
      error: { retryDelayMs: 2000, refusal: { metadata: { id: "2", name: "n2" } } },
    });
  });

  test.each<Row>([
    ["a ready standby for a dead voter", takeover(4, 3), { voters: "* 20 -", learners: "20" }, "ok"],
    ["one that is not ready", takeover(4, 3), { voters: "* 20 -", learners: "-" }, "LEARNER_NOT_READY"],
    ["one of many", takeover(6, 3), { voters: "* - - - 20", learners: "20" }, "ok"],
    ["with too few left", takeover(6, 3), { voters: "* - - - -", learners: "20" }, "UNHEALTHY_CLUSTER"],
  ])("takeover: %s", (_what, command, given, expected) => {
    expect(shown(checkChange(command, view(given)))).toBe(expected);
  });
});

describe("waiting for time", () => {
  test.each<Row>([
    ["at the beginning", add(4), { voters: "* 20 12", waitedTicks: 0 }, "wait 8"],
    [
      "as long as five election timeouts are not over",
      add(4),
      { voters: "* 20 12", waitedTicks: 41 },
      "wait 8",
    ],
    ["no longer than that", add(4), { voters: "* 20 12", waitedTicks: 42 }, "UNHEALTHY_CLUSTER"],
    ["for a publish", add(4), { voters: "* 20? 20?", waitedTicks: 48 }, "wait 1"],
    ["not for ever", add(4), { voters: "* 20? 20?", waitedTicks: 49 }, "NOT_ENOUGH_STARTED_MEMBERS"],
    ["for one that publishes while another is dead", add(5), { voters: "* 20 - 20?" }, "wait 1"],
    ["not for a publish that would not help", add(4), { voters: "* - 20?" }, "NOT_ENOUGH_STARTED_MEMBERS"],
  ])("%s", (_what, command, given, expected) => {
    expect(shown(checkChange(command, view(given)))).toBe(expected);
  });

  test("who runs and has not published is named, with when to try again", () => {
    const result = checkChange(add(4), view({ voters: "* 20? 20?", waitedTicks: 50 }));
    expect(messageOf(result)).toContain("n2, n3 in contact, but not published yet");
    expect(result).toMatchObject({ error: { retryDelayMs: 2000 } });
  });
});

test("what the check does not concern passes", () => {
  const given = view({ voters: "* - -" });
  expect(shown(checkChange(publish(2), given))).toBe("ok");
  expect(shown(checkChange(remove({ name: "nobody" }), given))).toBe("ok");
});

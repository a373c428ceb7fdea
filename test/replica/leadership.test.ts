/** What counts as a change of leadership, of which kind it is, and which of them are worth a line. */
import { NO_NODE, Role } from "../../src/raft/index";
import { Leadership } from "../../src/replica/leadership";
import { ListLog } from "./support/list_log";

type State = Parameters<Leadership["notice"]>[0];

const SELF = 1n;
const state = (leader: bigint, term: number, role: Role): State => ({ leader, term, role, lastIndex: 9 });
const FOLLOWS_2 = state(2n, 5, Role.Follower);
const LEADS = state(SELF, 5, Role.Leader);

let log: ListLog;
let leadership: Leadership;
beforeEach(() => {
  log = new ListLog();
  leadership = new Leadership(SELF, log);
});

test("a member that starts knows no leader: hearing of none is no change", () => {
  expect(leadership.notice(state(NO_NODE, 0, Role.Follower))).toBeNull();
});

test.each<[string, State, State, { becameLeader: boolean; leaderChanged: boolean } | null]>([
  ["nothing", FOLLOWS_2, { ...FOLLOWS_2, lastIndex: 10 }, null],
  ["a new term", FOLLOWS_2, { ...FOLLOWS_2, term: 6 }, { becameLeader: false, leaderChanged: false }],
  [
    "the leader goes",
    FOLLOWS_2,
    state(NO_NODE, 5, Role.Follower),
    { becameLeader: false, leaderChanged: true },
  ],
  ["another leader", FOLLOWS_2, state(3n, 6, Role.Follower), { becameLeader: false, leaderChanged: true }],
  [
    "a candidacy",
    FOLLOWS_2,
    { ...FOLLOWS_2, role: Role.Candidate },
    { becameLeader: false, leaderChanged: false },
  ],
  ["this member leads", FOLLOWS_2, LEADS, { becameLeader: true, leaderChanged: true }],
  ["it leads on", LEADS, LEADS, null],
  ["it leads in a later term", LEADS, { ...LEADS, term: 7 }, { becameLeader: true, leaderChanged: false }],
  ["it steps down", LEADS, state(NO_NODE, 6, Role.Follower), { becameLeader: false, leaderChanged: true }],
])("%s", (_what, before, after, expected) => {
  leadership.notice(before);
  expect(leadership.notice(after)).toEqual(expected);
  expect(leadership.notice(after)).toBeNull();
});

test("each change of leader is one line; a new term or role alone is none", () => {
  leadership.notice(FOLLOWS_2);
  leadership.notice({ ...FOLLOWS_2, term: 6 });
  leadership.notice(state(NO_NODE, 6, Role.PreCandidate));
  leadership.notice(state(NO_NODE, 7, Role.Candidate));
  leadership.notice(state(SELF, 7, Role.Leader));
  expect(log.texts).toEqual(["info leader changed", "info no leader", "info this member leads"]);
  expect(log.lines.map(({ fields }) => fields)).toEqual([
    { leader: 2n, term: 5, index: 9 },
    { term: 6, index: 9 },
    { leader: SELF, term: 7, index: 9 },
  ]);
});

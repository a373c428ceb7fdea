/** Output for people and for programs. */
import {
  GetClusterResponse,
  GetMembersResponse,
  MemberEventKind,
  UpdateClusterSettingsResponse,
  WatchMembersResponse,
} from "../../src/generated/muster/v1/membership_service";
import { durationJson } from "../../src/cli/durations";
import { clusterText, jsonLine, memberTable, printable, renderTable } from "../../src/cli/output";
import { cluster, header, members, n1, n2, n4 } from "./support/samples";

test("columns are as wide as their widest cell, empty cells are dashes, lines end without spaces", () => {
  expect(
    renderTable(
      ["A", "LONG"],
      [
        ["wide cell", ""],
        ["", "x"],
      ],
    ),
  ).toBe(["A          LONG", "wide cell  -", "-          x", ""].join("\n"));
});

test("a table without rows is its header", () => {
  expect(renderTable(["A", "B"], [])).toBe("A  B\n");
});

test("member table", () => {
  expect(`\n${memberTable(members.members, "a1")}`).toBe(`
ID                NAME       ROLE     TARGET   STARTED  LEADER  PEER URL               ADMIN URL
a1                n1         voter    -        yes      yes     http://127.0.0.1:7461  http://127.0.0.1:7460
b2b2b2b2b2b2b2b2  rack-2.n2  voter    -        yes      no      http://127.0.0.1:7471  http://127.0.0.1:7470,http://10.0.0.2:7470
c3                n3         learner  standby  no       no      http://127.0.0.1:7481  -
`);
});

test("cluster as the leader reports it", () => {
  expect(`\n${clusterText(cluster)}`).toBe(`
cluster c0ffee: leader n1 (a1), term 4, revision 9007199254740993
quorum: 2 of 2 voters, 0 more may fail now
log: committed 20, applied 20, as n1 (a1) knows it

ID                NAME       ROLE     TARGET   STATE          MATCH  LAG  CONTACT  VERSION  PEER URL               ADMIN URL
a1                n1         voter    -        leader         20     0    -        0.1.0    http://127.0.0.1:7461  http://127.0.0.1:7460
b2b2b2b2b2b2b2b2  rack-2.n2  voter    -        ok             18     2    41 ms    0.1.0    http://127.0.0.1:7471  http://127.0.0.1:7470,http://10.0.0.2:7470
c3                n3         learner  standby  never started  0      20   -        -        http://127.0.0.1:7481  -
`);
});

test("who replaces whom, the version and the features of all, and settings that were changed", () => {
  const replacing = GetClusterResponse.create({
    ...cluster,
    members: [{ member: n1, isLeader: true }, { member: n2 }, { member: { ...n4, replaces: n2.id } }],
    clusterVersion: "0.3.0",
    features: ["target", "replace"],
    settings: { autoPromote: false, standbyTakeoverAfter: { seconds: 5400n, nanos: 0 } },
  });
  const lines = clusterText(replacing).split("\n");
  expect(lines.slice(3, 7)).toEqual([
    "version: all members know 0.3.0; features: target, replace",
    "settings: auto-promote false, standby-takeover-after 1h30m",
    "n4 replaces rack-2.n2 as soon as it is ready",
    "",
  ]);
  expect(lines.at(-2)?.split(/ {2,}/).slice(1, 4)).toEqual(["n4", "learner", "voter, replaces rack-2.n2"]);
  const table = memberTable([n1, { ...n4, replaces: "99" }], "a1");
  expect(table).toContain("voter, replaces 99");
});

test("settings as they are in a new cluster, and features of nobody, are not shown", () => {
  const zero = { seconds: 0n, nanos: 0 };
  const settings = { autoPromote: true, standbyTakeoverAfter: zero, removeUnstartedAfter: zero };
  expect(clusterText({ ...cluster, settings })).toBe(clusterText(cluster));
  const old = { ...cluster, clusterVersion: "0.2.0" };
  expect(clusterText(old)).toContain("\nversion: all members know 0.2.0; features: none\n");
});

test("cluster as a single member reports it: no leader, no state", () => {
  const alone = GetClusterResponse.create({
    header: { ...header, leaderId: "" },
    members: [{ member: n1, version: "0.1.0" }],
    quorumSize: 1,
  });
  expect(`\n${clusterText(alone)}`).toBe(`
cluster c0ffee: no leader, term 4, revision 9007199254740993
quorum: 1 of 1 voters, unknown how many more may fail now
log: committed 0, applied 0, as n1 (a1) knows it

ID  NAME  ROLE   TARGET  STATE    MATCH  LAG  CONTACT  VERSION  PEER URL               ADMIN URL
a1  n1    voter  -       unknown  -      -    -        0.1.0    http://127.0.0.1:7461  http://127.0.0.1:7460
`);
});

test.each([
  [{ isLeader: false, reachable: false }, "unreachable"],
  [{ isLeader: false, reachable: true }, "ok"],
  [{ isLeader: true, reachable: true }, "leader"],
  [{ member: { ...n1, started: false }, reachable: true }, "starting"],
])("state of %j", (fields, state) => {
  const one = GetClusterResponse.create({ header, members: [{ member: n1, ...fields }] });
  expect(clusterText(one).split("\n")[5]?.split(/ {2,}/)[4]).toBe(state);
});

test("json is proto3 JSON in one line: 64-bit numbers as strings, enums by name, durations in seconds", () => {
  expect(JSON.parse(jsonLine(GetMembersResponse, members))).toMatchObject({
    header: { revision: "9007199254740993", raftTerm: "4", leaderId: "a1" },
    members: [
      { role: "MEMBER_ROLE_VOTER", started: true, createRevision: "1" },
      {},
      { role: "MEMBER_ROLE_LEARNER" },
    ],
  });
  const line = jsonLine(GetClusterResponse, cluster);
  expect(line.indexOf("\n")).toBe(line.length - 1);
  expect(JSON.parse(line)).toMatchObject({
    members: [
      { isLeader: true, matchIndex: "20", lagEntries: "0", reachable: true },
      { lastContact: "0.040500s" },
      { reachable: false },
    ],
    quorumSize: 2,
    commitIndex: "20",
  });
});

test("durations are text wherever they are in a message", () => {
  const settings = {
    autoPromote: true,
    standbyTakeoverAfter: { seconds: 90n, nanos: 0 },
    removeUnstartedAfter: { seconds: 0n, nanos: 0 },
  };
  const json = { autoPromote: true, standbyTakeoverAfter: "90s", removeUnstartedAfter: "0s" };
  const response = UpdateClusterSettingsResponse.create({ header, settings });
  expect(JSON.parse(jsonLine(UpdateClusterSettingsResponse, response))).toMatchObject({ settings: json });
  const event = { revision: 7n, kind: MemberEventKind.SETTINGS, settings, previousSettings: settings };
  const time = { seconds: 1n, nanos: 0 };
  const message = WatchMembersResponse.fromPartial({
    part: { $case: "events", value: { events: [{ ...event, time }] } },
  });
  expect(JSON.parse(jsonLine(WatchMembersResponse, message))).toEqual({
    events: {
      events: [
        {
          revision: "7",
          kind: "MEMBER_EVENT_KIND_SETTINGS",
          settings: json,
          previousSettings: json,
          time: "1970-01-01T00:00:01.000Z",
        },
      ],
    },
  });
});

test.each([
  [{ seconds: 0n, nanos: 0 }, "0s"],
  [{ seconds: 3n, nanos: 0 }, "3s"],
  [{ seconds: 1n, nanos: 500_000_000 }, "1.500s"],
  [{ seconds: 1n, nanos: 1000 }, "1.000001s"],
  [{ seconds: 0n, nanos: 1 }, "0.000000001s"],
  [{ seconds: -1n, nanos: -20_000_000 }, "-1.020s"],
  [{ seconds: 0n, nanos: -20_000_000 }, "-0.020s"],
])("duration %# as JSON is %s", (duration, text) => {
  expect(durationJson(duration)).toBe(text);
});

test("a roster can't send escape sequences or line breaks to a terminal", () => {
  expect(printable("a\u001b[31mred\r\n\u2028\u0000\ud800z")).toBe("a?[31mred?????z");
  expect(memberTable([{ ...n1, name: "\u001b[2J" }], "")).toContain("?[2J");
});

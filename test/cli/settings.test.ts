/** `muster settings` and `muster settings set`. */
import { status } from "@grpc/grpc-js";
import { UpdateClusterSettingsResponse } from "../../src/generated/muster/v1/membership_service";
import type { ClusterSettings } from "../../src/generated/muster/v1/membership_service";
import { Consistency } from "../../src/client";
import { durationText, parseDuration } from "../../src/cli/durations";
import { ScriptedServer, refusal } from "../client/support/scripted_server";
import { muster } from "./support/harness";
import type { Outcome } from "./support/harness";
import { cluster, header } from "./support/samples";

let server: ScriptedServer;
beforeEach(async () => {
  server = await ScriptedServer.start();
});
afterEach(() => {
  server.stop();
});

const run = (...words: string[]): Promise<Outcome> =>
  muster(["settings", "--endpoints", server.endpoint, ...words]);
const settings: ClusterSettings = {
  autoPromote: true,
  standbyTakeoverAfter: { seconds: 600n, nanos: 0 },
  removeUnstartedAfter: { seconds: 0n, nanos: 0 },
};
const TABLE = `SETTING                 VALUE  DEFAULT  MEANING
auto-promote            true   true     the leader makes voters of learners that are ready
standby-takeover-after  10m    0        after so long out of contact a voter's place is taken by a standby; 0: never
remove-unstarted-after  0      0        after so long without a start an added member is removed; 0: never
`;

test("shows them, in both formats as after a change", async () => {
  server.on("getCluster", { respond: { ...cluster, settings } });
  expect(await run()).toEqual({ code: 0, out: TABLE, err: "" });
  const { out } = await run("--output", "json", "--serializable");
  expect(JSON.parse(out)).toEqual({
    header: expect.objectContaining({ revision: "9007199254740993" }) as unknown,
    settings: { autoPromote: true, standbyTakeoverAfter: "600s", removeUnstartedAfter: "0s" },
  });
  expect(server.seen("getCluster", "consistency")).toEqual([
    Consistency.LINEARIZABLE,
    Consistency.SERIALIZABLE,
  ]);
});

test("a member of an older version has none", async () => {
  server.on("getCluster", { respond: cluster });
  const err = "muster: the member that answered runs a version without settings\n";
  expect(await run()).toEqual({ code: 1, out: "", err });
});

test.each([
  ["auto-promote", "false", { autoPromote: false }],
  ["standby-takeover-after", "10m", { standbyTakeoverAfter: { seconds: 600n, nanos: 0 } }],
  ["remove-unstarted-after", "0", { removeUnstartedAfter: { seconds: 0n, nanos: 0 } }],
])("set %s %s sends that one alone", async (key, value, sent) => {
  const respond = UpdateClusterSettingsResponse.create({ header, settings });
  server.on("updateClusterSettings", { respond });
  const { code, out, err } = await run("set", key, value, "--note", "why");
  expect([code, err]).toEqual([0, ""]);
  expect(out).toBe(`set ${key} ${value} at revision 9007199254740993\n\n${TABLE}`);
  const nothing = {
    autoPromote: undefined,
    standbyTakeoverAfter: undefined,
    removeUnstartedAfter: undefined,
  };
  expect(server.calls[0]?.request).toMatchObject({ ...nothing, ...sent, note: "why", validateOnly: false });
});

test("a dry run, and json", async () => {
  const respond = UpdateClusterSettingsResponse.create({ header, settings });
  server.on("updateClusterSettings", { respond });
  expect((await run("set", "auto-promote", "true", "--dry-run")).out).toBe(
    "dry run: auto-promote true can be set; nothing was changed\n",
  );
  const { out } = await run("set", "auto-promote", "true", "--output", "json");
  expect(JSON.parse(out)).toMatchObject({ settings: { standbyTakeoverAfter: "600s" } });
  expect(server.seen("updateClusterSettings", "validateOnly")).toEqual([true, false]);
});

test("a refusal is printed with its fields", async () => {
  const violations = [{ field: "standby_takeover_after", description: "must be 0, or from 1 s to 365 days" }];
  const fail = refusal({
    code: status.INVALID_ARGUMENT,
    reason: "INVALID_REQUEST",
    message: "bad",
    violations,
  });
  server.on("updateClusterSettings", { fail });
  const { code, err } = await run("set", "standby-takeover-after", "5ms");
  expect(code).toBe(1);
  expect(err).toContain("standby_takeover_after: must be 0, or from 1 s to 365 days");
});

test.each([
  [["set", "auto-promote", "yes"], 'bad value "yes": want true or false'],
  [["set", "standby-takeover-after", "10"], 'bad value "10": want a time such as 30s'],
  [["set", "standby-takeover-after", "10m foo"], 'bad value "10m foo"'],
  [["set", "standby-takeover-after", ""], 'bad value ""'],
  [["set", "auto-promote"], "missing required argument 'value'"],
  [
    ["set", "leader", "n1"],
    "Allowed choices are auto-promote, standby-takeover-after, remove-unstarted-after",
  ],
  [["sit"], "too many arguments"],
])("%j is exit code 2", async (words, text) => {
  const { code, err } = await run(...words);
  expect([code, server.calls]).toEqual([2, []]);
  expect(err).toContain(text);
});

test.each([
  ["0", 0n, 0, "0"],
  ["30s", 30n, 0, "30s"],
  ["90s", 90n, 0, "1m30s"],
  ["1h30m", 5400n, 0, "1h30m"],
  ["2d", 172_800n, 0, "2d"],
  ["1500ms", 1n, 500_000_000, "1s500ms"],
])("the time %s", (text, seconds, nanos, shown) => {
  expect(parseDuration(text)).toEqual({ seconds, nanos });
  expect(durationText({ seconds, nanos })).toBe(shown);
});

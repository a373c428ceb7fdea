/** `muster member add --wait`: what it says while it waits, and with which code it ends. */
import { status } from "@grpc/grpc-js";
import { MemberRole } from "../../src/client";
import { GetClusterResponse } from "../../src/generated/muster/v1/membership_service";
import type { MemberStatus } from "../../src/generated/muster/v1/member";
import { ScriptedServer, refusal } from "../client/support/scripted_server";
import { muster } from "./support/harness";
import type { Outcome } from "./support/harness";
import { added, header, n1, n4 } from "./support/samples";

let server: ScriptedServer;
beforeEach(async () => {
  server = await ScriptedServer.start();
  server.on("addMember", { respond: added });
});
afterEach(() => {
  server.stop();
});

const wait = (...words: string[]): Promise<Outcome> =>
  muster([
    ...["member", "add", "n4", "--peer-url", "http://127.0.0.1:7491", "--wait"],
    ...["--endpoints", server.endpoint, ...words],
  ]);

/** The cluster with n4 in this state; null: without it. */
function look(state: Partial<MemberStatus> | null) {
  const others = [{ member: n1, isLeader: true, reachable: true }];
  const members = state === null ? others : [...others, { member: n4, ...state }];
  return { respond: GetClusterResponse.create({ header, members, commitIndex: 900n }) };
}
const started = { ...n4, started: true };

test("says what is missing, each thing once, and ends when the member votes", async () => {
  server.on(
    "getCluster",
    look({ reachable: false }),
    look({ reachable: false }),
    look({ reachable: true }),
    look({ member: started, reachable: true, lagEntries: 800n }),
    { fail: refusal({ code: status.UNAVAILABLE, reason: "NO_LEADER", message: "nobody leads" }) },
    look({ member: started, reachable: true, lagEntries: 0n }),
    look({ member: { ...started, role: MemberRole.VOTER } }),
  );
  const { code, out, err } = await wait("--timeout", "60s");
  expect(code).toBe(0);
  expect(out).toMatch(/^added member n4 \(d4\)/);
  expect(out).toMatch(/\nn4 \(d4\) is a voter now\n$/);
  const lines = err.split("\n").filter((line) => !line.includes("NO_LEADER"));
  expect(lines).toEqual([
    "muster: waiting for n4: it has not started: start it now",
    "muster: waiting for n4: it is starting",
    "muster: waiting for n4: its log is 800 of 900 entries behind",
    "muster: waiting for n4: its log is complete; it votes when it has been in contact for two election timeouts",
    "",
  ]);
});

test("with --output json the output is the response of AddMember alone", async () => {
  server.on("getCluster", look({ member: { ...started, role: MemberRole.VOTER } }));
  const { code, out } = await wait("--output", "json");
  expect(code).toBe(0);
  expect(out.split("\n")).toHaveLength(2);
  expect(JSON.parse(out)).toMatchObject({ member: { name: "n4", target: "MEMBER_TARGET_VOTER" } });
});

test("the time passes: code 3, and the member becomes a voter without the command", async () => {
  server.on("getCluster", look({ member: started, reachable: false }));
  const { code, err } = await wait("--timeout", "5s");
  expect(code).toBe(3);
  expect(err).toContain("waiting for n4: the leader is not in contact with it\n");
  expect(err).toMatch(
    /muster: n4 is added, and no voter yet; it becomes one by itself, see `muster cluster`\n$/,
  );
});

test("a member that is removed meanwhile: code 1", async () => {
  server.on("getCluster", look({ reachable: false }), look(null));
  const { code, err } = await wait();
  expect(code).toBe(1);
  expect(err).toMatch(/muster: n4 was removed meanwhile\n$/);
});

test("a dry run does not wait", async () => {
  expect((await wait("--dry-run")).code).toBe(0);
  expect(server.calls.map(({ rpc }) => rpc)).toEqual(["addMember"]);
});

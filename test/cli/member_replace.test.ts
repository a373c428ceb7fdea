/** `muster member replace`: the request, what it prints, and how long it waits. */
import { MemberRole, MemberTarget } from "../../src/client";
import { GetClusterResponse, ReplaceMemberResponse } from "../../src/generated/muster/v1/membership_service";
import type { Member, MemberStatus } from "../../src/generated/muster/v1/member";
import { ScriptedServer } from "../client/support/scripted_server";
import { muster } from "./support/harness";
import type { Outcome } from "./support/harness";
import { header, n1, n2, n3, n4 } from "./support/samples";

let server: ScriptedServer;
beforeEach(async () => {
  server = await ScriptedServer.start();
});
afterEach(() => {
  server.stop();
});

const run = (...words: string[]): Promise<Outcome> =>
  muster(["member", "replace", "--endpoints", server.endpoint, ...words]);

const taking = (old: Member, fields: Partial<Member> = {}): Member => ({
  ...n4,
  replaces: old.id,
  ...fields,
});
const beside = (old: Member): ReplaceMemberResponse =>
  ReplaceMemberResponse.create({ header, member: taking(old), members: [n1, n2, n3, taking(old)] });
const NEW = ["n4", "--peer-url", "http://127.0.0.1:7491"];

/** Each look finds n4 in one of these states, with the others. */
function looks(...states: [Partial<MemberStatus>, ...Member[]][]): void {
  server.on(
    "getCluster",
    ...states.map(([state, ...others]) => ({
      respond: GetClusterResponse.create({
        header,
        members: [...others.map((member) => ({ member })), { member: n4, reachable: true, ...state }],
        commitIndex: 900n,
      }),
    })),
  );
}

test("beside the old one: who takes whose place, and how to start it", async () => {
  server.on("replaceMember", { respond: beside(n1) });
  const { code, out, err } = await run("n1", ...NEW, "--admin-url", "http://a:1", "--note", "old disk");
  expect([code, err]).toEqual([0, ""]);
  expect(server.calls[0]?.request).toMatchObject({
    name: "n1",
    id: "",
    newName: "n4",
    peerUrl: "http://127.0.0.1:7491",
    adminUrl: "http://a:1",
    note: "old disk",
    validateOnly: false,
  });
  expect(out).toMatch(
    /^added member n4 \(d4\) at revision 9007199254740993; it takes the place of n1 \(a1\) as soon as it is ready\n\nID/,
  );
  expect(out).toContain("voter, replaces n1");
  expect(out).toContain("  muster server --name n4 --peer-url http://127.0.0.1:7491 \\\n");
});

test("in place, by id", async () => {
  const member = { ...n1, id: "e5", role: MemberRole.LEARNER, target: MemberTarget.VOTER, started: false };
  server.on("replaceMember", {
    respond: ReplaceMemberResponse.create({ header, member, members: [n2, member] }),
  });
  const { code, out } = await run("id:a1");
  expect(code).toBe(0);
  expect(server.calls[0]?.request).toMatchObject({ name: "", id: "a1", newName: "", peerUrl: "" });
  expect(out).toMatch(/^replaced member n1 at revision 9007199254740993; its id is e5 now\n\nID/);
  expect(out).toContain("with an empty data directory");
});

test("--output json is the response", async () => {
  server.on("replaceMember", { respond: beside(n1) });
  const { out } = await run("n1", ...NEW, "--output", "json");
  expect(JSON.parse(out)).toMatchObject({ member: { name: "n4", replaces: "a1" } });
  expect(out.split("\n")).toHaveLength(2);
});

test("a new name without a URL is a mistake of the command line", async () => {
  const { code, err } = await run("n1", "n4");
  expect(code).toBe(2);
  expect(err).toContain("muster: give the --peer-url of n4; without it only n1 itself can be made anew");
  server.on("replaceMember", { respond: beside(n1) });
  expect((await run("n1", "n1")).code).toBe(0);
});

describe("--wait", () => {
  test("of a voter ends when the new one votes", async () => {
    server.on("replaceMember", { respond: beside(n1) });
    const started = taking(n1, { started: true });
    looks(
      [{ reachable: false }, n1],
      [{ member: started, lagEntries: 7n }, n1],
      [{ member: started, lagEntries: 0n }, n1],
      [{ member: { ...started, role: MemberRole.VOTER, replaces: "" } }],
    );
    const { code, out, err } = await run("n1", ...NEW, "--wait");
    expect(code).toBe(0);
    expect(out).toMatch(/\n\nn4 \(d4\) is a voter now\n$/);
    expect(err.split("\n")).toEqual([
      "muster: waiting for n4: it has not started: start it now",
      "muster: waiting for n4: its log is 7 of 900 entries behind",
      "muster: waiting for n4: its log is complete; it votes when it has been in contact for two election timeouts",
      "",
    ]);
  });

  test("of a learner ends when the old one is gone", async () => {
    server.on("replaceMember", { respond: beside(n3) });
    const started = taking(n3, { started: true });
    looks([{ member: started, lagEntries: 0n }, n3], [{ member: { ...started, replaces: "" } }]);
    const { code, out, err } = await run("n3", ...NEW, "--wait");
    expect(code).toBe(0);
    expect(out).toMatch(/\n\nn4 \(d4\) has taken the place of n3\n$/);
    expect(err).toBe(
      "muster: waiting for n4: its log is complete; it takes the place of n3 when it has been in contact for two election timeouts\n",
    );
  });

  test("in place waits for the vote, and not at all for what stays a learner", async () => {
    const member = { ...n4, id: "e5", name: "n1" };
    server.on("replaceMember", {
      respond: ReplaceMemberResponse.create({ header, member, members: [member] }),
    });
    const respond = GetClusterResponse.create({
      header,
      members: [{ member: { ...member, role: MemberRole.VOTER } }],
    });
    server.on("getCluster", { respond });
    expect((await run("n1", "--wait")).out).toMatch(/\nn1 \(e5\) is a voter now\n$/);
    const standby = { ...member, target: MemberTarget.STANDBY };
    server.on("replaceMember", { respond: ReplaceMemberResponse.create({ header, member: standby }) });
    expect((await run("n1", "--wait")).code).toBe(0);
    expect(server.calls.filter(({ rpc }) => rpc === "getCluster")).toHaveLength(1);
  });

  test("says what is so when its time is over, and when the new one was removed", async () => {
    server.on("replaceMember", { respond: beside(n1) });
    looks([{ reachable: false }, n1]);
    const late = await run("n1", ...NEW, "--wait", "--timeout", "5s");
    expect(late.code).toBe(3);
    expect(late.err).toMatch(
      /\nmuster: n4 is added, and has not taken the place of n1 yet; it does so by itself, see `muster cluster`\n$/,
    );
    server.on("getCluster", { respond: GetClusterResponse.create({ header, members: [{ member: n1 }] }) });
    expect(await run("n1", ...NEW, "--wait")).toMatchObject({
      code: 1,
      err: "muster: n4 was removed meanwhile\n",
    });
  });

  test("tells that nothing happens by itself where auto-promote is off", async () => {
    const member = { ...n4, id: "e5", name: "n1", started: true };
    server.on("replaceMember", {
      respond: ReplaceMemberResponse.create({ header, member, members: [member] }),
    });
    const cluster = GetClusterResponse.create({
      header,
      members: [{ member, reachable: true, lagEntries: 0n }],
    });
    const settings = { autoPromote: false, standbyTakeoverAfter: undefined, removeUnstartedAfter: undefined };
    server.on("getCluster", { respond: { ...cluster, settings } });
    const { err } = await run("n1", "--wait", "--timeout", "5s");
    expect(err).toMatch(
      /auto-promote is off, so it votes after `muster member promote n1`\nmuster: n1 is added, and no voter yet; auto-promote is off, see `muster cluster`\n$/,
    );
  });
});

/** The command against a real gRPC server with scripted answers: requests, output and exit codes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { parseTimeout } from "../../src/cli/options";
import { Consistency, MemberTarget } from "../../src/client";
import {
  ChangeMembersResponse,
  DeleteMemberResponse,
  PromoteMemberResponse,
  UpdateAdminURLResponse,
  UpdateMemberResponse,
} from "../../src/generated/muster/v1/membership_service";
import { refusal, ScriptedServer } from "../client/support/scripted_server";
import type { Refusal, Step } from "../client/support/scripted_server";
import { muster } from "./support/harness";
import type { Outcome } from "./support/harness";
import { added, cluster, header, members, n2 } from "./support/samples";

let server: ScriptedServer;

beforeEach(async () => {
  server = await ScriptedServer.start();
});

afterEach(() => {
  server.stop();
});

const run = (...words: string[]): Promise<Outcome> => muster(["--endpoints", server.endpoint, ...words]);
const fail = (init: Refusal): { fail: ReturnType<typeof refusal> } => ({ fail: refusal(init) });

describe("member list", () => {
  test("prints the members and which member answered", async () => {
    server.on("getMembers", { respond: members });
    const { code, out, err } = await run("member", "list");
    expect([code, err]).toEqual([0, ""]);
    expect(`\n${out}`).toBe(`
ID                NAME       ROLE     TARGET   STARTED  LEADER  PEER URL               ADMIN URL
a1                n1         voter    -        yes      yes     http://127.0.0.1:7461  http://127.0.0.1:7460
b2b2b2b2b2b2b2b2  rack-2.n2  voter    -        yes      no      http://127.0.0.1:7471  http://127.0.0.1:7470,http://10.0.0.2:7470
c3                n3         learner  standby  no       no      http://127.0.0.1:7481  -

revision 9007199254740993, answered by n1 (a1)
`);
    expect(server.seen("getMembers", "consistency")).toEqual([Consistency.LINEARIZABLE]);
  });

  test("--output json prints the response in one line, also when the option follows the command", async () => {
    server.on("getMembers", { respond: members });
    const { code, out } = await muster([
      "member",
      "list",
      "--output",
      "json",
      "--endpoints",
      `http://${server.endpoint}`,
    ]);
    expect(code).toBe(0);
    expect(out.split("\n")).toHaveLength(2);
    expect(JSON.parse(out)).toMatchObject({
      header: { revision: "9007199254740993" },
      members: [{}, {}, {}],
    });
  });

  test("--serializable asks for the local state of one member", async () => {
    server.on("getMembers", { respond: members });
    expect((await run("member", "list", "--serializable")).code).toBe(0);
    expect(server.seen("getMembers", "consistency")).toEqual([Consistency.SERIALIZABLE]);
  });
});

describe("without a quorum", () => {
  const causes: [string, Refusal][] = [
    ["NO_QUORUM", { code: status.UNAVAILABLE, reason: "NO_QUORUM", message: "not confirmed" }],
    ["NO_LEADER", { code: status.UNAVAILABLE, reason: "NO_LEADER", message: "nobody leads" }],
    ["NOT_PROPOSED", { code: status.DEADLINE_EXCEEDED, reason: "NOT_PROPOSED", message: "too late" }],
    ["UNAVAILABLE", { code: status.UNAVAILABLE, message: "of a reachable member" }],
  ];
  test.each(causes)(
    "%s: list and cluster fall back to the local state of one member, and say so",
    async (label, init) => {
      const unlessSerializable = (
        respond: object,
      ): { decide: (request: Readonly<Record<string, unknown>>) => Step } => ({
        decide: (request) => (request["consistency"] === Consistency.SERIALIZABLE ? { respond } : fail(init)),
      });
      server.on("getMembers", unlessSerializable(members)).on("getCluster", unlessSerializable(cluster));
      for (const words of [["member", "list"], ["cluster"]]) {
        const { code, out, err } = await run(...words);
        // A list is an answer; a cluster without a leader that a quorum confirms is not well.
        expect([code, out.includes("rack-2.n2")]).toEqual([words[0] === "cluster" ? 3 : 0, true]);
        expect(err).toMatch(/^muster: note: no quorum confirmed this answer \(.*may be old\n$/);
        expect(err).toContain(`${label}: `);
      }
    },
  );

  test("the first failure is reported when the fallback fails too", async () => {
    server.on(
      "getMembers",
      fail({ code: status.UNAVAILABLE, reason: "NO_QUORUM", message: "not confirmed" }),
    );
    const { code, out, err } = await run("member", "list");
    expect([code, out]).toEqual([3, ""]);
    expect(err).toMatch(/^muster: NO_QUORUM: not confirmed\n {2}check that a majority/);
  });

  test("a refusal does not cause a fallback", async () => {
    server.on("getMembers", fail({ code: status.PERMISSION_DENIED, message: "no" }));
    expect((await run("member", "list")).code).toBe(1);
    expect(server.calls).toHaveLength(1);
  });
});

test("cluster --output json writes durations as proto3 JSON does", async () => {
  server.on("getCluster", { respond: cluster });
  const { code, out } = await run("cluster", "--output", "json");
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ members: [{}, { lastContact: "0.040500s" }, {}] });
});

describe("writes", () => {
  test("member add sends every option and says how to start the member", async () => {
    server.on("addMember", { respond: added });
    const words = "member add n4 --peer-url http://127.0.0.1:7491 --admin-url http://127.0.0.1:7490".split(
      " ",
    );
    const { code, out, err } = await run(
      ...words,
      "--request-id",
      "r1",
      "--expected-revision",
      "18446744073709551615",
      "--note",
      "more room",
    );
    expect([code, err]).toEqual([0, ""]);
    expect(server.calls[0]?.request).toEqual({
      note: "more room",
      name: "n4",
      peerUrl: "http://127.0.0.1:7491",
      adminUrl: "http://127.0.0.1:7490",
      requestId: "r1",
      expectedRevision: 2n ** 64n - 1n,
      validateOnly: false,
      target: MemberTarget.VOTER,
    });
    expect(`\n${out}`).toBe(`
added member n4 (d4) at revision 9007199254740993

ID  NAME  ROLE     TARGET  STARTED  LEADER  PEER URL               ADMIN URL
a1  n1    voter    -       yes      yes     http://127.0.0.1:7461  http://127.0.0.1:7460
d4  n4    learner  voter   no       no      http://127.0.0.1:7491  -

start it, with an empty data directory and the admin URL of your choice:
  muster server --name n4 --peer-url http://127.0.0.1:7491 \\
    --admin-url URL --data-dir n4.data \\
    --initial-cluster-state existing --initial-cluster n1=http://127.0.0.1:7461,n4=http://127.0.0.1:7491
`);
  });

  test("--dry-run changes nothing and says so", async () => {
    server.on("addMember", { respond: added });
    const { code, out } = await run(
      "member",
      "add",
      "n4",
      "--peer-url",
      "http://127.0.0.1:7491",
      "--dry-run",
    );
    expect([code, out]).toEqual([0, "dry run: member n4 can be added; nothing was changed\n"]);
    expect(server.seen("addMember", "validateOnly")).toEqual([true]);
  });

  test("member update by name, by id, and of admin URLs", async () => {
    server
      .on("updateMember", { respond: UpdateMemberResponse.create({ header, member: n2, members: [n2] }) })
      .on("updateAdminUrl", { respond: UpdateAdminURLResponse.create({ header, member: n2 }) });
    const byName = await run("member", "update", "rack-2.n2", "--peer-url", "http://127.0.0.1:1");
    expect(byName.code).toBe(0);
    expect(byName.out).toMatch(
      /^updated member rack-2\.n2 \(b2b2b2b2b2b2b2b2\) at revision 9007199254740993\n\nID /,
    );
    expect((await run("member", "update", "--id", "b2", "--peer-url", "http://127.0.0.1:1")).code).toBe(0);
    expect((await run("member", "update", "n2", "--admin-url", "http://a:1, http://b:2")).code).toBe(0);
    expect(server.calls.map(({ rpc, request }) => [rpc, request["name"], request["id"]])).toEqual([
      ["updateMember", "rack-2.n2", ""],
      ["updateMember", "", "b2"],
      ["updateAdminUrl", "n2", ""],
    ]);
    expect(server.calls[2]?.request["adminUrls"]).toEqual(["http://a:1", "http://b:2"]);
  });

  test("member remove", async () => {
    server.on("deleteMember", { respond: DeleteMemberResponse.create({ header, member: n2, members: [] }) });
    const { code, out } = await run("member", "remove", "--id", "b2", "--peer-url", "http://127.0.0.1:7471");
    expect(code).toBe(0);
    expect(out).toMatch(/^removed member rack-2\.n2 /);
    expect(server.calls[0]?.request).toMatchObject({ name: "", id: "b2", peerUrl: "http://127.0.0.1:7471" });
  });

  test("member promote, by name and by id", async () => {
    const respond = PromoteMemberResponse.create({ header, member: n2, members: [n2] });
    server.on("promoteMember", { respond });
    const { code, out } = await run("member", "promote", "rack-2.n2", "--request-id", "p");
    expect(code).toBe(0);
    expect(out).toMatch(
      /^promoted member rack-2\.n2 \(b2b2b2b2b2b2b2b2\) at revision 9007199254740993\n\nID /,
    );
    const dry = await run("member", "promote", "--id", "b2", "--dry-run");
    expect(dry.out).toBe("dry run: member rack-2.n2 can be promoted; nothing was changed\n");
    expect(
      server.calls.map(({ request }) => [request["name"], request["id"], request["validateOnly"]]),
    ).toEqual([
      ["rack-2.n2", "", false],
      ["", "b2", true],
    ]);
  });

  test("members change names members by name and by id", async () => {
    const respond = ChangeMembersResponse.create({ header, members: [n2] });
    server.on("changeMembers", { respond });
    const words = ["--promote", "n4, n5", "--demote", "n1", "--remove", "id:b2"];
    const { code, out } = await run("members", "change", ...words);
    expect(code).toBe(0);
    expect(out).toMatch(/^changed the members at revision 9007199254740993\n\nID /);
    expect(server.calls[0]?.request).toMatchObject({
      promote: [
        { name: "n4", id: "" },
        { name: "n5", id: "" },
      ],
      demote: [{ name: "n1", id: "" }],
      remove: [{ name: "", id: "b2" }],
      validateOnly: false,
    });
    const dry = await run("members", "change", "--remove", "n1", "--dry-run");
    expect(dry.out).toBe("dry run: the members can be changed; nothing was changed\n");
    const json = await run("members", "change", "--remove", "n1", "--output", "json");
    expect(JSON.parse(json.out)).toMatchObject({ members: [{ name: "rack-2.n2" }] });
  });

  test.each([
    ["learner", MemberTarget.LEARNER],
    ["standby", MemberTarget.STANDBY],
  ])("member add --target %s", async (name, target) => {
    server.on("addMember", { respond: added });
    expect((await run("member", "add", "n4", "--peer-url", "http://a:1", "--target", name)).code).toBe(0);
    expect(server.seen("addMember", "target")).toEqual([target]);
  });

  test("json of each write is its response", async () => {
    server
      .on("addMember", { respond: added })
      .on("promoteMember", { respond: PromoteMemberResponse.create({ header, member: n2 }) })
      .on("updateMember", { respond: UpdateMemberResponse.create({ header, member: n2 }) })
      .on("updateAdminUrl", { respond: UpdateAdminURLResponse.create({ header, member: n2 }) })
      .on("deleteMember", { respond: DeleteMemberResponse.create({ header, member: n2 }) });
    for (const words of [
      ["add", "n4", "--peer-url", "http://a:1"],
      ["update", "n2", "--peer-url", "http://a:1"],
      ["update", "n2", "--admin-url", "http://a:1"],
      ["promote", "n2"],
      ["remove", "n2"],
    ]) {
      const { out } = await run("member", ...words, "--output", "json");
      expect(JSON.parse(out)).toMatchObject({ header: { revision: "9007199254740993" }, member: {} });
      expect(out.split("\n")).toHaveLength(2);
    }
  });
});

describe("failures", () => {
  const add = ["member", "add", "n4", "--peer-url", "http://a:1"];

  test("a refusal is one line, the fields, and a hint; exit code 1", async () => {
    server.on(
      "addMember",
      fail({ code: status.ALREADY_EXISTS, reason: "MEMBER_NAME_EXISTS", message: "n4 is taken" }),
    );
    expect(await run(...add)).toEqual({
      code: 1,
      out: "",
      err: "muster: MEMBER_NAME_EXISTS: n4 is taken\n  `muster member list` shows the names in use\n",
    });
  });

  test("field violations", async () => {
    const violations = [
      { field: "name", description: "too long" },
      { field: "peer_url", description: "has a\nline break" },
    ];
    server.on(
      "addMember",
      fail({ code: status.INVALID_ARGUMENT, reason: "INVALID_REQUEST", message: "bad", violations }),
    );
    const { code, err } = await run(...add);
    expect(code).toBe(1);
    expect(err).toBe("muster: INVALID_REQUEST: bad\n  name: too long\n  peer_url: has a?line break\n");
  });

  test("a retry delay is printed in whole seconds", async () => {
    const retryDelay = { seconds: 1n, nanos: 1 };
    server.on(
      "addMember",
      fail({ code: status.FAILED_PRECONDITION, reason: "UNHEALTHY_CLUSTER", retryDelay }),
    );
    expect((await run(...add)).err).toMatch(/`muster cluster` shows them \(in 2 s\)\n$/);
  });

  test("an unknown outcome says how to repeat the command; exit code 3", async () => {
    server.on(
      "addMember",
      fail({ code: status.DEADLINE_EXCEEDED, reason: "OUTCOME_UNKNOWN", message: "undecided" }),
    );
    const { code, err } = await run(...add, "--request-id", "mine");
    expect(code).toBe(3);
    expect(err).toBe(
      "muster: OUTCOME_UNKNOWN: undecided\n  the change may have been made; repeat the command with --request-id mine\n",
    );
  });

  test.each(["NO_SUCH_REASON", "constructor"])("an unknown reason %s gets no hint", async (reason) => {
    server.on("addMember", fail({ code: status.FAILED_PRECONDITION, reason, message: "text" }));
    expect(await run(...add)).toEqual({ code: 1, out: "", err: `muster: ${reason}: text\n` });
  });

  test("no member listens at the endpoint: exit code 3, at once", async () => {
    const { endpoint } = server;
    server.stop();
    const { code, err } = await muster(["member", "list", "--endpoints", endpoint]);
    expect(code).toBe(3);
    expect(err).toMatch(
      /^muster: UNAVAILABLE: no connection to 127\.0\.0\.1:\d+: connect ECONNREFUSED [0-9.:]+\n {2}no member answers there/,
    );
  });

  test("an error without details of the service is printed by its status", async () => {
    const { code, err } = await run(...add);
    expect(code).toBe(1);
    expect(err).toMatch(/^muster: UNIMPLEMENTED: 127\.0\.0\.1:\d+: no script for addMember\n$/);
  });
});

describe("usage", () => {
  test.each([
    [[], "Usage: muster"],
    [["frobnicate"], "unknown command 'frobnicate'"],
    [["member"], "Usage: muster member"],
    [["member", "add", "n4"], "required option '--peer-url <url>' not specified"],
    [["member", "add", "--peer-url", "http://a:1"], "missing required argument 'name'"],
    [["member", "list", "extra"], "too many arguments"],
    [["member", "remove"], "name the member"],
    [["member", "promote"], "name the member"],
    [["members", "change"], "give --promote, --demote or --remove"],
    [
      ["member", "add", "n4", "--peer-url", "http://a:1", "--target", "king"],
      "Allowed choices are voter, learner",
    ],
    [
      ["member", "add", "n4", "--peer-url", "http://a:1", "--target", "standby", "--wait"],
      "a standby does not",
    ],
    [["member", "update", "n1"], "one of --peer-url and --admin-url"],
    [["member", "update", "n1", "--peer-url", "a", "--admin-url", "b"], "one of --peer-url and --admin-url"],
    [["member", "list", "--output", "yaml"], "Allowed choices are table, json"],
    [["member", "list", "--endpoints", "n1"], '--endpoints: bad endpoint "n1"'],
    [["member", "list", "--endpoints", ","], "--endpoints: at least one endpoint"],
    [["member", "list", "--timeout", "0"], "Want more than 0"],
    [["member", "list", "--timeout", "5m"], "Want more than 0"],
    [["member", "list", "--timeout", "100000000"], "at most a day"],
    [["member", "remove", "n1", "--expected-revision", "0"], "whole number above 0"],
    [["member", "remove", "n1", "--expected-revision", "18446744073709551616"], "whole number above 0"],
    [["member", "remove", "n1", "--expected-revision", "-1"], "whole number above 0"],
    [["dev", "--nodes", "8"], "whole number from 1 to 7"],
    [["dev", "--base-port", "80"], "whole number from 1024"],
    [["dev", "--output", "json"], "--output has no meaning for `muster dev`"],
    [["server", "--timeout", "5"], "--timeout has no meaning for `muster server`"],
  ])("%j is exit code 2", async (words, text) => {
    const { code, out, err } = await muster(words);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toContain(text);
    expect(err).not.toMatch(/^error:/m);
  });

  test("an error names the variable that is wrong", async () => {
    const { code, err } = await muster(["cluster"], { MUSTER_ENDPOINTS: "n1" });
    expect(code).toBe(2);
    expect(err).toContain('muster: MUSTER_ENDPOINTS: bad endpoint "n1"');
  });

  test("MUSTER_ENDPOINTS gives the endpoints, --endpoints overrides it, several are tried in turn", async () => {
    server.on("getMembers", { respond: members });
    const { endpoint } = server;
    expect((await muster(["member", "list"], { MUSTER_ENDPOINTS: endpoint })).code).toBe(0);
    expect((await muster(["member", "list", "--endpoints", endpoint], { MUSTER_ENDPOINTS: "n1" })).code).toBe(
      0,
    );
    const dead = await ScriptedServer.start();
    dead.stop();
    expect(
      (await muster(["member", "list"], { MUSTER_ENDPOINTS: `${dead.endpoint}, ${endpoint}` })).code,
    ).toBe(0);
    expect(server.calls).toHaveLength(3);
  });

  test.each([
    ["5", 5000],
    ["5s", 5000],
    ["0.5", 500],
    ["500ms", 500],
    ["86400", 86_400_000],
  ])("--timeout %s is %i ms", (text, ms) => {
    expect(parseTimeout(text)).toBe(ms);
  });

  test("help and version are exit code 0", async () => {
    const help = await muster(["member", "add", "--help"]);
    expect([help.code, help.err]).toEqual([0, ""]);
    expect(help.out).toContain("--peer-url <url>");
    expect(help.out).toContain("--endpoints <list>");
    expect(await muster(["help", "member"])).toMatchObject({ code: 0, err: "" });
    const { version } = JSON.parse(readFileSync(join(__dirname, "../../package.json"), "utf8")) as {
      version: string;
    };
    expect(await muster(["--version"])).toEqual({ code: 0, out: `${version}\n`, err: "" });
  });
});

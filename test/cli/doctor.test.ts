/** `muster doctor` and `muster cluster` without a leader, against servers with scripted answers. */
import { status } from "@grpc/grpc-js";
import { Consistency } from "../../src/client";
import { GetClusterResponse } from "../../src/generated/muster/v1/membership_service";
import { ScriptedServer, refusal } from "../client/support/scripted_server";
import { muster } from "./support/harness";
import { cluster, header, n1, n2 } from "./support/samples";

let server: ScriptedServer;
let lonely: GetClusterResponse;

beforeEach(async () => {
  server = await ScriptedServer.start();
  lonely = GetClusterResponse.create({
    header: { ...header, leaderId: "" },
    members: [
      { member: { ...n1, adminUrls: [`http://${server.endpoint}`] } },
      { member: { ...n2, adminUrls: [] }, lastHeard: { seconds: 12n, nanos: 0 } },
    ],
    quorumSize: 2,
  });
  const fail = refusal({ code: status.UNAVAILABLE, reason: "NO_LEADER", message: "nobody leads" });
  server.on("getCluster", {
    decide: ({ consistency }) => (consistency === Consistency.SERIALIZABLE ? { respond: lonely } : { fail }),
  });
});
afterEach(() => server.stop());

test("doctor without a quorum: exit code 3, who hears whom, and what to do", async () => {
  const { code, out } = await muster(["doctor", "--endpoints", server.endpoint]);
  expect(code).toBe(3);
  expect(out).toContain(
    "no quorum: cluster c0ffee\nleader: none that a quorum confirms\nsurvives now: unknown",
  );
  expect(out).toMatch(/n1 +\. +12\.0 s\n/);
  expect(out).toContain("what to do next:\n  1. start the voters");
});

test("doctor --output json is one object", async () => {
  const { code, out } = await muster(["doctor", "--output", "json", "--endpoints", server.endpoint]);
  expect(code).toBe(3);
  expect(out.split("\n")).toHaveLength(2);
  expect(JSON.parse(out)).toMatchObject({
    verdict: "no quorum",
    survives: null,
    findings: [{ code: "NO_QUORUM" }, { code: "DOWN" }, {}],
  });
});

test("doctor of a cluster that lacks a voter: exit code 1", async () => {
  server.on("getCluster", { respond: cluster });
  const { code, out } = await muster(["doctor", "--endpoints", server.endpoint, "--timeout", "2s"]);
  expect(code).toBe(1);
  expect(out).toMatch(/^degraded: cluster c0ffee\nleader: n1\n/);
});

test("doctor when nobody answers: exit code 3", async () => {
  server.stop();
  const { code, out } = await muster(["doctor", "--endpoints", server.endpoint]);
  expect([code, out.split("\n")[0]]).toEqual([3, "no answer"]);
});

test("doctor with a wrong endpoint: exit code 2", async () => {
  expect((await muster(["doctor", "--endpoints", "nowhere"])).code).toBe(2);
});

test.each([[["cluster"]], [["cluster", "--serializable"]]])(
  "%j without a leader: exit code 3, and what each member says",
  async (words) => {
    const { code, out } = await muster([...words, "--endpoints", server.endpoint]);
    expect(code).toBe(3);
    expect(out).toContain("unknown how many more may fail now");
    expect(out).toContain("what each member says:");
    expect(out).toMatch(/n1 +\. +12\.0 s\n/);
  },
);

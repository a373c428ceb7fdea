/** `muster leader transfer`: what it asks for, what it prints, and with which code it ends. */
import { status } from "@grpc/grpc-js";
import { TransferLeadershipResponse } from "../../src/generated/muster/v1/membership_service";
import { ScriptedServer, refusal } from "../client/support/scripted_server";
import { muster } from "./support/harness";
import { header, n2 } from "./support/samples";

let server: ScriptedServer;
beforeEach(async () => {
  server = await ScriptedServer.start();
});
afterEach(() => server.stop());

const response = TransferLeadershipResponse.create({ header, leader: n2 });

test("prints who leads", async () => {
  server.on("transferLeadership", { respond: response });
  const { code, out, err } = await muster([
    "leader",
    "transfer",
    "rack-2.n2",
    "--endpoints",
    server.endpoint,
  ]);
  expect([code, out, err]).toEqual([0, "rack-2.n2 (b2b2b2b2b2b2b2b2) leads, in term 4\n", ""]);
  expect(server.seen("transferLeadership", "name")).toEqual(["rack-2.n2"]);
});

test("--output json is the response", async () => {
  server.on("transferLeadership", { respond: response });
  const words = ["leader", "transfer", "--output", "json", "--endpoints", server.endpoint];
  const { code, out } = await muster(words);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ leader: { name: "rack-2.n2" } });
});

test("a transfer that failed is a refusal: exit code 1, with what to do", async () => {
  const fail = refusal({ code: status.FAILED_PRECONDITION, reason: "TRANSFER_FAILED", message: "not taken" });
  server.on("transferLeadership", { fail });
  const { code, err } = await muster(["leader", "transfer", "n2", "--endpoints", server.endpoint]);
  expect([code, err]).toEqual([
    1,
    "muster: TRANSFER_FAILED: not taken\n  `muster cluster` shows who leads, and which voters are in contact\n",
  ]);
});

test("a lost call that named nobody is not repeated: it may have happened", async () => {
  server.on("transferLeadership", { fail: refusal({ code: status.UNAVAILABLE, message: "lost" }) });
  const { code, err } = await muster(["leader", "transfer", "--endpoints", server.endpoint]);
  expect(code).toBe(3);
  expect(err).toContain("OUTCOME_UNKNOWN");
  expect(server.calls).toHaveLength(1);
});

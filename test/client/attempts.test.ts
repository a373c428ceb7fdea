/** What an attempt says of those before it, and which refusals end a call whose earlier attempt may have been made. */
import { status } from "@grpc/grpc-js";
import { Caller } from "../../src/client/caller";
import type { CallPlan } from "../../src/client/caller";
import { MusterError, fromStatus } from "../../src/client/errors";
import { MusterClient } from "../../src/client/index";
import {
  AddMemberRequest,
  AddMemberResponse,
  MembershipServiceService,
} from "../../src/generated/muster/v1/membership_service";
import { encodeDetails } from "../../src/rpc/error_details";
import { FakeClock } from "./support/fake_clock";
import { ScriptedChannel } from "./support/scripted_channel";
import type { Step } from "./support/scripted_channel";

const { addMember } = MembershipServiceService;
const REQUEST = AddMemberRequest.create({ name: "n4", peerUrl: "http://a:1", requestId: "r-1" });
const WRITE: CallPlan = { timeoutMs: 7000, signal: undefined, requestId: "r-1", changes: true };
const READ: CallPlan = { ...WRITE, requestId: undefined, changes: false };

function refused(code: status, reason: string): Step {
  const detailBytes = encodeDetails({ code, message: reason, reason, metadata: {}, retryDelayMs: null });
  return { fail: fromStatus({ code, details: reason, detailBytes }, "n:1", "r-1", true) };
}

function broken(sent: boolean): Step {
  const received = { code: status.UNAVAILABLE, details: "lost", detailBytes: undefined };
  return { fail: fromStatus(received, "n:1", "r-1", sent) };
}

const UNKNOWN = refused(status.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN");
const NO_LEADER = refused(status.UNAVAILABLE, "NO_LEADER");
const DONE: Step = { respond: AddMemberResponse.create() };

async function run(plan: CallPlan, ...steps: Step[]) {
  const channel = new ScriptedChannel("a:1", ...steps);
  const deps = { channels: [channel], clock: new FakeClock(), random: () => 1, waitForConnection: true };
  const error = await new Caller(deps).call(addMember, REQUEST, plan).then(
    () => null,
    (thrown: unknown) => thrown as MusterError,
  );
  return { numbers: channel.attempts.map(({ attempt }) => attempt.number), error };
}

test.each<[string, CallPlan, Step[], number[]]>([
  ["the first", WRITE, [DONE], [1]],
  ["those after one that was lost", WRITE, [broken(true), NO_LEADER, DONE], [1, 2, 3]],
  ["those after an unknown one", WRITE, [UNKNOWN, DONE], [1, 2]],
  ["not those after one that changed nothing", WRITE, [broken(false), NO_LEADER, DONE], [1, 1, 1]],
  ["the first of a call that repeats another", { ...WRITE, repeats: true }, [NO_LEADER, DONE], [2, 3]],
  ["not those of a call that changes nothing", READ, [broken(true), DONE], [1, 1]],
])("attempts are numbered: %s", async (_what, plan, steps, expected) => {
  expect(await run(plan, ...steps)).toEqual({ numbers: expected, error: null });
});

describe("after an attempt that may have been made", () => {
  test.each<[string, Step, string]>([
    ["the leader's refusal", refused(status.FAILED_PRECONDITION, "UNHEALTHY_CLUSTER"), "UNHEALTHY_CLUSTER"],
    ["a refusal of a newer version", refused(status.FAILED_PRECONDITION, "NEWER"), "NEWER"],
    ["a malformed request", refused(status.INVALID_ARGUMENT, "INVALID_REQUEST"), "INVALID_REQUEST"],
    ["a full disk", refused(status.RESOURCE_EXHAUSTED, "DISK_FULL"), "OUTCOME_UNKNOWN"],
    ["a member that must not forward", refused(status.FAILED_PRECONDITION, "NOT_LEADER"), "OUTCOME_UNKNOWN"],
    ["an unexpected failure", refused(status.INTERNAL, "INTERNAL"), "OUTCOME_UNKNOWN"],
    [
      "an error of the library",
      { fail: new MusterError({ code: status.RESOURCE_EXHAUSTED, message: "" }) },
      "OUTCOME_UNKNOWN",
    ],
  ])("%s ends the call", async (_what, step, reason) => {
    const { error } = await run(WRITE, broken(true), step);
    expect(error?.reason).toBe(reason);
    expect(error?.requestId ?? "r-1").toBe("r-1");
    // Alone it is what it is.
    const alone = await run(WRITE, step);
    if ("fail" in step) expect(alone.error).toBe(step.fail);
  });
});

test("a caller can say that a call repeats another one", async () => {
  const client = new MusterClient({ endpoints: ["127.0.0.1:1"] });
  const call = jest.spyOn(Caller.prototype, "call").mockResolvedValue({});
  try {
    await client.addMember({ name: "n4", peerUrl: "http://a:1", requestId: "r" }, { repeats: true });
    await client.addMember({ name: "n4", peerUrl: "http://a:1" });
    expect(call.mock.calls.map(([, , plan]) => plan.repeats)).toEqual([true, false]);
  } finally {
    call.mockRestore();
    client.close();
  }
});

/** Endpoints side by side: a dead one does not use up a call's time, and nothing of a write is sent twice. */
import { status } from "@grpc/grpc-js";
import { MusterError } from "../../src/client";
import type { Clock } from "../../src/client";
import type { Attempt, Readiness } from "../../src/client/attempt";
import { Caller } from "../../src/client/caller";
import type { CallPlan } from "../../src/client/caller";
import { MembershipServiceService } from "../../src/generated/muster/v1/membership_service";
import { FakeClock } from "./support/fake_clock";
import { ScriptedChannel } from "./support/scripted_channel";
import type { Step } from "./support/scripted_channel";

const { getMembers, deleteMember } = MembershipServiceService;
const READ: CallPlan = { timeoutMs: 1000, signal: undefined, requestId: undefined, changes: false };
const WRITE: CallPlan = { ...READ, requestId: "r", changes: true };
const request = {
  name: "n2",
  id: "",
  peerUrl: "",
  requestId: "r",
  expectedRevision: 0n,
  validateOnly: false,
  note: "",
};
const ok: Step = { respond: { members: [], quorumSteps: [] } };

/** Sleeps last until the next turn of the event loop, or until they are aborted. */
const turns: Clock = {
  now: () => 0,
  sleep: () => new Promise((resolve) => setImmediate(resolve)),
};

class ConnectingChannel extends ScriptedChannel {
  constructor(
    authority: string,
    private readonly readiness: Readiness | "never",
    ...steps: Step[]
  ) {
    super(authority, ...steps);
  }

  ready({ signal }: Attempt): Promise<Readiness> {
    if (this.readiness !== "never") return Promise.resolve(this.readiness);
    return new Promise((resolve) => signal?.addEventListener("abort", () => resolve("failed")));
  }
}

function caller(channels: readonly ScriptedChannel[], hedgeReadsMs: number | null = null): Caller {
  const clock = new FakeClock();
  return new Caller({
    channels,
    clock,
    attemptClock: turns,
    random: () => 1,
    waitForConnection: false,
    hedgeReadsMs,
  });
}

test("a write goes to the first endpoint that is connected, once; two dead ones are left out", async () => {
  const dead = ["a:1", "b:1"].map((authority) => new ConnectingChannel(authority, "never", ok));
  const live = new ConnectingChannel("c:1", "connected", ok);
  await caller([...dead, live]).call(deleteMember, request, WRITE);
  expect([...dead, live].map(({ attempts }) => attempts.length)).toEqual([0, 0, 1]);
});

test("when none can be connected, each says why", async () => {
  const late = new MusterError({ code: status.UNAVAILABLE, message: "a:1: late", sent: false });
  const failure = new MusterError({ code: status.UNAVAILABLE, message: "b:1: refused", sent: false });
  const channels = [
    new ConnectingChannel("a:1", late),
    new ConnectingChannel("b:1", "failed", { fail: failure }),
  ];
  const error = caller(channels).call(getMembers, { consistency: 1 }, READ);
  await expect(error).rejects.toMatchObject({ message: "a:1: late; b:1: refused", sent: false });
});

/** Answers only when the attempt is aborted. */
class HangingChannel extends ConnectingChannel {
  constructor(authority: string) {
    super(authority, "connected");
  }

  override unary(_method: unknown, _request: unknown, attempt: Attempt): Promise<never> {
    this.attempts.push({ path: "", request: Buffer.alloc(0), attempt });
    return new Promise((_resolve, reject) => {
      attempt.signal?.addEventListener("abort", () =>
        reject(new MusterError({ code: status.CANCELLED, message: "cancelled" })),
      );
    });
  }
}

test("a read that hangs is made at the next endpoint too, and the first answer counts", async () => {
  const hanging = new HangingChannel("a:1");
  const live = new ConnectingChannel("b:1", "connected", ok);
  await caller([hanging, live], 250).call(getMembers, { consistency: 1 }, READ);
  expect([hanging.attempts.length, live.attempts.length]).toEqual([1, 1]);
  expect(hanging.attempts[0]?.attempt.signal?.aborted).toBe(true);
});

test("a refusal for good ends the read, whichever endpoint it comes from", async () => {
  const refusal = new MusterError({ code: status.PERMISSION_DENIED, message: "no" });
  const channels = [new HangingChannel("a:1"), new ConnectingChannel("b:1", "connected", { fail: refusal })];
  await expect(caller(channels, 250).call(getMembers, { consistency: 1 }, READ)).rejects.toBe(refusal);
});

test("a write is never made side by side", async () => {
  const slow = new ConnectingChannel("a:1", "connected", ok);
  const other = new ConnectingChannel("b:1", "connected", ok);
  await caller([slow, other], 250).call(deleteMember, request, WRITE);
  expect([slow.attempts.length, other.attempts.length]).toEqual([1, 0]);
});

/** The retry logic over channels without a network: which member gets which attempt, and how a call ends. */
import { status } from "@grpc/grpc-js";
import { Caller } from "../../src/client/caller";
import type { CallerDeps, CallPlan } from "../../src/client/caller";
import { fromStatus, MusterError } from "../../src/client/errors";
import { ownErrors, receiveSnapshot } from "../../src/client/snapshot";
import type { ReceivedSnapshot, SnapshotSink } from "../../src/client/snapshot";
import {
  MaintenanceServiceService,
  SaveSnapshotResponse,
} from "../../src/generated/muster/v1/maintenance_service";
import {
  AddMemberRequest,
  AddMemberResponse,
  GetMembersRequest,
  GetMembersResponse,
  MembershipServiceService,
} from "../../src/generated/muster/v1/membership_service";
import { encodeDetails } from "../../src/rpc/error_details";
import { FakeClock } from "./support/fake_clock";
import { ScriptedChannel } from "./support/scripted_channel";
import type { Step } from "./support/scripted_channel";

const { addMember, getMembers } = MembershipServiceService;

const READ: CallPlan = { timeoutMs: 7000, signal: undefined, requestId: undefined, changes: false };
const WRITE: CallPlan = { timeoutMs: 7000, signal: undefined, requestId: "r-1", changes: true };
const REQUEST = AddMemberRequest.create({ name: "n4", peerUrl: "http://a:1", requestId: "r-1" });
const ADDED = AddMemberResponse.create({ header: { revision: 12n }, member: { id: "ab", name: "n4" } });

/** A refusal by the service, decoded from bytes as a channel decodes it. */
function refused(code: status, reason: string, retryDelayMs: number | null = null): Step {
  const message = `refused: ${reason}`;
  const detailBytes = encodeDetails({ code, message, reason, metadata: {}, retryDelayMs });
  return { fail: fromStatus({ code, details: message, detailBytes }, "n:1", "r-1", true) };
}

const NO_LEADER = refused(status.UNAVAILABLE, "NO_LEADER");

function broken(authority: string, sent: boolean): Step {
  const received = { code: status.UNAVAILABLE, details: "connection lost", detailBytes: undefined };
  return { fail: fromStatus(received, authority, "r-1", sent) };
}

function caller(channels: readonly ScriptedChannel[], deps: Partial<CallerDeps> = {}): Caller {
  return new Caller({ channels, clock: new FakeClock(), random: () => 1, waitForConnection: true, ...deps });
}

async function failure(call: Promise<unknown>): Promise<MusterError> {
  const error = await call.then(
    () => new Error("the call succeeded"),
    (thrown: unknown) => thrown,
  );
  if (error instanceof MusterError) return error;
  throw error;
}

test("a method is named by its path, and its messages are encoded by it", async () => {
  const channel = new ScriptedChannel("a:1", { respond: ADDED });
  await expect(caller([channel]).call(addMember, REQUEST, WRITE)).resolves.toEqual(ADDED);
  const [made] = channel.attempts;
  expect(made?.path).toBe("/muster.v1.MembershipService/AddMember");
  expect(AddMemberRequest.decode(made?.request ?? Buffer.alloc(0))).toEqual(REQUEST);
  expect(made?.attempt).toMatchObject({ timeoutMs: 7000, requestId: "r-1" });
});

test("real time and real chance are not used", async () => {
  const spies = [
    jest.spyOn(Date, "now"),
    jest.spyOn(performance, "now"),
    jest.spyOn(Math, "random"),
    jest.spyOn(globalThis, "setTimeout"),
  ];
  const channel = new ScriptedChannel("a:1", NO_LEADER, broken("a:1", true), { respond: ADDED });
  const clock = new FakeClock();
  await caller([channel], { clock, random: () => 0 }).call(addMember, REQUEST, WRITE);
  for (const spy of spies) expect(spy).not.toHaveBeenCalled();
  expect(clock.sleeps).toEqual([25, 50]);
  for (const spy of spies) spy.mockRestore();
});

test("the time of a call is divided among the endpoints, and each round starts where the call started", async () => {
  const clock = new FakeClock();
  const slow = (step: Step): Step => ({
    decide: (attempt) => {
      void clock.sleep(attempt.timeoutMs / 10);
      return step;
    },
  });
  const channels = ["a:1", "b:1"].map((authority) => new ScriptedChannel(authority, slow(NO_LEADER)));
  const made = caller(channels, { clock });
  expect(await failure(made.call(getMembers, GetMembersRequest.create(), READ))).toMatchObject({
    reason: "NO_LEADER",
  });
  const [first, second] = channels.map(({ attempts }) => attempts.map(({ attempt }) => attempt.timeoutMs));
  expect(first?.slice(0, 2)).toEqual([3500, 2967.5]);
  expect(second?.slice(0, 2)).toEqual([6650, 5638.25]);
  expect(clock.now()).toBeLessThanOrEqual(7000);
});

test("the next call starts at the member that answered last, also when its answer was a refusal", async () => {
  const notFound = refused(status.NOT_FOUND, "MEMBER_NOT_FOUND");
  const first = new ScriptedChannel("a:1", broken("a:1", false));
  const second = new ScriptedChannel("b:1", notFound, { respond: ADDED });
  const made = caller([first, second]);
  expect((await failure(made.call(addMember, REQUEST, WRITE))).reason).toBe("MEMBER_NOT_FOUND");
  await made.call(addMember, REQUEST, WRITE);
  expect([first.attempts.length, second.attempts.length]).toEqual([1, 2]);
});

test("a write that may have happened ends as OUTCOME_UNKNOWN, and the last answer is named", async () => {
  const channels = [new ScriptedChannel("a:1", broken("a:1", true)), new ScriptedChannel("b:1", NO_LEADER)];
  expect(await failure(caller(channels).call(addMember, REQUEST, WRITE))).toMatchObject({
    code: status.DEADLINE_EXCEEDED,
    reason: "OUTCOME_UNKNOWN",
    requestId: "r-1",
    message: expect.stringContaining("refused: NO_LEADER") as unknown,
  });
});

test("without a reason of the service the failure of each endpoint is listed", async () => {
  const channels = ["a:1", "b:1"].map(
    (authority) => new ScriptedChannel(authority, broken(authority, false)),
  );
  const error = await failure(caller(channels, { waitForConnection: false }).call(addMember, REQUEST, WRITE));
  expect(error.message).toBe("no connection to a:1: connection lost; no connection to b:1: connection lost");
  expect(error).toMatchObject({ code: status.UNAVAILABLE, sent: false, requestId: "r-1", endpoint: "b:1" });
});

test("a retry delay of the server is kept", async () => {
  const busy = refused(status.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS", 300);
  const channels = [new ScriptedChannel("a:1", busy), new ScriptedChannel("b:1", { respond: ADDED })];
  const clock = new FakeClock();
  await caller(channels, { clock }).call(addMember, REQUEST, WRITE);
  expect(clock.sleeps).toEqual([300]);
});

test.each([[new Error("no such field")], ["a text"]])("%p is a fault and ends the call", async (fault) => {
  const channel = new ScriptedChannel("a:1", { fail: fault });
  const error = await failure(caller([channel]).call(addMember, REQUEST, WRITE));
  expect(error).toMatchObject({ code: status.INTERNAL, sent: false, cause: fault });
  expect(channel.attempts).toHaveLength(1);
});

test("a request that can't be encoded is not repeated", async () => {
  const channel = new ScriptedChannel("a:1", { respond: ADDED });
  const request = AddMemberRequest.create({ ...REQUEST, expectedRevision: -1n });
  const error = await failure(caller([channel]).call(addMember, request, WRITE));
  expect(error).toMatchObject({
    code: status.INTERNAL,
    message: expect.stringContaining("expectedRevision") as unknown,
  });
});

test("the caller's signal reaches the attempt, and no further attempt is made", async () => {
  const abort = new AbortController();
  const channel = new ScriptedChannel("a:1", {
    decide: (attempt) => {
      abort.abort();
      expect(attempt.signal?.aborted).toBe(true);
      return broken("a:1", true);
    },
  });
  const error = await failure(caller([channel]).call(addMember, REQUEST, { ...WRITE, signal: abort.signal }));
  expect(error).toMatchObject({ code: status.CANCELLED, message: "the caller cancelled the call" });
  expect(channel.attempts).toHaveLength(1);
});

test("close() closes the channels and ends calls in flight", async () => {
  const channel = new ScriptedChannel("a:1", {
    decide: () => {
      made.close();
      return NO_LEADER;
    },
  });
  const made = caller([channel]);
  const error = await failure(made.call(getMembers, GetMembersRequest.create(), READ));
  expect(error).toMatchObject({ code: status.CANCELLED, message: "the client is closed" });
  expect(channel.closed).toBe(true);
});

test("a call without endpoints fails", async () => {
  expect(await failure(caller([]).call(addMember, REQUEST, WRITE))).toMatchObject({ code: status.INTERNAL });
});

test("a read succeeds at the second endpoint", async () => {
  const response = GetMembersResponse.create({ members: [{ id: "1" }] });
  const channels = [new ScriptedChannel("a:1", NO_LEADER), new ScriptedChannel("b:1", { respond: response })];
  const read = caller(channels).call(getMembers, GetMembersRequest.create(), READ);
  await expect(read).resolves.toEqual(response);
});

describe("a snapshot", () => {
  const part = (value: SaveSnapshotResponse["part"]): SaveSnapshotResponse => ({ part: value });
  const chunk = (text: string): SaveSnapshotResponse => part({ $case: "chunk", value: Buffer.from(text) });
  const header = SaveSnapshotResponse.fromPartial({ part: { $case: "header", value: { sizeBytes: 4n } } });
  const trailer = part({ $case: "trailer", value: { sha256: Buffer.from("sum") } });
  const whole = [header, chunk("ab"), chunk("cd"), trailer];

  class TextSink implements SnapshotSink {
    text = "";
    begun = 0;
    constructor(private readonly fault?: Error) {}
    begin(): void {
      this.begun++;
      this.text = "";
    }
    async write(bytes: Uint8Array): Promise<void> {
      if (this.fault !== undefined) throw this.fault;
      this.text += Buffer.from(bytes).toString();
    }
  }

  const save = (sink: SnapshotSink, channels: readonly ScriptedChannel[]): Promise<ReceivedSnapshot> =>
    ownErrors(sink, (guarded) =>
      caller(channels).run((channel, attempt) => {
        const messages = channel.serverStream(
          MaintenanceServiceService.saveSnapshot,
          { serializable: false },
          attempt,
        );
        return receiveSnapshot(messages, guarded, channel.authority);
      }, READ),
    );

  test("starts over at the next endpoint when one fails halfway", async () => {
    const sink = new TextSink();
    const failing = new ScriptedChannel("a:1", { stream: whole.slice(0, 2), ...broken("a:1", true) });
    const { sha256 } = await save(sink, [failing, new ScriptedChannel("b:1", { stream: whole })]);
    expect(Buffer.from(sha256).toString()).toBe("sum");
    expect([sink.text, sink.begun]).toEqual(["abcd", 2]);
  });

  test("ends the stream and rejects with the sink's own error when the sink fails", async () => {
    const full = new Error("no space left");
    const channel = new ScriptedChannel("a:1", { stream: whole });
    await expect(save(new TextSink(full), [channel])).rejects.toBe(full);
    expect([channel.streamsEnded, channel.attempts.length]).toEqual([1, 1]);
  });

  test.each([
    ["ended after 4 of 4 bytes", whole.slice(0, 3)],
    ["ended after 2 of 4 bytes", [header, chunk("ab"), trailer]],
    ["has no beginning", whole.slice(1)],
    ["begins twice", [header, ...whole]],
    ["something follows its end", [...whole, chunk("e")]],
    ["has a part that this client does not know", [header, part(undefined)]],
  ])("that is not whole is refused: %s", async (why, stream) => {
    const channel = new ScriptedChannel("a:1", { stream });
    const error = await failure(save(new TextSink(), [channel]));
    expect(error).toMatchObject({ code: status.DATA_LOSS, endpoint: "a:1" });
    expect(error.message).toContain(why);
    expect(channel.streamsEnded).toBe(1);
  });
});

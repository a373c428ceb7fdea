/** SaveSnapshot over a backend that decides nothing: the file in parts, few at once, and how it ends. */
import { createHash } from "node:crypto";
import { CALL_CANCELLED } from "../../src/base/call";
import { silentLog } from "../../src/base/log";
import type { LogFields } from "../../src/base/log";
import { VERSION } from "../../src/base/version";
import { decodeSavedSnapshot, encodeSavedSnapshot } from "../../src/backup/saved_snapshot";
import type { SaveSnapshotResponse } from "../../src/generated/muster/v1/maintenance_service";
import type { Snapshot } from "../../src/raft/index";
import { RefusedError, refused } from "../../src/roster/index";
import type { ResponseSink } from "../../src/rpc/definition";
import { CHUNK_BYTES, MaintenanceService, SAVE_MS_MAX } from "../../src/services/maintenance";
import { ManualClock } from "../base/support/manual_clock";
import { settle } from "../base/support/until";
import { CountingRandom, FakeBackend, WALL_MS, callOf, refusalOf } from "./support/fake_backend";

type Part = NonNullable<SaveSnapshotResponse["part"]>;

/** Keeps what is written. A sink that is held takes nothing until it is released. */
class FakeSink implements ResponseSink<SaveSnapshotResponse> {
  readonly parts: Part[] = [];
  private failure: Error | null = null;
  private wake: (() => void) | null = null;

  constructor(private isHeld = false) {}

  async write({ part }: SaveSnapshotResponse): Promise<void> {
    if (this.isHeld) await new Promise<void>((resolve) => (this.wake = resolve));
    if (this.failure !== null) throw this.failure;
    if (part !== undefined) this.parts.push(part);
  }

  push(): void {
    throw new Error("not in this test");
  }

  fail(error: Error): void {
    this.failure ??= error;
    this.wake?.();
  }

  release(): void {
    this.isHeld = false;
    this.wake?.();
  }

  get chunks(): Buffer[] {
    return this.parts.flatMap((part) => (part.$case === "chunk" ? [part.value] : []));
  }
}

let clock: ManualClock;
let fake: FakeBackend;
let isServing: boolean;
let logged: [LogFields, string][];
let service: MaintenanceService;

beforeEach(() => {
  clock = new ManualClock();
  fake = new FakeBackend();
  isServing = true;
  logged = [];
  service = new MaintenanceService({
    backend: () => (isServing ? fake.backend : null),
    random: new CountingRandom(),
    wallNow: () => WALL_MS,
    clock,
    log: { ...silentLog, info: (fields, text) => logged.push([fields, text]) },
  });
});

const save = (sink: FakeSink): Promise<void> =>
  service.handlers.saveSnapshot({ serializable: false }, callOf("SaveSnapshot"), sink);

test("header, chunks and trailer are one file, which is read back", async () => {
  const sink = new FakeSink();
  await save(sink);
  expect(sink.parts.map((part) => part.$case)).toEqual(["header", "chunk", "trailer"]);
  const file = Buffer.concat(sink.chunks);
  expect(sink.parts[0]?.value).toEqual({
    header: { clusterId: "c1", memberId: "1", revision: 3n, raftTerm: 4n, leaderId: "2" },
    index: 8n,
    term: 4n,
    sizeBytes: BigInt(file.length),
    memberCount: 3,
  });
  expect(sink.parts.at(-1)?.value).toEqual({ sha256: createHash("sha256").update(file).digest() });
  const read = decodeSavedSnapshot("file", file);
  expect(read).toMatchObject({
    clusterId: 0xc1n,
    memberId: 1n,
    timeMs: WALL_MS,
    version: VERSION,
    snapshot: { meta: { index: 8, term: 4 } },
  });
  expect(read.roster.members()).toEqual(fake.roster.members());
  expect(logged).toEqual([[{ index: 8, term: 4, size_bytes: file.length }, "sent a snapshot to be saved"]]);
});

/** The snapshot of a state that makes a file of `bytes` bytes. */
function snapshotOfFile(bytes: number): Snapshot {
  const { meta } = fake.replica.stateNow();
  const fileOf = (data: Uint8Array): number =>
    encodeSavedSnapshot({
      clusterId: 0xc1n,
      memberId: 1n,
      timeMs: WALL_MS,
      version: VERSION,
      snapshot: { meta, data },
    }).length;
  const near = Buffer.alloc(bytes - 1000, 5);
  const data = Buffer.alloc(near.length + bytes - fileOf(near), 5);
  expect(fileOf(data)).toBe(bytes);
  return { meta, data };
}

test.each([
  [3 * CHUNK_BYTES, [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES]],
  [3 * CHUNK_BYTES + 1, [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, 1]],
  [3 * CHUNK_BYTES - 1, [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES - 1]],
])("a file of %d bytes comes in chunks of 256 KiB, none of them empty", async (bytes, lengths) => {
  const snapshot = snapshotOfFile(bytes);
  fake.replica.stateNow = () => snapshot;
  const sink = new FakeSink();
  await save(sink);
  expect(sink.chunks.map((chunk) => chunk.length)).toEqual(lengths);
});

test("the state is copied after the read is confirmed, and not before", async () => {
  let confirm: () => void = () => undefined;
  fake.confirm = () => new Promise((resolve) => (confirm = resolve));
  const capture = jest.spyOn(fake.replica, "stateNow");
  const sink = new FakeSink();
  const saving = save(sink);
  await settle();
  expect([capture.mock.calls.length, sink.parts, fake.confirmed.length]).toEqual([0, [], 1]);
  confirm();
  await saving;
  expect(capture).toHaveBeenCalledTimes(1);
});

test("without a confirmed read nothing is sent", async () => {
  const failure = refused("NO_QUORUM", "no quorum");
  fake.confirm = () => Promise.reject(failure);
  const sink = new FakeSink();
  expect(await refusalOf(save(sink))).toBe(failure);
  expect([sink.parts, logged]).toEqual([[], []]);
});

test("without a backend: SERVER_STOPPING", async () => {
  isServing = false;
  expect((await refusalOf(save(new FakeSink()))).refusal.reason).toBe("SERVER_STOPPING");
});

test("two at once; a third learns when to try again, and gets its turn when one has ended", async () => {
  const [first, second] = [new FakeSink(true), new FakeSink(true)];
  const saves = [save(first), save(second)];
  const third = await refusalOf(save(new FakeSink()));
  expect([third.refusal.reason, third.retryDelayMs]).toEqual(["TOO_MANY_REQUESTS", 1000]);
  await settle();
  first.release();
  await saves[0];
  await save(new FakeSink());
  second.fail(new Error("the caller went away"));
  await expect(saves[1]).rejects.toThrow("the caller went away");
  const again = new FakeSink();
  await Promise.all([save(again), save(new FakeSink())]);
  expect(again.parts.at(-1)?.$case).toBe("trailer");
});

test("stop() ends what is being sent, what waits for its read, and what comes", async () => {
  const sending = new FakeSink(true);
  const sent = save(sending);
  await settle();
  let confirm: () => void = () => undefined;
  fake.confirm = () => new Promise((resolve) => (confirm = resolve));
  const waiting = save(new FakeSink());
  await settle();
  service.stop();
  confirm();
  for (const saving of [sent, waiting, save(new FakeSink())]) {
    const error = await refusalOf(saving);
    expect(error).toBeInstanceOf(RefusedError);
    expect(error.refusal.reason).toBe("SERVER_STOPPING");
  }
  expect(logged).toEqual([]);
});

test("a state that takes time is not sent to a caller that has gone, and its copy is given up", async () => {
  fake.holdsCapture = true;
  const call = callOf("SaveSnapshot");
  const sink = new FakeSink();
  const saved = service.handlers.saveSnapshot({ serializable: false }, call, sink);
  saved.catch(() => undefined);
  await settle();
  expect(fake.captures).toBe(1);
  call.cancel();
  await expect(saved).rejects.toBe(CALL_CANCELLED);
  fake.heldCapture();
  await settle();
  expect([fake.captures, sink.parts]).toEqual([0, []]);
});

test("a caller that takes it slowly loses its place after a while, and its copy is given up", async () => {
  const sinks = [new FakeSink(true), new FakeSink(true), new FakeSink()];
  const [one, two, late] = sinks.map((sink) =>
    service.handlers.saveSnapshot({ serializable: false }, callOf("SaveSnapshot"), sink),
  );
  if (one === undefined || two === undefined || late === undefined) throw new Error("three calls");
  expect((await refusalOf(late)).refusal.reason).toBe("TOO_MANY_REQUESTS");
  await settle();
  clock.advance(SAVE_MS_MAX - 1);
  await settle();
  expect(fake.captures).toBe(2);
  clock.advance(1);
  for (const slow of [one, two]) expect((await refusalOf(slow)).refusal.reason).toBe("NOT_PROPOSED");
  expect([fake.captures, clock.timerCount]).toEqual([0, 0]);
  const next = new FakeSink();
  await service.handlers.saveSnapshot({ serializable: false }, callOf("SaveSnapshot"), next);
  expect(next.parts.at(-1)?.$case).toBe("trailer");
});

/** Members' streams on a listener: who is let in, one stream per member, and how streams are ended from here. */
import { status } from "@grpc/grpc-js";
import { ExchangeRequest } from "../../src/generated/muster/raft/v1/raft_service";
import type { NodeId } from "../../src/raft/index";
import { refusalError } from "../../src/rpc/rpc_error";
import { encodeMessages } from "../../src/transport/codec";
import { handshakeOf } from "../../src/transport/handshake";
import { Members, RawSender, message, reasonOf, selfOf, settle, snapshotMessage, until } from "./kit";
import type { Receiver } from "./kit";

jest.setTimeout(20_000);

const members = new Members();
const senders: RawSender[] = [];

afterEach(async () => {
  for (const sender of senders.splice(0)) sender.close();
  await members.stopAll();
});

/** A stream of member `id` that has sent its handshake. */
function open(two: Receiver, id: NodeId): RawSender {
  const sender = new RawSender(two.port);
  senders.push(sender);
  const handshake = handshakeOf(selfOf(id), 2n);
  sender.stream.write(
    Buffer.from(ExchangeRequest.encode({ handshake, messages: [], rosterDigest: undefined }).finish()),
  );
  return sender;
}

async function accepted(two: Receiver, id: NodeId): Promise<RawSender> {
  const before = two.accepted.length;
  const sender = open(two, id);
  await until(() => two.accepted.length > before);
  return sender;
}

const send = (sender: RawSender, from: NodeId, commit: number): boolean =>
  sender.stream.write(encodeMessages([message({ from, commit })]));

const removed = refusalError({ reason: "MEMBER_REMOVED", message: "removed", metadata: {} });

describe("a stream", () => {
  test("to a member that waits to join is refused, and may come again", async () => {
    const two = await members.receiver(2n);
    two.hasJoined = false;
    const error = await open(two, 1n).ended;
    expect(error).toMatchObject({
      code: status.UNAVAILABLE,
      details: "this member waits to join a cluster",
    });
    expect(error === null ? null : reasonOf(error)).toBe("SERVER_STOPPING");
    expect([two.handles, two.clock.timerCount]).toEqual([[], 0]);
    two.hasJoined = true;
    await accepted(two, 1n);
  });

  test("ends the older one of the same member with OK; other members' streams go on", async () => {
    const two = await members.receiver(2n);
    const [older, other] = [await accepted(two, 1n), await accepted(two, 3n)];
    const newer = await accepted(two, 1n);
    expect(await older.ended).toBeNull();
    expect(two.closed).toEqual([1n]);
    send(newer, 1n, 5);
    send(other, 3n, 6);
    await until(() => two.messages.length === 2);
    expect(two.messages.map((m) => m.commit).sort()).toEqual([5, 6]);
  });

  test("is still known as the member's when the older one is over", async () => {
    const two = await members.receiver(2n);
    const older = await accepted(two, 1n);
    const newer = await accepted(two, 1n);
    await older.ended;
    await settle();
    two.expel(1n, removed);
    expect(await newer.ended).toMatchObject({ code: status.NOT_FOUND, details: "removed" });
    expect(two.closed).toEqual([1n, 1n]);
  });

  test("that is not let in does not end the one that is open", async () => {
    const two = await members.receiver(2n);
    const first = await accepted(two, 1n);
    two.check = () => removed;
    expect((await open(two, 1n).ended)?.code).toBe(status.NOT_FOUND);
    two.check = () => null;
    send(first, 1n, 7);
    await until(() => two.messages.length === 1);
    expect(first.isOver).toBe(false);
  });
});

describe("endExpelled", () => {
  test("ends the streams of expelled members with the reason, and no other", async () => {
    const two = await members.receiver(2n);
    const [one, three] = [await accepted(two, 1n), await accepted(two, 3n)];
    two.streams.endExpelled();
    two.expel(1n, removed);
    const error = await one.ended;
    expect(error === null ? null : reasonOf(error)).toBe("MEMBER_REMOVED");
    send(three, 3n, 1);
    await until(() => two.messages.length === 1);
    expect([two.closed, three.isOver]).toEqual([[1n], false]);
  });

  test("does nothing while this member waits to join", async () => {
    const two = await members.receiver(2n);
    await accepted(two, 1n);
    two.hasJoined = false;
    two.expel(1n, removed);
    await settle();
    expect(two.closed).toEqual([]);
  });
});

test("stop() ends every stream with OK, also one that has not sent its handshake", async () => {
  const two = await members.receiver(2n);
  const one = await accepted(two, 1n);
  const silent = new RawSender(two.port);
  senders.push(silent);
  await until(() => two.handles.length === 2);
  two.streams.stop();
  expect(await Promise.all([one.ended, silent.ended])).toEqual([null, null]);
  expect(two.closed.map(String).sort()).toEqual(["0", "1"]);
  expect(two.clock.timerCount).toBe(0);
});

describe("a snapshot", () => {
  const sent = snapshotMessage(Buffer.from("the state"));

  test("is handed on after its sender, whom checkSnapshot lets in", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    two.check = () => removed;
    two.checkSnapshot = () => null;
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([sent]);
    await until(() => one.snapshotResults.length === 1);
    expect(one.snapshotResults).toEqual([{ id: 2n, delivered: true }]);
    expect([two.accepted, two.snapshots]).toEqual([[1n], [sent]]);
  });

  test("that checkSnapshot refuses is not received; the stream beside it is", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    two.checkSnapshot = () => refusalError({ reason: "DISK_FULL", message: "it is full", metadata: {} });
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([sent, message({})]);
    await until(() => one.snapshotResults.length === 1 && two.messages.length === 1);
    expect(one.snapshotResults).toEqual([{ id: 2n, delivered: false }]);
    expect([two.snapshots, two.garbage]).toEqual([[], [{ from: 0n, problem: "it is full" }]]);
  });

  test("to a member that waits to join is refused", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    two.hasJoined = false;
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([sent]);
    await until(() => one.snapshotResults.length === 1);
    expect(one.snapshotResults).toEqual([{ id: 2n, delivered: false }]);
    expect([two.snapshots, two.garbage, two.clock.timerCount]).toEqual([[], [], 0]);
  });
});

/** Snapshots between members over real connections: whole or not at all. Time is moved by hand. */
import { crc32 } from "node:zlib";
import { status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import type { InstallSnapshotRequest } from "../../src/generated/muster/raft/v1/raft_service";
import { messageToWire } from "../../src/transport/codec";
import { handshakeOf } from "../../src/transport/handshake";
import { refusalError } from "../../src/rpc/rpc_error";
import { PeerChannel } from "../../src/transport/dial";
import { Members, message, reasonOf, selfOf, settle, snapshotMessage, until } from "./kit";
import type { Receiver, StreamHandlers } from "./kit";

jest.setTimeout(20_000);

const members = new Members();

afterEach(() => members.stopAll());

/** Data in which every part differs. */
function pattern(length: number): Buffer {
  const data = Buffer.alloc(length);
  for (let i = 0; i + 4 <= length; i += 4) data.writeUInt32LE(i, i);
  return data;
}

describe("a snapshot", () => {
  test.each([0, 1, 256 * 1024, 256 * 1024 + 1, 5 * 1024 * 1024 + 7])(
    "of %p bytes arrives as it was",
    async (length) => {
      const two = await members.receiver(2n);
      const one = members.sender(1n);
      one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
      const sent = snapshotMessage(pattern(length));
      one.transport.send([sent]);
      expect(one.snapshotResults).toEqual([]);
      await until(() => one.snapshotResults.length === 1);
      expect(one.snapshotResults).toEqual([{ id: 2n, delivered: true }]);
      const received = two.snapshots[0];
      expect(Buffer.compare(received?.snapshot?.data ?? Buffer.alloc(0), pattern(length))).toBe(0);
      expect(received?.snapshot?.meta).toEqual(sent.snapshot?.meta);
      expect({ ...received, snapshot: null }).toEqual({ ...sent, snapshot: null });
      // Nothing is left waiting on either side.
      expect([one.clock.timerCount, two.clock.timerCount]).toEqual([0, 0]);
    },
  );

  test("does not hold up the stream beside it", async () => {
    const two = await members.receiver(2n, { installSnapshot: () => undefined });
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([snapshotMessage(pattern(1024 * 1024)), message({ commit: 4 })]);
    await until(() => two.messages.length === 1);
    expect(one.snapshotResults).toEqual([]);
  });

  test("that the receiver refuses is reported as not delivered", async () => {
    const two = await members.receiver(2n);
    two.check = () => refusalError({ reason: "MEMBER_REMOVED", message: "gone", metadata: {} });
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([snapshotMessage(pattern(3_000_000))]);
    await until(() => one.snapshotResults.length === 1);
    expect(one.snapshotResults).toEqual([{ id: 2n, delivered: false }]);
    expect([two.snapshots, two.garbage]).toEqual([[], [{ from: 0n, problem: "gone" }]]);
  });

  test("to a peer that is away is reported as not delivered", async () => {
    const two = await members.receiver(2n);
    await two.stop();
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([snapshotMessage(pattern(10))]);
    await until(() => one.snapshotResults.length === 1);
    expect(one.snapshotResults).toEqual([{ id: 2n, delivered: false }]);
  });

  test("that makes no progress is given up", async () => {
    let calls = 0;
    const two = await members.receiver(2n, {
      installSnapshot: () => {
        calls++;
      },
    });
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([snapshotMessage(pattern(4_000_000))]);
    await until(() => calls === 1);
    await settle();
    one.clock.advance(29_999);
    await settle();
    expect(one.snapshotResults).toEqual([]);
    one.clock.advance(1);
    await until(() => one.snapshotResults.length === 1);
    expect(one.snapshotResults).toEqual([{ id: 2n, delivered: false }]);
  });

  test("beyond the second waits for its turn", async () => {
    const calls: (() => void)[] = [];
    const installSnapshot: StreamHandlers["installSnapshot"] = (call, callback) => {
      call.resume();
      calls.push(() => {
        callback(null, {});
      });
    };
    const peers = await Promise.all([2n, 3n, 4n].map((id) => members.receiver(id, { installSnapshot })));
    const one = members.sender(1n);
    one.transport.setPeers(peers.map((peer) => ({ id: peer.memberId, peerUrls: [peer.url] })));
    one.transport.send([2n, 3n, 4n].map((to) => snapshotMessage(pattern(10), { to })));
    await until(() => calls.length === 2);
    await settle(50);
    expect(calls.length).toBe(2);
    calls[0]?.();
    await until(() => calls.length === 3);
    calls[1]?.();
    calls[2]?.();
    await until(() => one.snapshotResults.length === 3);
    expect(one.snapshotResults.map((r) => r.id).sort()).toEqual([2n, 3n, 4n]);
    expect(one.snapshotResults.every((r) => r.delivered)).toBe(true);
  });

  test("is replaced by a newer one for the same peer; there is one result", async () => {
    let hold = true;
    const two = await members.receiver(2n);
    two.check = () =>
      hold ? refusalError({ reason: "SERVER_STOPPING", message: "later", metadata: {} }) : null;
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([snapshotMessage(pattern(10))]);
    hold = false;
    one.transport.send([snapshotMessage(pattern(20))]);
    await until(() => one.snapshotResults.length === 1);
    await settle(50);
    expect(one.snapshotResults).toEqual([{ id: 2n, delivered: true }]);
    expect(two.snapshots.map((m) => m.snapshot?.data.length)).toEqual([20]);
  });

  test("on its way to a peer that moved is given up and reported; to one that is removed, only given up", async () => {
    const [two, moved] = [
      await members.receiver(2n, { installSnapshot: () => undefined }),
      await members.receiver(2n),
    ];
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([snapshotMessage(pattern(10))]);
    one.transport.setPeers([{ id: 2n, peerUrls: [moved.url] }]);
    await until(() => one.snapshotResults.length === 1);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([snapshotMessage(pattern(10))]);
    one.transport.setPeers([]);
    one.clock.advance(60_000);
    await settle(50);
    expect(one.snapshotResults).toEqual([{ id: 2n, delivered: false }]);
    expect(one.clock.timerCount).toBe(0);
  });
});

describe("the receiving end", () => {
  type Request = Partial<InstallSnapshotRequest> | Buffer;
  const data = pattern(1000);
  const good = { ...handshakeOf(selfOf(1n), 2n) };
  const wire = messageToWire(snapshotMessage(data));
  const first = { handshake: good, message: wire, sizeBytes: data.length };
  const whole = { chunk: data, crc32: crc32(data) };

  /** Sends `requests` one after another and returns how the call ended: "OK", or the refusal. */
  async function install(
    two: Receiver,
    requests: readonly Request[],
    ending: "end" | "cancel" = "end",
  ): Promise<string> {
    const client = new PeerChannel(two.url);
    const error = await new Promise<ServiceError | null>((resolve) => {
      const call = client.installSnapshot((failure) => {
        resolve(failure);
      });
      call.on("error", () => undefined);
      for (const request of requests) {
        const empty = { handshake: undefined, message: undefined, sizeBytes: 0, chunk: Buffer.alloc(0) };
        call.write(Buffer.isBuffer(request) ? request : { ...empty, ...request });
      }
      if (ending === "end") call.end();
      else void until(() => two.clock.timerCount > 0).then(() => settle().then(() => call.cancel()));
    });
    client.close();
    return error === null ? "OK" : `${reasonOf(error) ?? status[error.code]}: ${error.details}`;
  }

  test("takes what is whole, in any chunks", async () => {
    const two = await members.receiver(2n);
    expect(await install(two, [first, whole])).toBe("OK");
    expect(await install(two, [{ ...first, ...whole }])).toBe("OK");
    const parts = [{ chunk: data.subarray(0, 1) }, { chunk: data.subarray(1) }, { crc32: crc32(data) }];
    expect(await install(two, [first, ...parts])).toBe("OK");
    expect(two.snapshots.map((m) => Buffer.compare(m.snapshot?.data ?? Buffer.alloc(0), data))).toEqual([
      0, 0, 0,
    ]);
  });

  test("refuses everything else, and keeps nothing of it", async () => {
    const two = await members.receiver(2n);
    const changed = Buffer.from(data);
    changed[500] = 0xff;
    const cases: [readonly Request[], RegExp][] = [
      [[first, { ...whole, chunk: changed }], /checksum does not fit/],
      [[first, { ...whole, crc32: 1 }], /checksum does not fit/],
      [[first, { chunk: data }], /ended after 1000 of 1000 bytes/],
      [[first, { ...whole, chunk: data.subarray(1) }], /ended after 999 of 1000 bytes/],
      [[first, { chunk: data }, { chunk: data }], /longer than announced/],
      [[first, whole, { chunk: Buffer.from("x") }], /after the end/],
      [[first, first], /second handshake/],
      [[], /ended after 0 of 0/],
      [[whole], /not a handshake/],
      [[{ handshake: good }], /no message/],
      [[{ ...first, sizeBytes: 256 * 1024 * 1024 + 1 }], /longer than 268435456/],
      [[{ ...first, message: messageToWire(message({})) }], /message type 8/],
      [[{ ...first, message: { ...wire, from: 3n } }], /not from the sender/],
      [[{ ...first, message: { ...wire, to: 3n } }], /for another member/],
      [[{ ...first, message: { ...wire, snapshot: undefined } }], /no snapshot metadata/],
      [[{ ...first, handshake: { ...good, toMemberId: 3n } }], /member 3 is not here/],
      [[Buffer.from("12ff", "hex")], /does not decode/],
      [[first, Buffer.from("22ff", "hex")], /does not decode/],
    ];
    for (const [requests, expected] of cases) expect(await install(two, requests)).toMatch(expected);
    expect(two.snapshots).toEqual([]);
    expect(two.garbage.length).toBe(cases.length);
    expect(two.clock.timerCount).toBe(0);
    expect(await install(two, [first, whole])).toBe("OK");
  });

  test("lets go of a sender that goes away in the middle", async () => {
    const two = await members.receiver(2n);
    expect(await install(two, [first, { chunk: data.subarray(0, 10) }], "cancel")).toMatch(/^CANCELLED/);
    await until(() => two.garbage.length === 1);
    expect(two.garbage).toEqual([{ from: 0n, problem: "the snapshot ended after 10 of 1000 bytes" }]);
    expect([two.snapshots, two.clock.timerCount]).toEqual([[], 0]);
  });

  test("lets go of a sender that stands still", async () => {
    const two = await members.receiver(2n);
    const client = new PeerChannel(two.url);
    let ending: ServiceError | null = null;
    const call = client.installSnapshot((error) => void (ending = error));
    call.on("error", () => undefined);
    call.write({ handshake: good, message: wire, sizeBytes: 1000, chunk: Buffer.alloc(0) });
    await until(() => two.clock.timerCount === 1);
    await settle();
    two.clock.advance(30_000);
    await until(() => ending !== null);
    expect(ending).toMatchObject({ details: "snapshot stands still for 30000 ms" });
    expect(two.snapshots).toEqual([]);
    client.close();
  });
});

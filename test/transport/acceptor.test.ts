/** The receiving end of a stream against a sender that puts any bytes on the wire. Time is moved by hand. */
import { EventEmitter } from "node:events";
import { status } from "@grpc/grpc-js";
import { ExchangeRequest, ExchangeResponse } from "../../src/generated/muster/raft/v1/raft_service";
import { MessageType } from "../../src/raft/index";
import { encodeMessages } from "../../src/transport/codec";
import { acceptExchange } from "../../src/transport/exchange_acceptor";
import type { ExchangeCall, ExchangeHandle } from "../../src/transport/exchange_acceptor";
import { handshakeOf } from "../../src/transport/handshake";
import { Members, RawSender, Receiver, entry, message, reasonOf, selfOf, settle, until } from "./kit";

jest.setTimeout(20_000);

const members = new Members();

afterEach(() => members.stopAll());

const good = handshakeOf(selfOf(1n), 2n);

function encoded(request: Partial<ExchangeRequest>): Buffer {
  const empty = { handshake: undefined, messages: [], rosterDigest: undefined };
  return Buffer.from(ExchangeRequest.encode({ ...empty, ...request }).finish());
}

function batch(...messages: Parameters<typeof encodeMessages>[0]): Buffer {
  return encodeMessages(messages);
}

/** Sends `requests`, waits until the call is over, and returns why. */
async function refusalOf(two: Receiver, ...requests: Buffer[]): Promise<string> {
  const raw = new RawSender(two.port);
  for (const request of requests) raw.stream.write(request);
  const error = await raw.ended;
  raw.close();
  if (error === null) return "OK";
  return `${status[error.code]} ${reasonOf(error) ?? ""}: ${error.details}`;
}

describe("a stream", () => {
  test("refuses a first request that is no acceptable handshake", async () => {
    const two = await members.receiver(2n);
    const refused = (handshake: Partial<typeof good>): Promise<string> =>
      refusalOf(two, encoded({ handshake: { ...good, ...handshake } }));
    const invalid = "INVALID_ARGUMENT INVALID_REQUEST: ";
    expect(await refusalOf(two, Buffer.alloc(0))).toBe(`${invalid}the first request is not a handshake`);
    expect(await refusalOf(two, batch(message({})))).toBe(`${invalid}messages in the handshake request`);
    expect(await refused({ wireVersion: 2 })).toBe(`${invalid}wire version 2 is not 1`);
    expect(await refused({ memberId: 0n })).toBe(`${invalid}the sender has no valid id`);
    expect(await refused({ memberId: 2n })).toBe(`${invalid}the sender has this member's own id`);
    expect(await refused({ instanceId: Buffer.alloc(3) })).toMatch(/instance id does not have 16 bytes/);
    expect(await refused({ peerUrl: "x".repeat(2000) })).toMatch(/peer URL is too long/);
    expect(await refused({ toMemberId: 9n })).toMatch(/^FAILED_PRECONDITION MEMBER_MISMATCH/);
    expect([two.accepted, two.messages]).toEqual([[], []]);
    expect(two.closed).toEqual(Array(8).fill(0n));
  });

  test("answers the handshake and ends at a second one", async () => {
    const two = await members.receiver(2n);
    const handshake = encoded({ handshake: good });
    expect(await refusalOf(two, handshake, handshake)).toMatch(/a second handshake/);
    expect([two.accepted, two.closed]).toEqual([[1n], [1n]]);
  });

  test("ends a stream of garbage with INVALID_ARGUMENT, before and after the handshake", async () => {
    const two = await members.receiver(2n);
    const garbage = Buffer.from("12ff", "hex");
    const unsafe = Buffer.from("120a20ffffffffffffffff7f", "hex");
    const expected = "INVALID_ARGUMENT INVALID_REQUEST: the request does not decode";
    expect(await refusalOf(two, garbage)).toBe(expected);
    expect(await refusalOf(two, encoded({ handshake: good }), garbage)).toBe(expected);
    expect(await refusalOf(two, encoded({ handshake: good }), batch(message({})), unsafe)).toBe(expected);
    expect(two.garbage.map((g) => g.from)).toEqual([0n, 1n, 1n]);
    expect(two.messages.length).toBe(1);
  });

  test("leaves out single messages that do not fit, and keeps the stream", async () => {
    const two = await members.receiver(2n);
    const raw = new RawSender(two.port);
    raw.stream.write(encoded({ handshake: good }));
    const propose = message({ type: MessageType.Propose, entries: [entry(1, 1)] });
    const hup = message({ type: MessageType.Hup });
    const [alien, misled] = [message({ from: 3n }), message({ to: 3n })];
    raw.stream.write(batch(message({ commit: 1 }), alien, misled, propose, hup, message({ commit: 2 })));
    raw.stream.write(batch(message({ commit: 3 })));
    await until(() => two.messages.length === 3);
    expect(two.messages.map((m) => m.commit)).toEqual([1, 2, 3]);
    expect(two.garbage).toEqual([
      { from: 1n, problem: "message from 3" },
      { from: 1n, problem: "message to 3" },
      { from: 1n, problem: "message type Propose is not exchanged between members" },
      { from: 1n, problem: "message type Hup is not exchanged between members" },
    ]);
    expect(raw.answers.map((answer) => ExchangeResponse.decode(answer).wireVersion)).toEqual([1]);
    raw.close();
    await until(() => two.closed.length === 1);
    expect(two.closed).toEqual([1n]);
  });

  test("ends with OK when the sender does", async () => {
    const two = await members.receiver(2n);
    const raw = new RawSender(two.port);
    raw.stream.write(encoded({ handshake: good }));
    raw.stream.end();
    expect(await raw.ended).toBeNull();
    expect([two.accepted, two.closed]).toEqual([[1n], [1n]]);
    raw.close();
  });

  test("that was cancelled before it is accepted is reported as closed, after the handle is there", async () => {
    const two = new Receiver(2n);
    const closed: string[] = [];
    const call = Object.assign(new EventEmitter(), { cancelled: true }) as unknown as ExchangeCall;
    const handle: ExchangeHandle = acceptExchange(call, {
      memberId: 2n,
      clock: two.clock,
      defer: setImmediate,
      check: () => null,
      onDiskFull: () => undefined,
      onMessages: () => undefined,
      onGarbage: () => undefined,
      onClosed: (from) => closed.push(`${handle.from} ${from}`),
    });
    await until(() => closed.length > 0);
    call.emit("close");
    expect([closed, two.clock.timerCount]).toEqual([["0 0"], 0]);
  });

  test("gives a sender that says nothing five seconds", async () => {
    const two = await members.receiver(2n);
    const raw = new RawSender(two.port);
    await until(() => two.handles.length === 1);
    two.clock.advance(4999);
    await settle();
    expect(raw.isOver).toBe(false);
    two.clock.advance(1);
    expect(await raw.ended).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: "no handshake within 5000 ms",
    });
    expect(two.closed).toEqual([0n]);
    raw.close();
  });

  test("leaves no timer behind after the handshake", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    await until(() => one.state(2n) === "open");
    expect(two.clock.timerCount).toBe(0);
    expect(one.clock.timerCount).toBe(0);
  });

  test("survives requests beyond the size limit: the stream is over, the server is not", async () => {
    const two = await members.receiver(2n);
    const huge = Buffer.alloc(5 * 1024 * 1024);
    expect(await refusalOf(two, encoded({ handshake: good }), huge)).toMatch(/^RESOURCE_EXHAUSTED/);
    await until(() => two.closed.length === 1);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([message({})]);
    await until(() => two.messages.length === 1);
  });

  test("random requests never take the server down", async () => {
    const two = await members.receiver(2n);
    let seed = 12345;
    const random = (n: number): number => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n;
    for (let round = 0; round < 20; round++) {
      const raw = new RawSender(two.port);
      if (round % 2 === 0) raw.stream.write(encoded({ handshake: good }));
      for (let i = 0; i < 10; i++) {
        raw.stream.write(Buffer.from(Array.from({ length: random(40) }, () => random(256))));
      }
      raw.stream.end();
      await raw.ended;
      raw.close();
    }
    expect(two.closed.length).toBe(20);
  });
});

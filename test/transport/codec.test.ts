/**
 * The codec: what members may say arrives as it was sent, anything else becomes a sentence, and no bytes throw.
 */
import fc from "fast-check";
import {
  ExchangeRequest,
  Handshake,
  InstallSnapshotRequest,
  RaftServiceService,
} from "../../src/generated/muster/raft/v1/raft_service";
import { Message as WireMessage } from "../../src/generated/muster/raft/v1/raft";
import {
  ConfChangeTransition,
  ConfChangeType,
  EMPTY_BYTES,
  EntryType,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  MessageType,
} from "../../src/raft/index";
import type { ConfChange, Entry, Message } from "../../src/raft/index";
import {
  decodeMessage,
  decodeSnapshotMessage,
  encodeBatches,
  encodeMessages,
  messageToWire,
} from "../../src/transport/codec";
import { Garbage, decodeOrGarbage } from "../../src/rpc/definition";
import { append, entry, message, snapshotMessage } from "./kit";

const decodeExchange = decodeOrGarbage(RaftServiceService.exchange.requestDeserialize);
const decodeInstall = decodeOrGarbage(RaftServiceService.installSnapshot.requestDeserialize);
const decodePublish = decodeOrGarbage(RaftServiceService.publish.requestDeserialize);
const decodeHello = decodeOrGarbage(RaftServiceService.hello.requestDeserialize);

const memberId = fc.bigInt({ min: 1n, max: LOCAL_APPLY_THREAD - 1n });
const small = fc.integer({ min: 1, max: 300 });
const count = fc.oneof(fc.constant(0), small, fc.nat(), fc.maxSafeNat());
const bytes = fc.uint8Array({ maxLength: 300 });

const confChange: fc.Arbitrary<ConfChange> = fc.record({
  transition: fc.constantFrom(
    ConfChangeTransition.Auto,
    ConfChangeTransition.JointImplicit,
    ConfChangeTransition.JointExplicit,
  ),
  changes: fc.array(
    fc.record({
      type: fc.constantFrom(
        ConfChangeType.AddVoter,
        ConfChangeType.Remove,
        ConfChangeType.Update,
        ConfChangeType.AddLearner,
      ),
      nodeId: memberId,
    }),
    { maxLength: 4 },
  ),
  context: bytes,
});

/** An append that a correct leader could send. */
const appends: fc.Arbitrary<Message> = fc
  .record({
    to: memberId,
    from: memberId,
    base: fc.oneof(fc.constant(0), small, fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER - 100 })),
    baseTerm: fc.integer({ min: 1, max: 2 ** 50 }),
    commit: count,
    contents: fc.array(fc.tuple(fc.nat(3), fc.oneof(bytes, confChange)), { maxLength: 8 }),
    lead: fc.nat(5),
  })
  .map(({ to, from, base, baseTerm, commit, contents, lead }) => {
    const logTerm = base === 0 ? 0 : baseTerm;
    let term = baseTerm;
    const entries = contents.map(([rise, content], i): Entry => {
      term += rise;
      const index = base + i + 1;
      return content instanceof Uint8Array
        ? entry(index, term, content)
        : { index, term, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange: content };
    });
    return message({
      type: MessageType.Append,
      to,
      from,
      term: term + lead,
      index: base,
      logTerm,
      commit,
      entries,
    });
  });

const others: fc.Arbitrary<Message> = fc
  .record({
    type: fc.constantFrom(
      MessageType.AppendResponse,
      MessageType.Vote,
      MessageType.VoteResponse,
      MessageType.Heartbeat,
      MessageType.HeartbeatResponse,
      MessageType.TransferLeader,
      MessageType.TimeoutNow,
      MessageType.ReadIndex,
      MessageType.ReadIndexResponse,
      MessageType.PreVote,
      MessageType.PreVoteResponse,
    ),
    to: memberId,
    from: memberId,
    term: fc.oneof(small, fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
    logTerm: count,
    index: count,
    commit: count,
    reject: fc.boolean(),
    rejectHint: count,
    context: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    forced: fc.boolean(),
  })
  .map((fields) => message(fields));

const messages = fc.oneof(appends, others);

/** Buffers as plain Uint8Arrays, so that equality is about bytes. */
function plain(value: Message): Message {
  return {
    ...value,
    entries: value.entries.map((e) => ({
      ...e,
      data: Uint8Array.from(e.data),
      confChange:
        e.confChange === null ? null : { ...e.confChange, context: Uint8Array.from(e.confChange.context) },
    })),
  };
}

function decodeAll(encoded: Buffer): Message[] {
  return ExchangeRequest.decode(encoded).messages.map((wire) => {
    const decoded = decodeMessage(wire);
    if (!decoded.ok) throw new Error(decoded.problem);
    return plain(decoded.message);
  });
}

function problemOf(fields: Partial<Message>): string {
  return problemOfWire(messageToWire(message(fields)));
}

function problemOfWire(wire: WireMessage): string {
  const decoded = decodeMessage(wire);
  return decoded.ok ? "accepted" : decoded.problem;
}

describe("encoding", () => {
  test("what is encoded decodes to itself", () => {
    fc.assert(
      fc.property(fc.array(messages, { maxLength: 6 }), (batch) => {
        expect(decodeAll(encodeMessages(batch))).toEqual(batch.map(plain));
      }),
    );
  });

  test("the bytes are those of the generated encoder", () => {
    fc.assert(
      fc.property(fc.array(messages, { maxLength: 6 }), (batch) => {
        const generated = ExchangeRequest.encode({
          handshake: undefined,
          rosterDigest: undefined,
          messages: batch.map(messageToWire),
        });
        expect(encodeMessages(batch).equals(generated.finish())).toBe(true);
      }),
    );
  });

  test("batches keep all messages and their order, and none passes the limit", () => {
    fc.assert(
      fc.property(
        fc.array(appends, { maxLength: 12 }),
        fc.integer({ min: 10_000, max: 20_000 }),
        (batch, limit) => {
          const { batches, oversized } = encodeBatches(batch, limit);
          expect(oversized).toBe(0);
          expect(Math.max(0, ...batches.map((b) => b.bytes.length))).toBeLessThanOrEqual(limit);
          expect(batches.flatMap((b) => decodeAll(b.bytes))).toEqual(batch.map(plain));
          expect(batches.reduce((sum, b) => sum + b.messageCount, 0)).toBe(batch.length);
        },
      ),
    );
  });

  test("a message that fits into no request is left out and counted, its neighbours are not", () => {
    const { batches, oversized } = encodeBatches([append(10), append(5000), append(20)], 1000);
    expect(oversized).toBe(1);
    expect(batches.flatMap((b) => decodeAll(b.bytes)).map((m) => m.entries[0]?.data.length)).toEqual([
      10, 20,
    ]);
  });

  test("batches are split only where they must be", () => {
    const one = encodeMessages([append(100)]).length;
    expect(encodeBatches([append(100), append(100)], 2 * one).batches.length).toBe(1);
    expect(encodeBatches([append(100), append(100)], 2 * one - 1).batches.length).toBe(2);
  });
});

describe("decoding refuses", () => {
  const exchanged = new Set([3, 4, 5, 6, 8, 9, 13, 14, 15, 16, 17, 18]);

  test.each([...Array(24).keys(), 24, 99, 0xffff_ffff].filter((type) => !exchanged.has(type)))(
    "type %p, which members do not exchange",
    (type) => {
      expect(problemOfWire({ ...messageToWire(message({})), type })).toMatch(
        /^message type .* is not exchanged/,
      );
    },
  );

  test.each([...exchanged])("but not type %p", (type) => {
    expect(problemOf({ type })).toBe("accepted");
  });

  test.each([0n, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD])("id %p as sender or receiver", (id) => {
    expect(problemOf({ from: id })).toBe("no valid sender id");
    expect(problemOf({ to: id })).toBe("no valid receiver id");
  });

  test("a message without term, except a read", () => {
    expect(problemOf({ term: 0 })).toBe("no term");
    expect(problemOf({ type: MessageType.ReadIndex, term: 0 })).toBe("accepted");
  });

  test.each(["term", "logTerm", "index", "commit", "rejectHint"] as const)(
    "%s that is no safe integer",
    (field) => {
      for (const value of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
        expect(problemOfWire({ ...messageToWire(message({})), [field]: value })).toMatch(
          /not a safe integer/,
        );
      }
    },
  );

  test("integers beyond 2^53 on the wire, as a value", () => {
    const wire = Buffer.from(WireMessage.encode(messageToWire(message({ term: 1 }))).finish());
    const at = wire.indexOf(Buffer.from([0x20, 0x01]));
    const huge = Buffer.concat([
      wire.subarray(0, at + 1),
      Buffer.from("ffffffffffffffff7f", "hex"),
      wire.subarray(at + 2),
    ]);
    const request = Buffer.concat([Buffer.from([0x12, huge.length]), huge]);
    expect(decodeExchange(request)).toBeInstanceOf(Garbage);
  });

  test("entries outside an append, or not consecutive, or with impossible terms", () => {
    const base = { type: MessageType.Append, index: 7, logTerm: 4, term: 6 };
    const list = (...pairs: [number, number][]): Entry[] => pairs.map(([index, term]) => entry(index, term));
    expect(problemOf({ entries: list([8, 5]) })).toBe("entries outside an append message");
    expect(problemOf({ ...base, entries: list([8, 5], [9, 5]) })).toBe("accepted");
    expect(problemOf({ ...base, entries: list([9, 5]) })).toBe("entry 9 after 7");
    expect(problemOf({ ...base, entries: list([8, 5], [8, 5]) })).toBe("entry 8 after 8");
    expect(problemOf({ ...base, entries: list([8, 5], [10, 5]) })).toBe("entry 10 after 8");
    expect(problemOf({ ...base, entries: list([8, 3]) })).toBe("term of entry 8 is too low");
    expect(problemOf({ ...base, entries: list([8, 5], [9, 4]) })).toBe("term of entry 9 is too low");
    expect(problemOf({ ...base, entries: list([8, 7]) })).toBe("term of entry 8 is higher than the sender's");
    expect(problemOf({ ...base, index: 0, logTerm: 0, entries: list([1, 0]) })).toBe(
      "term of entry 1 is too low",
    );
    expect(problemOf({ ...base, logTerm: 7 })).toBe("log_term is higher than the sender's term");
    expect(problemOf({ ...base, logTerm: 0 })).toBe("index and log_term do not fit");
    expect(problemOf({ ...base, index: Number.MAX_SAFE_INTEGER, entries: list([8, 5]) })).toMatch(
      /last index/,
    );
  });

  test("membership changes that do not decode", () => {
    const good: ConfChange = {
      transition: ConfChangeTransition.Auto,
      changes: [{ type: ConfChangeType.AddVoter, nodeId: 3n }],
      context: EMPTY_BYTES,
    };
    const problem = (fields: Partial<Entry>): string =>
      problemOf({
        type: MessageType.Append,
        entries: [
          { index: 1, term: 1, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange: good, ...fields },
        ],
      });
    const change = (fields: Partial<ConfChange>): string => problem({ confChange: { ...good, ...fields } });
    expect(problem({})).toBe("accepted");
    expect(change({ changes: [] })).toBe("accepted");
    expect(problem({ type: EntryType.ConfChange })).toBe("accepted");
    expect(problem({ confChange: null })).toBe("no membership change in entry 1");
    expect(problem({ type: EntryType.Normal })).toBe("membership change in normal entry 1");
    expect(problem({ data: Buffer.from("x") })).toBe("data in membership change entry 1");
    expect(problem({ type: 7 as EntryType })).toBe("entry 1 has unknown type 7");
    expect(problem({ type: EntryType.ConfChange, confChange: { ...good, changes: [] } })).toBe(
      "entry 1 does not change exactly one member",
    );
    expect(change({ transition: 9 as ConfChangeTransition })).toBe(
      "unknown transition 9 of a membership change",
    );
    expect(change({ changes: [{ type: 4 as ConfChangeType, nodeId: 3n }] })).toBe(
      "unknown step 4 of a membership change",
    );
    expect(change({ changes: [{ type: ConfChangeType.AddVoter, nodeId: 0n }] })).toBe(
      "no valid id in a membership change",
    );
  });

  test("snapshots on a stream, and anything but snapshots in InstallSnapshot", () => {
    const snapshot = messageToWire(snapshotMessage(EMPTY_BYTES));
    expect(problemOfWire(snapshot)).toMatch(/Snapshot is not exchanged/);
    expect(problemOfWire({ ...snapshot, type: MessageType.Append })).toBe("snapshot outside InstallSnapshot");
    expect(decodeSnapshotMessage(messageToWire(message({})), EMPTY_BYTES).ok).toBe(false);
  });

  test("snapshot metadata that no leader sends", () => {
    const wire = messageToWire(snapshotMessage(EMPTY_BYTES));
    const meta = wire.snapshot;
    if (meta?.confState === undefined) throw new Error("the kit's snapshot has metadata");
    const { confState } = meta;
    const problem = (snapshot: WireMessage["snapshot"]): string => {
      const decoded = decodeSnapshotMessage({ ...wire, snapshot }, EMPTY_BYTES);
      return decoded.ok ? "accepted" : decoded.problem;
    };
    expect(problem(meta)).toBe("accepted");
    expect(problem(undefined)).toBe("no snapshot metadata");
    expect(problem({ ...meta, confState: undefined })).toBe("no snapshot metadata");
    expect(problem({ ...meta, index: 0 })).toBe("snapshot without index or term");
    expect(problem({ ...meta, term: 6 })).toBe("snapshot term is higher than the sender's");
    expect(problem({ ...meta, confState: { ...confState, voters: [] } })).toBe("snapshot without voters");
    expect(problem({ ...meta, confState: { ...confState, voters: [2n, 1n] } })).toMatch(/ascending/);
    expect(problem({ ...meta, confState: { ...confState, learners: [3n, 3n] } })).toMatch(/ascending/);
    expect(problem({ ...meta, confState: { ...confState, learnersNext: [LOCAL_APPEND_THREAD] } })).toBe(
      "no valid id in learners_next",
    );
  });
});

describe("hostile bytes", () => {
  /** Every way that bytes of a peer are read; what throws fails the test. */
  function readEveryWay(bytes: Buffer): void {
    const request = decodeExchange(bytes);
    if (!(request instanceof Garbage)) {
      for (const wire of request.messages) {
        const decoded = decodeMessage(wire);
        // What was let through must be fit to be sent on.
        if (decoded.ok) encodeMessages([decoded.message]);
      }
    }
    const install = decodeInstall(bytes);
    if (!(install instanceof Garbage) && install.message !== undefined) {
      decodeSnapshotMessage(install.message, EMPTY_BYTES);
    }
    decodePublish(bytes);
    decodeHello(bytes);
  }

  test("random bytes never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (random) => {
        readEveryWay(Buffer.from(random));
      }),
      { numRuns: 3000 },
    );
  });

  test("valid requests with changed, missing or added bytes never throw", () => {
    const handshake = Handshake.create({ clusterId: 1n, memberId: 2n, peerUrl: "http://h:1" });
    const install = InstallSnapshotRequest.encode({
      handshake,
      message: messageToWire(snapshotMessage(EMPTY_BYTES)),
      sizeBytes: 9,
      chunk: Buffer.from("x"),
      crc32: 1,
    }).finish();
    const seeds = fc.oneof(
      fc.array(messages, { minLength: 1, maxLength: 3 }).map(encodeMessages),
      fc.constant(install),
    );
    const mutations = fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.nat(2)), { minLength: 1, maxLength: 6 });
    let garbage = 0;
    fc.assert(
      fc.property(seeds, mutations, (seed, changes) => {
        let mutated = [...seed];
        for (const [at, byte, how] of changes) {
          const position = at % (mutated.length + 1);
          if (how === 0) mutated[position] = byte;
          else if (how === 1) mutated = mutated.slice(0, position);
          else mutated.splice(position, 0, byte);
        }
        const request = decodeExchange(Buffer.from(mutated));
        if (request instanceof Garbage) garbage++;
        readEveryWay(Buffer.from(mutated));
      }),
      { numRuns: 3000 },
    );
    // The mutations do reach the decoder's own errors.
    expect(garbage).toBeGreaterThan(100);
  });
});

/**
 * Messages of any content never make the core throw nor break what it promises. MUSTER_FUZZ_RUNS sets how many runs of
 * 100 steps are made.
 */
import { Message as WireMessage } from "../../src/generated/muster/raft/v1/raft";
import { decodeMessage, messageToWire } from "../../src/transport/codec";
import { MessageType } from "../../src/raft/message";
import { message, TestCore } from "./support/core";
import { fuzzCore, MessageFuzzer, SelfChecker } from "./support/fuzz";
import { SeededRandom } from "./support/seeded_random";

const RUNS = Number(process.env["MUSTER_FUZZ_RUNS"] ?? 1500);
const STEPS = 100;

describe("hostile peers", () => {
  test(`${RUNS} cores survive ${STEPS} messages and events each`, () => {
    const totals = { stepped: 0, refused: 0, committed: 0 };
    for (let seed = 1; seed <= RUNS; seed++) {
      try {
        const result = fuzzCore(seed, STEPS);
        totals.stepped += result.stepped;
        totals.refused += result.refused;
        totals.committed += result.committed;
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
    // The messages are neither all refused at the door nor all harmless, and cores get somewhere meanwhile.
    expect(totals.stepped).toBeGreaterThan(RUNS * 10);
    expect(totals.refused).toBeGreaterThan(RUNS * 10);
    expect(totals.committed).toBeGreaterThan(RUNS);
  });

  test("damaged bytes are refused by the codec or the core", () => {
    const outcomes = { undecodable: 0, malformed: 0, refused: 0, stepped: 0 };
    for (let seed = 1; seed <= RUNS; seed++) {
      const random = new SeededRandom(seed);
      const fuzzer = new MessageFuzzer(random);
      const core = new TestCore({ log: [1, 1, 2], seed });
      const checker = new SelfChecker();
      for (let i = 0; i < 20; i++) {
        outcomes[deliverDamaged(core, fuzzer, random)]++;
        core.drain();
        const broken = checker.check(core);
        if (broken !== null) throw new Error(`seed ${seed}: ${broken}`);
      }
    }
    for (const count of Object.values(outcomes)) expect(count).toBeGreaterThan(0);
  });

  function deliverDamaged(
    core: TestCore,
    fuzzer: MessageFuzzer,
    random: SeededRandom,
  ): "undecodable" | "malformed" | "refused" | "stepped" {
    let bytes: Uint8Array;
    try {
      bytes = WireMessage.encode(messageToWire(fuzzer.plausible(core))).finish();
    } catch {
      // An id that does not fit 64 bits has no bytes to damage.
      return "undecodable";
    }
    for (let flips = random.below(3); flips > 0; flips--) {
      bytes[random.below(bytes.length)] = random.below(256);
    }
    let wire: WireMessage;
    try {
      wire = WireMessage.decode(bytes.subarray(0, bytes.length - (random.chance(10) ? 1 : 0)));
    } catch {
      return "undecodable";
    }
    const decoded = decodeMessage(wire);
    if (!decoded.ok) return "malformed";
    return core.raw.step(decoded.message).ok ? "stepped" : "refused";
  }

  test.each([
    ["an acknowledgement beyond the log", MessageType.AppendResponse, { index: 1000 }, "beyond-log"],
    [
      "a heartbeat that commits more than was matched",
      MessageType.Heartbeat,
      { commit: 3 },
      "commit-beyond-match",
    ],
    ["a snapshot without a configuration", MessageType.Snapshot, {}, "invalid-field"],
    ["an Append with a gap", MessageType.Append, { index: 3, logTerm: 0 }, "invalid-field"],
    ["an order to the append thread", MessageType.StorageAppend, {}, "local-message"],
    [
      "a response of the append thread",
      MessageType.StorageAppendResponse,
      { index: 3, logTerm: 1 },
      "local-message",
    ],
    ["a report of the application", MessageType.SnapshotStatus, {}, "local-message"],
    ["an answer of a member that is not listed", MessageType.AppendResponse, { from: 9n }, "unknown-sender"],
    ["a message in the core's own name", MessageType.VoteResponse, { from: 1n }, "misaddressed"],
    ["a message to somebody else", MessageType.Vote, { to: 3n }, "misaddressed"],
    ["an index beyond the safe range", MessageType.Append, { index: 2 ** 53, logTerm: 1 }, "invalid-field"],
    ["a proposal, with forwarding off", MessageType.Propose, { term: 0 }, "proposal-from-peer"],
  ] as const)("%s is refused, counted and changes nothing", (_, type, fields, reason) => {
    const core = new TestCore({ log: [1, 1, 1], config: { disableProposalForwarding: true } });
    if (type === MessageType.AppendResponse) core.lead();
    // The log of a member that restarts in a term counts as matched: a later term is not.
    const m = { ...message(type, core.raw.term + (type === MessageType.Heartbeat ? 1 : 0)), ...fields };
    const before = [core.raw.committed, core.raw.lastIndex, core.raw.role];
    expect(core.raw.step(m)).toEqual({ ok: false, reason });
    expect(core.raw.refusedMessages.get(reason)).toBe(1);
    if (type !== MessageType.Heartbeat) expect(core.raw.hasReady()).toBe(false);
    core.drain();
    expect([core.raw.committed, core.raw.lastIndex, core.raw.role]).toEqual(before);
  });
});

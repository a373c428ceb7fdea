/** Whether a peer is the data directory, the copy of it and the process that it was before. */
import { until } from "../base/support/until";
import { PeerAdmission } from "../../src/cluster/peer_admission";
import { PeerIdentities } from "../../src/cluster/peer_identity";
import type { MetStore } from "../../src/cluster/peer_identity";
import type { Handshake } from "../../src/generated/muster/raft/v1/raft_service";
import { MessageType, newMessage } from "../../src/raft/index";
import type { Message } from "../../src/raft/index";
import { publishCommand } from "../../src/roster/index";
import type { MetInstance } from "../../src/storage/member_files";
import { handshakeOf } from "../../src/transport/handshake";
import { CLUSTER_ID, instanceId } from "../replica/support/first_log";
import { envelope } from "../roster/support/log";
import { ELECTION_TICKS, MemoryCluster, urlOf } from "./support/memory_cluster";

const boot = (n: number): Buffer => Buffer.alloc(16, n);

function handshake(n: number, given: Partial<Handshake> = {}): Handshake {
  const self = { clusterId: CLUSTER_ID, memberId: BigInt(n), instanceId: instanceId(n), peerUrl: urlOf(n) };
  return { ...handshakeOf(self, 1n), ...given };
}

class MemoryMet implements MetStore {
  initial: readonly MetInstance[] = [];
  written: readonly MetInstance[] = [];
  /** Set while writes wait for it. */
  private release: ((error: Error | null) => void) | null = null;

  write(met: readonly MetInstance[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.release = (error) => {
        this.release = null;
        if (error !== null) {
          reject(error);
          return;
        }
        this.written = met;
        resolve();
      };
    });
  }

  get waits(): boolean {
    return this.release !== null;
  }

  async end(error: Error | null = null): Promise<void> {
    await until(() => this.waits);
    this.release?.(error);
    await Promise.resolve();
  }
}

let cluster: MemoryCluster;
let identities: PeerIdentities;
let gate: PeerAdmission;
beforeEach(async () => {
  cluster = await new MemoryCluster().startLedBy(1);
  const { replica, log } = cluster.member(1);
  identities = new PeerIdentities(replica, log, null);
  gate = new PeerAdmission(replica, log, identities);
});

const check = (given: Handshake): string | null => {
  const error = gate.check(given);
  return error === null ? null : (error.reason ?? `unavailable: ${error.message}`);
};

/** Publishes a start of member 2. @returns the index of its entry */
async function publish(bootId: number, ...previous: number[]): Promise<number> {
  const command = publishCommand(envelope(), {
    id: 2n,
    instanceId: instanceId(2),
    adminUrls: ["http://10.0.0.2:7460"],
    version: "1.0.0",
    bootId: boot(bootId),
    previousBootIds: previous.map(boot),
  });
  await cluster.write(1, command).settled();
  return cluster.member(1).replica.roster.member(2n)?.bootRevision ?? 0;
}

describe("boot ids at the handshake", () => {
  let revision: number;
  beforeEach(async () => {
    revision = await publish(5);
  });

  test.each<[string, () => Partial<Handshake>, string | null]>([
    ["the start that published", () => ({ bootId: boot(5) }), null],
    ["a later start of it", () => ({ bootId: boot(6), previousBootIds: [boot(5)] }), null],
    [
      "one that knows a later publish than this member",
      () => ({ bootId: boot(9), bootRevision: revision }),
      null,
    ],
    ["an older copy", () => ({ bootId: boot(6), previousBootIds: [boot(4)] }), "MEMBER_ROLLED_BACK"],
    ["a copy without a list", () => ({ bootId: boot(6), bootRevision: 1 }), "MEMBER_ROLLED_BACK"],
    ["a version without boot ids", () => ({}), null],
  ])("%s", (_what, given, expected) => {
    expect(check(handshake(2, given()))).toBe(expected);
  });

  test("the text says what it is and what to do", () => {
    const text = gate.check(handshake(2, { bootId: boot(6) }))?.message ?? "";
    expect(text).toContain("member n2 (2) runs from an older copy of its data directory");
    expect(text).toContain("stop it, remove the member and add it again");
  });

  test("an open stream is ended once another copy has published", async () => {
    gate.accepted(handshake(2, { bootId: boot(5) }));
    expect(gate.expelled(2n)).toBeNull();
    await publish(7, 5);
    expect(gate.expelled(2n)?.reason).toBe("MEMBER_ROLLED_BACK");
  });
});

describe("the term at the handshake", () => {
  const answer = (type: MessageType, term: number): Message => newMessage(type, 1n, 2n, term);

  test.each([
    [MessageType.AppendResponse, "MEMBER_ROLLED_BACK"],
    [MessageType.VoteResponse, "MEMBER_ROLLED_BACK"],
    [MessageType.HeartbeatResponse, null],
    [MessageType.PreVoteResponse, null],
  ])("below that of an answer of type %s", (type, expected) => {
    const { term } = cluster.member(1).replica;
    gate.accepted(handshake(2, { term }));
    gate.receive(2n, [answer(type, term)]);
    expect(check(handshake(2, { term }))).toBeNull();
    expect(check(handshake(2, { term: term - 1 }))).toBe(expected);
    expect(check(handshake(2, { term: 0 }))).toBeNull();
  });

  test("a term that this member does not believe is not remembered", () => {
    const { term } = cluster.member(1).replica;
    gate.accepted(handshake(2, { term }));
    gate.receive(2n, [answer(MessageType.AppendResponse, term + 2 ** 30)]);
    expect(check(handshake(2, { term }))).toBeNull();
  });
});

describe("two processes of one member", () => {
  const first = handshake(2, { bootId: boot(1) });
  const second = handshake(2, { bootId: boot(2), previousBootIds: [boot(1)] });
  const warnings = () =>
    cluster.member(1).log.texts.filter((text) => text.includes("second process connects as this member"));

  test("the second waits until the first is silent for an election timeout; one line says so", async () => {
    gate.accepted(first);
    gate.receive(2n, [newMessage(MessageType.HeartbeatResponse, 1n, 2n, 1)]);
    for (let i = 0; i < 3; i++)
      expect(check(second)).toMatch(/^unavailable: another process runs as member 2/);
    expect(warnings()).toHaveLength(1);
    await cluster.run(ELECTION_TICKS - 1);
    expect(check(second)).not.toBeNull();
    await cluster.run(1);
    expect(check(second)).toBeNull();
  });

  test("a stream that is closed lets the next start in at once", () => {
    gate.accepted(first);
    expect(check(second)).not.toBeNull();
    gate.closed(2n);
    expect([check(second), warnings().length]).toEqual([null, 1]);
  });

  test("the same start may connect again at any time", () => {
    gate.accepted(first);
    expect(check(first)).toBeNull();
  });
});

describe("a data directory that was not met before", () => {
  let met: MemoryMet;
  let received: number;
  const message = newMessage(MessageType.HeartbeatResponse, 1n, 9n, 1);
  beforeEach(() => {
    const { replica, log } = cluster.member(1);
    met = new MemoryMet();
    received = 0;
    replica.receive = (from, messages) => {
      if (from !== 2n && from !== 3n) received += messages.length;
    };
    identities = new PeerIdentities(replica, log, met);
    gate = new PeerAdmission(replica, log, identities);
    gate.accepted(handshake(9));
  });

  test("its messages wait until it is on the disk that it was met", async () => {
    gate.receive(9n, [message, message]);
    gate.receive(9n, [message]);
    expect(received).toBe(0);
    await met.end();
    await identities.settled();
    expect([received, met.written]).toEqual([3, [{ memberId: 9n, instanceId: instanceId(9) }]]);
    gate.receive(9n, [message]);
    expect(received).toBe(4);
  });

  test("another one under the same id is refused, from the moment that the first is written", async () => {
    const other = handshake(9, { instanceId: boot(77) });
    expect(check(other)).toBe("MEMBER_WIPED");
    await met.end();
    await identities.settled();
    expect([check(other), check(handshake(9))]).toEqual(["MEMBER_WIPED", null]);
    expect(identities.metAnother(9n, boot(77))).toBe(true);
    expect(identities.metAnother(9n, new Uint8Array(0))).toBe(true);
    expect(identities.metAnother(9n, instanceId(9))).toBe(false);
    expect(identities.metAnother(8n, boot(77))).toBe(false);
  });

  test("what was written before is known after a restart", () => {
    met.initial = [{ memberId: 9n, instanceId: instanceId(9) }];
    const { replica, log } = cluster.member(1);
    gate = new PeerAdmission(replica, log, new PeerIdentities(replica, log, met));
    expect([check(handshake(9)), check(handshake(9, { instanceId: boot(77) }))]).toEqual([
      null,
      "MEMBER_WIPED",
    ]);
    gate.accepted(handshake(9));
    gate.receive(9n, [message]);
    expect(received).toBe(1);
  });

  test("a bounded number of messages waits", async () => {
    for (let i = 0; i < 1000; i++) gate.receive(9n, [message]);
    await met.end();
    await identities.settled();
    expect(received).toBe(64);
  });

  test("when it can't be written no message is taken, it is said, and tried again after an election timeout", async () => {
    gate.receive(9n, [message]);
    await met.end(new Error("no space"));
    await identities.settled();
    gate.receive(9n, [message]);
    expect([received, met.waits]).toEqual([0, false]);
    expect(cluster.member(1).log.texts.at(-1)).toContain("it can't be written which members were met");
    await cluster.run(ELECTION_TICKS);
    gate.receive(9n, [message]);
    await met.end();
    await identities.settled();
    expect(received).toBe(1);
  });

  test("two members that are met at once are both written", async () => {
    gate.accepted(handshake(8));
    gate.receive(8n, [message]);
    gate.receive(9n, [message]);
    await met.end();
    await met.end();
    await identities.settled();
    expect([met.written.map(({ memberId }) => memberId), received]).toEqual([[9n, 8n], 2]);
  });
});

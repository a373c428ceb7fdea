/**
 * A cluster of members made by assembleCluster, in memory: no socket, no disk, no time but the test's. What runs between
 * two ticks runs when a test settles the cluster.
 */
import { assembleCluster, DEFAULT_CLUSTER_LIMITS } from "../../../src/cluster/assemble";
import type { Cluster, ClusterLimits } from "../../../src/cluster/assemble";
import { HelloResponse } from "../../../src/generated/muster/raft/v1/raft_service";
import type { MachineNumber, StateMachine } from "../../../src/replica/state_machine";
import { DEFAULT_SNAPSHOT_POLICY } from "../../../src/replica/applier";
import type { SnapshotPolicy } from "../../../src/replica/applier";
import type { MemberRecord, RosterCommand } from "../../../src/roster/index";
import { handshakeOf } from "../../../src/transport/handshake";
import { ManualClock } from "../../base/support/manual_clock";
import { publish } from "../../roster/support/log";
import { CLUSTER_ID, foundingStorage, instanceId, joiningStorage } from "../../replica/support/first_log";
import { ListLog } from "../../replica/support/list_log";
import { MemoryNetwork } from "../../replica/support/memory_network";
import type { MemoryTransport } from "../../replica/support/memory_network";
import type { TestStorage } from "../../replica/support/test_storage";
import { WorkQueue } from "../../replica/support/work_queue";
import { DeterministicRandom } from "./deterministic_random";
import { MemoryPeers } from "./memory_peers";
import { callOf, writeOf } from "./test_calls";
import type { TestCallOptions } from "./test_calls";
import { Tracked, promisesSettle } from "./tracked";

export const HEARTBEAT_MS = 100;
export const ELECTION_TICKS = 10;
export const ELECTION_MS = HEARTBEAT_MS * ELECTION_TICKS;

export const urlOf = (n: number): string => `http://10.0.0.${n}:7461`;
export const adminUrlOf = (n: number): string => `http://10.0.0.${n}:7460`;

export interface ClusterMember extends Cluster {
  readonly n: number;
  readonly storage: TestStorage;
  readonly peers: MemoryPeers;
  readonly log: ListLog;
  readonly memoryTransport: MemoryTransport;
  readonly fatal: Error[];
  readonly removed: string[];
  readonly dismissed: number[];
  /** "id reason" of each refusal by another member. */
  readonly refusals: string[];
  /** What ended the member for good: reason and text. */
  readonly ended: string[];
}

export interface MemoryClusterOptions {
  readonly size?: number;
  readonly limits?: Partial<ClusterLimits>;
  readonly snapshots?: Partial<SnapshotPolicy>;
  readonly stateMachines?: (n: number) => ReadonlyMap<MachineNumber, StateMachine>;
}

export class MemoryCluster {
  readonly clock = new ManualClock();
  readonly queue = new WorkQueue();
  readonly network = new MemoryNetwork(this.queue);
  readonly members = new Map<number, ClusterMember>();
  /** Members whose unary calls nobody answers. */
  readonly deaf = new Set<number>();
  /** Data directories that are not the ones a member started with. */
  readonly wiped = new Set<number>();

  constructor(private readonly options: MemoryClusterOptions = {}) {
    const { size = 3 } = options;
    for (let n = 1; n <= size; n++) this.assemble(n, foundingStorage(this.queue, n, size));
  }

  private assemble(n: number, storage: TestStorage): ClusterMember {
    const { clock, queue, options } = this;
    const log = new ListLog();
    const random = new DeterministicRandom(n);
    const source = { random, wallNow: () => 1_700_000_000_000 + clock.now() };
    const peers = new MemoryPeers((url) => {
      const found = [...this.members.values()].find((member) => urlOf(member.n) === url);
      return found === undefined || this.deaf.has(found.n) ? null : { cluster: found, source };
    });
    peers.hello = (url) => Promise.resolve(this.helloAt(url));
    const refusals: string[] = [];
    const ended: string[] = [];
    let memoryTransport: MemoryTransport | null = null;
    const stateMachines = options.stateMachines?.(n);
    const cluster = assembleCluster({
      ...source,
      storage,
      transport: (events) => (memoryTransport = this.network.transport(BigInt(n), events)),
      peers,
      clock,
      defer: queue.defer,
      log,
      facts: { adminUrl: adminUrlOf(n), version: "1.0.0" },
      heartbeatMs: HEARTBEAT_MS,
      electionMs: ELECTION_MS,
      snapshots: { ...DEFAULT_SNAPSHOT_POLICY, ...options.snapshots },
      limits: { ...DEFAULT_CLUSTER_LIMITS, ...options.limits },
      onRefused: (id, reason) => refusals.push(`${String(id)} ${reason}`),
      onEnd: (reason, text) => ended.push(`${reason}: ${text}`),
      ...(stateMachines === undefined ? {} : { stateMachines }),
    });
    if (memoryTransport === null) throw new Error("the cluster layer made no transport");
    const fatal: Error[] = [];
    const removed: string[] = [];
    const dismissed: number[] = [];
    cluster.replica.listen({
      onFatal: (error) => fatal.push(error),
      onRemoved: (text) => removed.push(text),
      onDismissed: (revision) => dismissed.push(revision),
    });
    const member = {
      ...cluster,
      n,
      storage,
      peers,
      log,
      memoryTransport,
      fatal,
      removed,
      dismissed,
      refusals,
      ended,
    };
    this.members.set(n, member);
    this.network.attach(BigInt(n), (from, messages) => {
      this.passGate(member, Number(from), () => cluster.peerAdmission.receive(from, messages));
    });
    return member;
  }

  /** What the member at any port of its address answers; null where there is none, and for one that is deaf. */
  helloAt(url: string): Uint8Array | null {
    const n = Number(/^http:\/\/10\.0\.0\.(\d+):/.exec(url)?.[1]);
    if (!this.members.has(n) || this.deaf.has(n)) return null;
    const { clusterId, instanceId: instance, memberId } = this.member(n).storage.identity;
    const hello = {
      name: `n${n}`,
      clusterId,
      memberId,
      instanceId: Buffer.from(instance),
      peerUrl: urlOf(n),
    };
    return HelloResponse.encode(HelloResponse.fromPartial(hello)).finish();
  }
  /** Which member's last answer to which other was a refusal. */
  private readonly refusing = new Set<string>();

  /** As a stream does: the gate of `to` decides, and the sender hears of a refusal. */
  private passGate(to: ClusterMember, from: number, receive: () => void): void {
    const instance = instanceId(this.wiped.has(from) ? 255 : from);
    const self = {
      clusterId: CLUSTER_ID,
      memberId: BigInt(from),
      instanceId: instance,
      peerUrl: urlOf(from),
    };
    const handshake = handshakeOf(self, BigInt(to.n));
    const { events } = this.member(from).memoryTransport;
    const refusal = to.peerAdmission.check(handshake);
    if (refusal === null) {
      to.peerAdmission.diskFull(BigInt(from), this.member(from).memoryTransport.diskFull);
      to.peerAdmission.accepted(handshake);
      if (this.refusing.delete(`${to.n} ${from}`)) events.onAccepted?.(BigInt(to.n));
      receive();
      return;
    }
    this.refusing.add(`${to.n} ${from}`);
    this.queue.defer(() => events.onRefused(BigInt(to.n), refusal.reason ?? "", refusal.message));
  }

  /** Starts a member that the cluster has added. It finds the others at their URLs. */
  join(n: number): ClusterMember {
    const member = this.assemble(n, joiningStorage(this.queue, n));
    member.replica.start();
    for (const { id, peerUrls } of this.roster())
      if (id !== BigInt(n)) member.replica.addProvisionalPeer({ id, peerUrls });
    return member;
  }

  /** The process of member `n` ends, and another one opens the same storage. It does nothing before its start. */
  restart(n: number): ClusterMember {
    const { replica, transport, storage } = this.member(n);
    transport.stop();
    replica.stop();
    return this.assemble(n, storage);
  }

  member(n: number): ClusterMember {
    const member = this.members.get(n);
    if (member === undefined) throw new Error(`no member ${n}`);
    return member;
  }

  /** The members as the leader has them. */
  roster(): readonly MemberRecord[] {
    return this.leader().rosterMachine.roster.members();
  }

  leader(): ClusterMember {
    const leaders = [...this.members.values()].filter(({ replica }) => replica.isLeader);
    leaders.sort((a, b) => b.replica.term - a.replica.term);
    const [first] = leaders;
    if (first === undefined) throw new Error("nobody leads");
    return first;
  }

  // --- Time ---------------------------------------------------------------------------------------------------------

  /** Carries out all that needs no time. */
  async settle(): Promise<void> {
    do {
      this.queue.run();
      await promisesSettle();
    } while (this.queue.size > 0);
  }

  /** Lets ticks pass, and carries out all that follows from each. */
  async run(ticks: number): Promise<void> {
    for (let i = 0; i < ticks; i++) {
      this.clock.advance(HEARTBEAT_MS);
      await this.settle();
    }
  }

  /** Starts all members; member `n` leads, all are in contact for long enough and, unless asked not to, published. */
  async startLedBy(n: number, published = true): Promise<this> {
    for (const { replica } of this.members.values()) replica.start();
    await this.lead(n);
    if (published)
      for (const member of this.members.values()) await this.write(n, publish(member.n)).settled();
    await this.run(2 * ELECTION_TICKS);
    return this;
  }

  async lead(n: number): Promise<void> {
    const { replica } = this.member(n);
    for (let ticks = 0; !replica.isLeader; ticks++) {
      if (ticks > 200) throw new Error(`member ${n} does not become leader`);
      await this.run(1);
      const other = [...this.members.values()].find((member) => member.replica.isLeader && member.n !== n);
      if (other === undefined || replica.leader !== other.replica.id) continue;
      other.replica.transferLeader(replica.id);
      await this.settle();
    }
    await this.run(2);
  }

  // --- Calls --------------------------------------------------------------------------------------------------------

  /** A write that member `n` takes. */
  write(
    n: number,
    command: RosterCommand,
    options: TestCallOptions & { readonly validateOnly?: boolean } = {},
  ) {
    const call = callOf(this.clock, options);
    const request = writeOf(command, options.validateOnly);
    const { writes } = this.member(n);
    const answer = writes
      .execute(request, call)
      .then((found) => (Buffer.isBuffer(found) ? Number(found.toString()) : found));
    const tracked = new Tracked(answer);
    const settled = async (): Promise<number> => {
      await this.settle();
      if (tracked.state !== "done")
        throw new Error(`the write is ${tracked.state}: ${String(tracked.error)}`);
      return tracked.value ?? NaN;
    };
    return { call, tracked, settled };
  }
}

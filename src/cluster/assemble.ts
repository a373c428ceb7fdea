/**
 * One member's cluster layer, put together: the replica and all that stands on it. The product, the simulation and the
 * tests all start here: no other place connects these parts.
 */
import type { Clock } from "../base/clock";
import type { Deadline } from "../base/deadline";
import type { Log } from "../base/log";
import type { Random } from "../base/random";
import type { NodeId } from "../raft/index";
import type { SnapshotPolicy } from "../replica/applier";
import { Replica } from "../replica/replica";
import type { MachineNumber, StateMachine } from "../replica/state_machine";
import type { HistoryOptions, Roster } from "../roster/index";
import type { Storage } from "../storage/storage";
import type { PeerCalls } from "../transport/peer_calls";
import type { Transport, TransportEvents } from "../transport/transport";
import { NO_BOOT } from "./boots";
import type { Boots } from "./boots";
import { Divergence } from "./divergence";
import { ChangeQueue } from "./leader/change_queue";
import { handOverWhenFull } from "./leader/disk_handover";
import { ARRIVED, LeaderViews } from "./leader/leader_view";
import { Steward } from "./leader/steward";
import { Submissions } from "./leader/submissions";
import { readHello } from "./leader/url_check";
import { AddressHints } from "./address_hints";
import { executePublish } from "./moved_address";
import { PeerAdmission } from "./peer_admission";
import { PeerIdentities } from "./peer_identity";
import type { MetStore } from "./peer_identity";
import { askHello } from "./peer_questions";
import { Publisher } from "./publish";
import type { PublishedFacts } from "./publish";
import { Reads } from "./reads";
import { RosterMachine } from "./roster_machine";
import { Routing } from "./routing";
import { Transfers } from "./transfers";
import { Verdicts, isVerdict } from "./verdicts";
import type { VerdictReason } from "./verdicts";
import { WaitingRoom } from "./waiting_room";
import { Watches } from "./watch/watches";
import { Writes } from "./writes";

/** What a cluster layer is made of. */
interface ClusterParts {
  /** Open; its identity is this member's. */
  readonly storage: Storage;
  /** Opens the way to the other members. */
  readonly transport: (events: TransportEvents) => Transport;
  readonly peers: PeerCalls;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly wallNow: () => number;
  /** Runs a function soon, in a turn of its own: setImmediate in the product. */
  readonly defer: (fn: () => void) => void;
  readonly random: Random;
  readonly log: Log;
  readonly facts: Omit<PublishedFacts, "instanceId">;
  /** Addresses where members may listen, whatever the roster says; in normal form. @default none */
  readonly hints?: readonly string[];
  /** The boot ids of this start. @default none: nothing tells a copy of the data directory, for tests */
  readonly boots?: Boots;
  /** Keeps which data directories of other members were met. @default in memory only, for tests */
  readonly metStore?: MetStore;
  /** One tick; see ReplicaOptions. */
  readonly heartbeatMs: number;
  /** The election timeout, and how long a forwarded call waits for a connection; see ReplicaOptions. */
  readonly electionMs: number;
  readonly snapshots: SnapshotPolicy;
  readonly limits: ClusterLimits;
  /** Lengths of the roster's history: for tests only. */
  readonly history?: HistoryOptions;
  /** State machines beside the roster, by number (1 to 127). @default none */
  readonly stateMachines?: ReadonlyMap<MachineNumber, StateMachine>;
  /**
   * This member can't go on under its id: its data directory is not the one that the cluster knows, or it was removed and
   * the others are gone. A removal that is certain comes by the replica's onRemoved instead.
   */
  readonly onEnd: (reason: VerdictReason, text: string) => void;
  /** Another member refused this one, for a reason that says nothing against this member itself. */
  readonly onRefused: (id: NodeId, reason: string, text: string) => void;
  /** Another copy of this member's data directory has published since: this one must stop. @default ignored, for tests */
  readonly onRolledBack?: () => void;
}

export interface ClusterLimits {
  /**
   * Most writes that are under way on this member at once, wherever they wait: for a leader, for the leader's answer, or
   * here for their entry. More are refused with TOO_MANY_REQUESTS. Raise it where many callers write at the same moment and can wait;
   * lower it to refuse them sooner.
   * @default 4096: about as many as are committed in one second
   */
  readonly writesWaitingMax: number;
  /**
   * Most linearizable reads that are under way on this member at once. More are refused with TOO_MANY_REQUESTS. Raise it where very many callers read in the same round;
   * lower it to bound memory.
   * @default 16384
   */
  readonly readsWaitingMax: number;
  /**
   * Most watches that are open on this member at once. More are refused with TOO_MANY_REQUESTS. Raise it where more
   * clients follow the roster at one member, about 40 KiB of memory for each; lower it to bound memory.
   * @default 16384
   */
  readonly watchesMax: number;
}

export const DEFAULT_CLUSTER_LIMITS: ClusterLimits = {
  writesWaitingMax: 4096,
  readsWaitingMax: 16_384,
  watchesMax: 16_384,
};

export interface Cluster {
  readonly replica: Replica;
  readonly rosterMachine: RosterMachine;
  readonly submissions: Submissions;
  readonly routing: Routing;
  readonly writes: Writes;
  readonly reads: Reads;
  readonly transfers: Transfers;
  readonly watches: Watches;
  readonly publisher: Publisher;
  readonly peerAdmission: PeerAdmission;
  /** The data directories of members: this one's, and whether another one of a member is known than that given. */
  readonly instances: { readonly own: Uint8Array; metAnother: PeerIdentities["metAnother"] };
  /** Null where nothing tells a copy of the data directory. */
  readonly boots: Boots | null;
  readonly transport: Transport;
}

/** Restores the state machines; nothing runs before `replica.start()`. @throws when the snapshot can't be restored */
export function assembleCluster(parts: ClusterParts): Cluster {
  const { storage, clock, random, log, heartbeatMs, electionMs, peers, limits, onRefused, history } = parts;
  const { clusterId, instanceId } = storage.identity;
  const transport = parts.transport({
    onUnreachable: (id) => {
      replica.reportUnreachable(id);
      verdicts.unreachable(id);
    },
    rosterDigest: (to) => divergence.tell(to),
    onAccepted: (id) => {
      verdicts.accepted(id);
      replica.reaches(id);
    },
    onSnapshotResult: (id, delivered) => {
      replica.reportSnapshot(id, delivered);
    },
    onRefused: (id, reason, text) => {
      if (reason === "MEMBER_REMOVED") replica.refusedAsRemoved(id);
      if (isVerdict(reason)) verdicts.refused(id, reason, text);
      else onRefused(id, reason, text);
    },
  });
  const rosterMachine = new RosterMachine({ clusterId, log, ...(history === undefined ? {} : { history }) });
  const replica = new Replica({
    ...parts,
    transport,
    membership: rosterMachine,
    machines: parts.stateMachines ?? new Map(),
    firstReadContext: random.u64(),
  });
  const verdicts = judgedBy(replica, parts);
  const roster = () => rosterMachine.roster;
  const views = new LeaderViews({ replica, roster, heartbeatMs, waitingMax: limits.writesWaitingMax });
  const askUrl = (url: string) => whoIsAt(peers, url);
  const changes = new ChangeQueue({ ...parts, replica, roster, views, askUrl });
  const submissions = new Submissions({ ...parts, replica, views, changes, roster });
  const routing = new Routing(replica, clock, (id) => replica.peerUrl(id));
  const connectMs = electionMs;
  const room = new WaitingRoom("writes", limits.writesWaitingMax);
  const writes = new Writes({ replica, submissions, peers, routing, room, connectMs });
  const readsRoom = new WaitingRoom("reads", limits.readsWaitingMax);
  const reads = new Reads({ replica, clock, peers, routing, room: readsRoom, connectMs });
  const transfers = new Transfers({ replica, reads, peers, routing, connectMs });
  const watches = watchesOf(replica, roster, parts);
  const publisher = new Publisher({
    ...parts,
    claim: () => parts.boots?.claim ?? NO_BOOT,
    replica,
    execute: (request, call) =>
      executePublish(request, parts, { replica, writes, drewRequestId: true }, call),
    facts: { ...parts.facts, instanceId },
    onVerdict: (by, reason, text) => {
      verdicts.refused(by, reason, text);
    },
  });
  const boots = watchBoots(replica, parts);
  const identities = new PeerIdentities(replica, log, parts.metStore ?? null);
  const divergence = new Divergence({ replica, roster, onDiverged: replica.fail.bind(replica) });
  const peerAdmission = new PeerAdmission(replica, log, identities, divergence);
  leadsByItself(replica, parts, views, submissions);
  new AddressHints({ replica, identities, peers, instanceId, urls: parts.hints ?? [] });
  const instances = { own: instanceId, metAnother: identities.metAnother.bind(identities) };
  const calls = { submissions, routing, writes, reads, transfers, watches, instances };
  return { replica, rosterMachine, ...calls, publisher, peerAdmission, boots, transport };
}

/** What a leader does without being asked. */
function leadsByItself(
  replica: Replica,
  parts: ClusterParts,
  views: LeaderViews,
  submissions: Submissions,
): void {
  handOverWhenFull(replica, parts.log);
  const view = (deadline: Deadline) => views.of({ deadline }, ARRIVED, 0);
  new Steward({ ...parts, replica, submissions, view });
}

async function whoIsAt(peers: PeerCalls, url: string): Promise<ReturnType<typeof readHello> | "nobody"> {
  const hello = await askHello(peers, url);
  return hello === null ? "nobody" : readHello(hello);
}

function watchesOf(replica: Replica, changes: () => Roster, { clock, defer, limits }: ClusterParts): Watches {
  return new Watches({ replica, changes, clock, defer, room: new WaitingRoom("watches", limits.watchesMax) });
}

/**
 * Follows this member's own record: a publish of this start shortens the list of boot ids, one of another copy ends it.
 *
 * @returns the boot ids; null where nothing tells a copy of the data directory
 */
function watchBoots(replica: Replica, { boots, onRolledBack }: ClusterParts): Boots | null {
  if (boots === undefined) return null;
  replica.listen({
    onApplied: () => {
      const own = replica.roster.member(replica.id);
      if (own !== null && !boots.noticed(own)) onRolledBack?.();
    },
  });
  return boots;
}

/** What others say of this member, heard as long as the replica runs. */
function judgedBy(replica: Replica, { storage, log, onEnd }: ClusterParts): Verdicts {
  const verdicts = new Verdicts({
    replica,
    instanceId: storage.identity.instanceId,
    log,
    onRemoved: (by, text) => {
      replica.leaveOnWordOf(by, text);
    },
    onEnd,
  });
  replica.listen({
    onTick: () => {
      verdicts.tick();
    },
    onApplied: () => {
      verdicts.applied();
    },
  });
  return verdicts;
}

/**
 * One member's cluster layer, put together: the replica and all that stands on it. The product, the simulation and the
 * tests all start here: no other place connects these parts.
 */
import type { Clock } from "../base/clock";
import type { Log } from "../base/log";
import type { Random } from "../base/random";
import { NO_NODE } from "../raft/index";
import type { NodeId } from "../raft/index";
import type { SnapshotPolicy } from "../replica/applier";
import { Replica } from "../replica/replica";
import type { MachineNumber, StateMachine } from "../replica/state_machine";
import type { HistoryOptions } from "../roster/index";
import type { Storage } from "../storage/storage";
import type { PeerCalls } from "../transport/peer_calls";
import type { Transport, TransportEvents } from "../transport/transport";
import { ChangeQueue } from "./leader/change_queue";
import { LeaderViews } from "./leader/leader_view";
import { Submissions } from "./leader/submissions";
import { PeerAdmission } from "./peer_admission";
import { askHello } from "./peer_questions";
import { Publisher } from "./publish";
import type { PublishedFacts } from "./publish";
import { Reads } from "./reads";
import { RosterMachine } from "./roster_machine";
import { Routing } from "./routing";
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
   * Another member refused this one, with the reason of its error. A refusal as removed does not come here: the replica
   * handles it, and its listeners hear of it. NO_NODE: it is not known which member.
   */
  readonly onRefused: (id: NodeId, reason: string, text: string) => void;
}

export interface ClusterLimits {
  /**
   * Most writes that wait on this member at once. Raise it where many callers write at the same moment and can wait;
   * lower it to refuse them sooner.
   * @default 4096: about as many as are committed in one second
   */
  readonly writesWaitingMax: number;
  /**
   * Most linearizable reads that wait on this member at once. Raise it where very many callers read in the same round;
   * lower it to bound memory.
   * @default 16384
   */
  readonly readsWaitingMax: number;
}

export const DEFAULT_CLUSTER_LIMITS: ClusterLimits = { writesWaitingMax: 4096, readsWaitingMax: 16_384 };

export interface Cluster {
  readonly replica: Replica;
  readonly rosterMachine: RosterMachine;
  readonly submissions: Submissions;
  readonly routing: Routing;
  readonly writes: Writes;
  readonly reads: Reads;
  readonly publisher: Publisher;
  readonly peerAdmission: PeerAdmission;
  readonly transport: Transport;
}

/** Restores the state machines; nothing runs before `replica.start()`. @throws when the snapshot can't be restored */
export function assembleCluster(parts: ClusterParts): Cluster {
  const { storage, clock, random, log, heartbeatMs, electionMs, peers, limits, onRefused, history } = parts;
  const { clusterId, instanceId } = storage.identity;
  const transport = parts.transport({
    onUnreachable: (id) => {
      replica.reportUnreachable(id);
    },
    onSnapshotResult: (id, delivered) => {
      replica.reportSnapshot(id, delivered);
    },
    onRefused: (id, reason, text) => {
      if (reason === "MEMBER_REMOVED") replica.refusedAsRemoved(id, text);
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
  const roster = () => rosterMachine.roster;
  const views = new LeaderViews({ replica, roster, heartbeatMs, waitingMax: limits.writesWaitingMax });
  const askJoiner = async (name: string, peerUrl: string): Promise<boolean> => {
    const hello = await askHello(peers, peerUrl);
    return hello !== null && hello.waitingToJoin && hello.name === name;
  };
  const changes = new ChangeQueue({ replica, roster, views, askJoiner });
  const submissions = new Submissions({ replica, clock, views, changes });
  const routing = new Routing(replica);
  const connectMs = electionMs;
  const writes = new Writes({ replica, submissions, peers, routing, connectMs });
  const reads = new Reads({ replica, clock, peers, routing, waitingMax: limits.readsWaitingMax, connectMs });
  const publisher = new Publisher({
    ...parts,
    replica,
    writes,
    facts: { ...parts.facts, instanceId },
    onRefused: (reason, text) => {
      if (reason === "MEMBER_REMOVED") replica.refusedAsRemoved(NO_NODE, text);
      else onRefused(NO_NODE, reason, text);
    },
  });
  const peerAdmission = new PeerAdmission(replica, log);
  return { replica, rosterMachine, submissions, routing, writes, reads, publisher, peerAdmission, transport };
}

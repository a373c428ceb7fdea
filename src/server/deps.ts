/** The dependencies of a member. Each has a default for production; tests and the simulation replace some. */
import { systemClock } from "../base/clock";
import type { Clock } from "../base/clock";
import type { Log } from "../base/log";
import { systemRandom } from "../base/random";
import type { Random } from "../base/random";
import { DEFAULT_CLUSTER_LIMITS } from "../cluster/assemble";
import type { Cluster, ClusterLimits } from "../cluster/assemble";
import { DEFAULT_LISTENER_LIMITS } from "../rpc/listener_limits";
import type { ListenerLimits } from "../rpc/listener_limits";
import { DEFAULT_SNAPSHOT_POLICY } from "../replica/applier";
import type { SnapshotPolicy } from "../replica/applier";
import type { MachineNumber, StateMachine } from "../replica/state_machine";
import type { HistoryOptions } from "../roster/index";
import type { StorageFs } from "../storage/fs";
import { nodeFs } from "../storage/node_fs";
import type { WalOptions } from "../storage/options";
import type { Storage } from "../storage/storage";
import type { ServerConfig } from "./config";
import { GrpcWire } from "./grpc_wire";
import { createLogger } from "./logger";
import type { Wire } from "./wire";

export interface MemberDeps {
  /** Monotonic time and timers. @default systemClock */
  readonly clock: Clock;
  /** The wall clock: milliseconds since 1970. @default Date.now */
  readonly wallNow: () => number;
  /** Runs a function soon, in a separate turn of the event loop. @default setImmediate */
  readonly defer: (fn: () => void) => void;
  /** @default systemRandom */
  readonly random: Random;
  /** The file system of the data directory. @default nodeFs */
  readonly fs: StorageFs;
  /** @default the logger of logger.ts, with the configured name and level */
  readonly log: Log;
  /** When to take snapshots. Tests lower the limits so that few entries lead to one. @default DEFAULT_SNAPSHOT_POLICY */
  readonly snapshots: SnapshotPolicy;
  /** How many calls may wait at once. Tests lower it to reach the limit. @default DEFAULT_CLUSTER_LIMITS */
  readonly limits: ClusterLimits;
  /** Connections to each listener, and calls on them. @default DEFAULT_LISTENER_LIMITS */
  readonly listeners: Partial<ListenerLimits>;
  /** Sizes of the log's files. Tests lower them to reach every boundary with few entries. @default as in WalOptions */
  readonly wal: WalOptions;
  /** Lengths of the roster's histories. Equal on every member, so only tests change them. @default as in HistoryOptions */
  readonly history: HistoryOptions;
  /** State machines beside the roster, by number (1 to 127). @default none */
  readonly stateMachines: ReadonlyMap<MachineNumber, StateMachine>;
  /** Creates listeners, transport and calls between members. @default gRPC (grpc_wire.ts) */
  readonly wire: (deps: MemberDeps) => Wire;
  /** Gets the parts of a member before they run, for tests and simulations. @default does nothing */
  readonly observer: MemberObserver;
}

interface MemberObserver {
  /** Called when the log is open, before anything reads it. */
  opened?(storage: Storage): void;
  /** Called when the cluster layer is assembled, before any part of it runs. */
  assembled?(cluster: Cluster): void;
}

export function defaultDeps(config: ServerConfig): MemberDeps {
  return {
    clock: systemClock,
    wallNow: Date.now,
    defer: (fn) => {
      setImmediate(fn);
    },
    random: systemRandom,
    fs: nodeFs,
    log: createLogger(config.name, config.logLevel),
    snapshots: DEFAULT_SNAPSHOT_POLICY,
    limits: DEFAULT_CLUSTER_LIMITS,
    listeners: DEFAULT_LISTENER_LIMITS,
    wal: {},
    history: {},
    stateMachines: new Map(),
    wire: (deps) => new GrpcWire({ ...deps, electionMs: config.electionMs }),
    observer: {},
  };
}

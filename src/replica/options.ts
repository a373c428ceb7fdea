/** What a replica is made of. Everything that is not deterministic is among it. */
import type { Clock } from "../base/clock";
import type { Log } from "../base/log";
import type { RandomSource } from "../raft/index";
import type { Storage } from "../storage/storage";
import type { Transport } from "../transport/transport";
import type { SnapshotPolicy } from "./applier";
import type { MachineNumber, MembershipMachine, StateMachine } from "./state_machine";

export interface ReplicaOptions {
  readonly storage: Storage;
  readonly membership: MembershipMachine;
  /** Other machines on the same log, by number (1 to 127). */
  readonly machines: ReadonlyMap<MachineNumber, StateMachine>;
  readonly transport: Transport;
  readonly clock: Clock;
  /** Runs a function soon, in a turn of its own: setImmediate in the product. */
  readonly defer: (fn: () => void) => void;
  readonly random: RandomSource;
  /** Random, nonzero: the first context of this process's reads. */
  readonly firstReadContext: bigint;
  /**
   * One tick, in milliseconds: the leader sends a heartbeat at each. Raise it to send less between members; lower it,
   * with electionMs, for a new leader sooner.
   */
  readonly heartbeatMs: number;
  /**
   * Without word from a leader for so long, drawn anew between this and twice as much, a member campaigns. In
   * milliseconds; several heartbeats, so that one that is lost does no harm. Raise it where members pause or the network
   * is slow; lower it to be without a leader for a shorter time.
   */
  readonly electionMs: number;
  readonly snapshots: SnapshotPolicy;
  readonly log: Log;
}

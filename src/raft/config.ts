/**
 * Options of one core. Durations are in calls of tick(); the node owns the clock.
 */
import type { LogReader } from "./log_reader";
import { isMemberId } from "./types";
import type { NodeId } from "./types";

/** How a leader confirms, before it answers a linearizable read, that it still leads. */
export enum ReadOnlyOption {
  /** By one round of heartbeats for all waiting reads. */
  Safe = 0,
  /** By its lease, without messages. Unsafe when clocks drift. */
  LeaseBased = 1,
}

/** A pseudo-random source. Injected, so that a run can be replayed. */
export interface RandomSource {
  /** A whole number in [0, n). n is a positive safe integer. */
  below(n: number): number;
}

/** Receives the core's log lines, for people. A missing method drops lines of that level. */
export interface RaftTrace {
  debug?(text: string): void;
  info?(text: string): void;
  warn?(text: string): void;
}

export interface RaftConfig {
  /** This member's id; never NO_NODE nor one of the reserved thread ids. */
  readonly id: NodeId;
  readonly storage: LogReader;
  readonly random: RandomSource;
  readonly trace?: RaftTrace;

  /**
   * Ticks without a message from the leader before a follower campaigns; drawn anew from [n, 2n) in each term. Also the
   * limit of a leadership transfer and the interval of CheckQuorum. Unit: calls of tick().
   *
   * Raise it when healthy leaders lose their leadership (slow network, long pauses). Lower it to elect a new leader
   * sooner after a failure; keep it at several heartbeats, so that a lost one starts no election.
   * @default 10
   * @throws ConfigError unless greater than heartbeatTicks
   * @see Raft paper, section 5.2
   */
  readonly electionTicks?: number;

  /**
   * Ticks between two heartbeats of a leader.
   *
   * Raise it to send fewer messages in large or idle groups. Lower it (down to 1) so that followers learn of commits,
   * and lost messages are repeated, sooner.
   * @default 1
   * @throws ConfigError unless positive
   */
  readonly heartbeatTicks?: number;

  /**
   * The index up to which the application has applied, which is the index of the configuration that storage returns as
   * its initial state. Entries up to it are not handed out again.
   *
   * A higher value saves applying again after a restart; a lower one, down to the newest snapshot, is safe when the
   * state machine starts from there.
   * @default 0 (from the first entry that storage holds)
   */
  readonly applied?: number;

  /**
   * Whether writing and applying are handed out as messages to the storage threads, and confirmed by their responses.
   *
   * Turn it on to write, send and apply concurrently. Leave it off for the simpler ready() and advance().
   * @default false; the product sets it
   */
  readonly asyncStorageWrites?: boolean;

  /**
   * The largest number of bytes of entries in one Append message; one entry is always sent, however large.
   *
   * Raise it for throughput on links of high bandwidth. Lower it to keep heartbeats and votes from waiting behind large
   * messages; 0 sends one entry per message.
   * @default 1 MiB
   */
  readonly maxSizePerMessage?: number;

  /**
   * The largest number of bytes of committed entries that are handed out and not yet applied; one entry is always
   * handed out, however large.
   *
   * Raise it so that the state machine applies in larger batches. Lower it to bound the memory and the length of one
   * batch, for instance while a member replays its log.
   * @default maxSizePerMessage, at least 1
   */
  readonly maxCommittedSizePerReady?: number;

  /**
   * The largest number of payload bytes that this leader has proposed and not yet applied. A proposal beyond it is
   * refused with "uncommitted-size". Accepted all the same: any proposal while nothing is outstanding, and a proposal
   * without payload.
   *
   * Raise it when proposals are refused although the group keeps up on average. Lower it to bound the leader's memory
   * while it has no quorum: without a limit its log grows as long as proposals arrive.
   * @default unlimited
   */
  readonly maxUncommittedSize?: number;

  /**
   * The largest number of Append messages to one follower without an acknowledgement.
   *
   * Raise it when the round trip, not the bandwidth, limits replication. Lower it to bound the memory that a slow
   * follower takes up in the leader's send buffers.
   * @default 256
   */
  readonly maxInflightMessages?: number;

  /**
   * The largest number of payload bytes in Append messages to one follower without an acknowledgement. One message may
   * cross the limit.
   *
   * Raise it, to bandwidth times round trip, when it limits replication. Lower it to bound the send buffers when
   * messages differ much in size.
   * @default unlimited
   * @throws ConfigError when below maxSizePerMessage
   */
  readonly maxInflightBytes?: number;

  /**
   * Whether a leader steps down that has not heard from a quorum for an election timeout, and members that hear a
   * leader ignore candidates.
   *
   * Turn it on so that a leader that is cut off stops, and a member that returns does not interrupt a healthy leader.
   * Leave it off only to follow the paper strictly.
   * @default false; the product sets it
   * @see Raft thesis, section 6.2
   */
  readonly checkQuorum?: boolean;

  /**
   * Whether a member asks if it could win before it campaigns, which raises no term.
   *
   * Turn it on, together with checkQuorum, so that a member that returns causes no election. Leave it off to save the
   * additional round trip of each election.
   * @default false; the product sets it
   * @see Raft thesis, section 9.6
   */
  readonly preVote?: boolean;

  /**
   * How reads are confirmed. LeaseBased saves the round of heartbeats and is linearizable only while clocks run at
   * nearly the same rate; the product never uses it.
   * @default ReadOnlyOption.Safe
   * @throws ConfigError for LeaseBased without checkQuorum
   */
  readonly readOnly?: ReadOnlyOption;

  /**
   * Whether a follower refuses proposals instead of forwarding them to the leader, and refuses forwarded ones.
   *
   * Turn it on when the caller should learn the proposal's index and term, or why it was refused: a forwarded one
   * returns neither. Leave it off when any member should accept proposals.
   * @default false; the product sets it
   */
  readonly disableProposalForwarding?: boolean;

  /**
   * Whether configuration changes are appended without checking them against the active configuration.
   *
   * Turn it on only for scripts that need a change that the checks would refuse: two changes may then be pending at the
   * same time, which is not safe.
   * @default false
   */
  readonly disableConfChangeValidation?: boolean;

  /**
   * Whether a leader steps down when it applies its own removal or demotion.
   *
   * Turn it on so that the voters elect one of their own. Leave it off when the application moves leadership away
   * before it removes a leader; otherwise the removed leader leads until another is elected.
   * @default false; the product sets it
   */
  readonly stepDownOnRemoval?: boolean;

  /**
   * Whether heartbeats name the index up to which the follower has acknowledged the log in this term, so that a follower
   * whose log ends before it says so. No correct member loses what it acknowledged: its data directory is an older copy.
   *
   * Turn it on where a member's disk may be put back to an earlier state. Leave it off to send the messages of etcd's
   * raft, which leave the field at zero.
   * @default false; the product sets it
   */
  readonly reportRegress?: boolean;
}

/** An option has an invalid value. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  constructor(
    readonly option: keyof RaftConfig,
    message: string,
  ) {
    super(`${option}: ${message}`);
  }
}

/** A configuration with every default filled in. */
export type ResolvedConfig = Required<Omit<RaftConfig, "trace">> & { readonly trace: RaftTrace | undefined };

/**
 * Fills in defaults and checks each option.
 * @throws ConfigError naming the first option that is wrong
 */
export function validateRaftConfig(config: RaftConfig): ResolvedConfig {
  const maxSizePerMessage = config.maxSizePerMessage ?? 1024 * 1024;
  const resolved: ResolvedConfig = {
    id: config.id,
    storage: config.storage,
    random: config.random,
    trace: config.trace,
    electionTicks: config.electionTicks ?? 10,
    heartbeatTicks: config.heartbeatTicks ?? 1,
    applied: config.applied ?? 0,
    asyncStorageWrites: config.asyncStorageWrites ?? false,
    maxSizePerMessage,
    maxCommittedSizePerReady: config.maxCommittedSizePerReady ?? Math.max(1, maxSizePerMessage),
    maxUncommittedSize: config.maxUncommittedSize ?? Infinity,
    maxInflightMessages: config.maxInflightMessages ?? 256,
    maxInflightBytes: config.maxInflightBytes ?? Infinity,
    checkQuorum: config.checkQuorum ?? false,
    preVote: config.preVote ?? false,
    readOnly: config.readOnly ?? ReadOnlyOption.Safe,
    disableProposalForwarding: config.disableProposalForwarding ?? false,
    disableConfChangeValidation: config.disableConfChangeValidation ?? false,
    stepDownOnRemoval: config.stepDownOnRemoval ?? false,
    reportRegress: config.reportRegress ?? false,
  };
  checkNumbers(resolved);
  if (!isMemberId(resolved.id)) throw new ConfigError("id", `${resolved.id} is no member id`);
  if (resolved.readOnly === ReadOnlyOption.LeaseBased && !resolved.checkQuorum) {
    throw new ConfigError("readOnly", "lease-based reads need checkQuorum");
  }
  return resolved;
}

function checkNumbers(config: ResolvedConfig): void {
  requireCount(config, "heartbeatTicks", 1);
  requireCount(config, "electionTicks", 1);
  if (config.electionTicks <= config.heartbeatTicks) {
    throw new ConfigError("electionTicks", "must be greater than heartbeatTicks");
  }
  requireCount(config, "applied", 0);
  requireCount(config, "maxInflightMessages", 1);
  requireBytes(config, "maxSizePerMessage", 0);
  requireBytes(config, "maxCommittedSizePerReady", 1);
  requireBytes(config, "maxUncommittedSize", 1);
  requireBytes(config, "maxInflightBytes", 1);
  if (config.maxInflightBytes < config.maxSizePerMessage) {
    throw new ConfigError("maxInflightBytes", "must hold one message of maxSizePerMessage");
  }
}

function requireCount(
  config: ResolvedConfig,
  option: "heartbeatTicks" | "electionTicks" | "applied" | "maxInflightMessages",
  min: number,
): void {
  const value = config[option];
  if (!Number.isSafeInteger(value) || value < min) {
    throw new ConfigError(option, `${value} is no whole number of at least ${min}`);
  }
}

function requireBytes(
  config: ResolvedConfig,
  option: "maxSizePerMessage" | "maxCommittedSizePerReady" | "maxUncommittedSize" | "maxInflightBytes",
  min: number,
): void {
  const value = config[option];
  if (!(value === Infinity || Number.isSafeInteger(value)) || value < min) {
    throw new ConfigError(option, `${value} is no size of at least ${min} bytes`);
  }
}

/**
 * Options of one core. Durations are in calls of tick(); the node owns the clock.
 */
import type { LogReader } from "./log_reader";
import { isMemberId } from "./types";
import type { NodeId } from "./types";

/** How a linearizable read learns that this leader still leads. */
export enum ReadOnlyOption {
  /** One heartbeat round confirms every read waiting. The product's only mode. */
  Safe = 0,
  /** Trusts the leader lease; unsafe under clock drift. Needs checkQuorum. */
  LeaseBased = 1,
}

/** A pseudo-random source. Injected, so that a run can be replayed. */
export interface RandomSource {
  /** A whole number in [0, n). n is a positive safe integer. */
  below(n: number): number;
}

/** Where the core tells what it does. All optional: a missing sink costs one check. */
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
   * Ticks without word from a leader before a follower campaigns; drawn anew from [n, 2n) in each term.
   * @default 10
   * @throws ConfigError unless greater than heartbeatTicks
   * @see Raft paper, section 5.2
   */
  readonly electionTicks?: number;

  /**
   * Ticks between two heartbeats of a leader.
   * @default 1
   * @throws ConfigError unless positive
   */
  readonly heartbeatTicks?: number;

  /**
   * Index up to which the application has applied: the index of the configuration that storage gives as its initial
   * state. Entries up to it are not handed out again.
   * @default 0 (from the first entry that storage holds)
   */
  readonly applied?: number;

  /** Whether storage work is handed out as messages to the local threads. @default false */
  readonly asyncStorageWrites?: boolean;

  /** Most bytes of entries in one Append message; at least one entry is always sent. @default 1 MiB */
  readonly maxSizePerMessage?: number;

  /** Most bytes of committed entries in one Ready. @default maxSizePerMessage */
  readonly maxCommittedSizePerReady?: number;

  /** Most bytes of proposals not yet committed; more are dropped. @default unlimited */
  readonly maxUncommittedSize?: number;

  /** Most Append messages in flight to one follower. @default 256 */
  readonly maxInflightMessages?: number;

  /** Most bytes of Append messages in flight to one follower. @default unlimited */
  readonly maxInflightBytes?: number;

  /** A leader steps down when it does not hear a quorum for an election timeout. @default false */
  readonly checkQuorum?: boolean;

  /** Ask before campaigning, so that a returning member does not disturb. Thesis section 9.6. @default false */
  readonly preVote?: boolean;

  /** @default ReadOnlyOption.Safe */
  readonly readOnly?: ReadOnlyOption;

  /** Refuses proposals at followers in place of forwarding them. @default false; the product sets it */
  readonly disableProposalForwarding?: boolean;

  /** Appends membership changes without checking them against the configuration. For the suites. @default false */
  readonly disableConfChangeValidation?: boolean;

  /** A leader that a membership change removes or demotes steps down when it applies it. @default false; the product sets it */
  readonly stepDownOnRemoval?: boolean;
}

/** A bad option. `option` names it. */
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

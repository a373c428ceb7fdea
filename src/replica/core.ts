/** The Raft core as the product runs it: which of its options are on, and its limits. */
import type { Log } from "../base/log";
import { RawNode } from "../raft/index";
import type { NodeId, RandomSource } from "../raft/index";
import type { Storage } from "../storage/storage";

interface CoreOptions {
  readonly id: NodeId;
  readonly storage: Storage;
  readonly random: RandomSource;
  readonly log: Log;
  /** An election timeout in ticks; a heartbeat is one tick. */
  readonly electionTicks: number;
  /** Index of the last entry that the state machines have. */
  readonly applied: number;
}

/** Entries of one message, in bytes: large enough to keep a follower busy, small beside the wire's limit. */
const BYTES_PER_APPEND_MAX = 1024 * 1024;
/** Messages with entries on their way to one follower that were not answered yet. */
const APPENDS_IN_FLIGHT_MAX = 512;
/** Bytes proposed and not yet committed; beyond it proposals wait. Bounds the memory of a leader without a quorum. */
const UNCOMMITTED_BYTES_MAX = 64 * 1024 * 1024;

/**
 * The core of a member that starts now. It has heard no leader for longer than it can tell, so it begins one tick short of
 * an election timeout, which brings a cold cluster its leader sooner; PreVote keeps it from disturbing one that has a leader.
 */
export function createCore({ id, storage, random, log, electionTicks, applied }: CoreOptions): RawNode {
  const core = new RawNode({
    id,
    storage,
    random,
    trace: {
      info: (text) => {
        log.debug({ member: id }, text);
      },
    },
    electionTicks,
    heartbeatTicks: 1,
    applied,
    asyncStorageWrites: true,
    maxSizePerMessage: BYTES_PER_APPEND_MAX,
    maxInflightMessages: APPENDS_IN_FLIGHT_MAX,
    maxUncommittedSize: UNCOMMITTED_BYTES_MAX,
    checkQuorum: true,
    preVote: true,
    disableProposalForwarding: true,
    stepDownOnRemoval: true,
    reportRegress: true,
  });
  for (let i = 1; i < electionTicks; i++) core.tick();
  return core;
}

/**
 * Groups of cores, for tests of one scenario.
 */
import { ConfChangeType, EMPTY_BYTES, EMPTY_CONF_STATE, EntryType } from "../../../src/raft/types";
import type { Message, MessageType } from "../../../src/raft/message";
import type {
  ConfChange,
  ConfChangeSingle,
  ConfState,
  Entry,
  NodeId,
  Snapshot,
} from "../../../src/raft/types";
import { exchange, TestCore } from "./core";
import type { CoreOptions } from "./core";

export const ELECTION_TICKS = 10;

export const add = (nodeId: NodeId): ConfChangeSingle => ({ type: ConfChangeType.AddVoter, nodeId });
export const remove = (nodeId: NodeId): ConfChangeSingle => ({ type: ConfChangeType.Remove, nodeId });
export const demote = (nodeId: NodeId): ConfChangeSingle => ({ type: ConfChangeType.AddLearner, nodeId });

export function changeEntry(term: number, index: number, confChange: ConfChange): Entry {
  return { term, index, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
}

export function snapshotAt(index: number, term: number, confState: Partial<ConfState>): Snapshot {
  return { meta: { index, term, confState: { ...EMPTY_CONF_STATE, ...confState } }, data: EMPTY_BYTES };
}

export function types(messages: readonly Message[]): MessageType[] {
  return messages.map((m) => m.type);
}

/** Members 1 to `size` of one group. Member 1 leads, and all members have applied the whole log. */
export function group(size: number, options: CoreOptions = {}): TestCore[] {
  const voters = Array.from({ length: size }, (_, i) => BigInt(i + 1));
  const cores = voters.map((id, i) => new TestCore({ voters, ...options, id, seed: i + 1 }));
  cores[0]?.raw.campaign();
  exchange(cores);
  cores[0]?.raw.tick();
  exchange(cores);
  return cores;
}

export function settle(cores: readonly TestCore[], ticks = 2, lost?: (m: Message) => boolean): void {
  exchange(cores, lost);
  for (let i = 0; i < ticks; i++) {
    for (const core of cores) core.raw.tick();
    exchange(cores, lost);
  }
}

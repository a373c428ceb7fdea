/** The log that every founding member begins with: one addition for each of them, committed. */
import {
  ConfChangeTransition,
  ConfChangeType,
  EMPTY_BYTES,
  EntryType,
  NO_NODE,
} from "../../../src/raft/index";
import type { Entry } from "../../../src/raft/index";
import { addMemberCommand, encodeCommand } from "../../../src/roster/index";
import { CLUSTER_ID, newMember } from "../../roster/support/log";
import { TestStorage } from "./test_storage";
import type { WorkQueue } from "./work_queue";

export { CLUSTER_ID };

/** Sixteen bytes that only member `n` has. */
export function instanceId(n: number): Uint8Array {
  return new Uint8Array(16).fill(n);
}

function foundingEntry(n: number): Entry {
  const context = encodeCommand(addMemberCommand({ proposalId: 0n, timeMs: 0 }, newMember(n)));
  const changes = [{ type: ConfChangeType.AddVoter, nodeId: BigInt(n) }];
  const confChange = { transition: ConfChangeTransition.Auto, changes, context };
  return { index: n, term: 1, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
}

function identity(n: number) {
  return { clusterId: CLUSTER_ID, memberId: BigInt(n), instanceId: instanceId(n) };
}

/** The storage of member `n` of the founding members 1 to `size`. */
export function foundingStorage(queue: WorkQueue, n: number, size: number): TestStorage {
  const entries = Array.from({ length: size }, (_, i) => foundingEntry(i + 1));
  return new TestStorage(queue, {
    identity: identity(n),
    entries,
    hardState: { term: 1, vote: NO_NODE, commit: size },
  });
}

/** The storage of a member that a running cluster has added. */
export function joiningStorage(queue: WorkQueue, n: number): TestStorage {
  return new TestStorage(queue, { identity: identity(n) });
}

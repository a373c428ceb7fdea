/**
 * Small values for tests of the core: entries, snapshots, and one member on a test storage.
 */
import {
  EMPTY_BYTES,
  EMPTY_CONF_STATE,
  EntryType,
  MessageType,
  newMessage,
  RawNode,
  SeededRandom,
} from "../../../src/raft/index";
import type {
  ConfChange,
  Entry,
  Message,
  MessageDraft,
  NodeId,
  RaftConfig,
  Snapshot,
} from "../../../src/raft/index";
import { TestStorage } from "../../conformance/test_storage";

export function entry(index: number, term: number, bytes = 0): Entry {
  return { index, term, type: EntryType.Normal, data: new Uint8Array(bytes), confChange: null };
}

export function entries(first: number, ...terms: number[]): Entry[] {
  return terms.map((term, i) => entry(first + i, term));
}

export function snapshotAt(index: number, term: number, voters: readonly NodeId[] = [1n, 2n, 3n]): Snapshot {
  return { meta: { index, term, confState: { ...EMPTY_CONF_STATE, voters } }, data: EMPTY_BYTES };
}

export function change(part: Partial<ConfChange>): ConfChange {
  return { transition: 0, changes: [], context: EMPTY_BYTES, ...part };
}

export function storageOf(voters: readonly NodeId[], base = 0, log: readonly Entry[] = []): TestStorage {
  const storage = new TestStorage(snapshotAt(base, base === 0 ? 0 : 1, voters));
  storage.append(log);
  return storage;
}

export function nodeOn(storage: TestStorage, config: Partial<RaftConfig> = {}): RawNode {
  return new RawNode({ id: 1n, storage, random: new SeededRandom(1), ...config });
}

export function message(
  type: MessageType,
  from: NodeId,
  term: number,
  part: Partial<MessageDraft> = {},
): Message {
  return { ...newMessage(type, 1n, from, term), ...part };
}

/** Carries out Readys, with synchronous writes, until there are none. @returns all messages that left */
export function settle(node: RawNode, storage: TestStorage): Message[] {
  const sent: Message[] = [];
  while (node.hasReady()) {
    const ready = node.ready();
    if (ready.hardState !== null) storage.hardState = ready.hardState;
    if (ready.snapshot !== null) storage.install(ready.snapshot);
    storage.append(ready.entries);
    for (const e of ready.committedEntries) {
      const confState = e.confChange === null ? null : node.applyConfChange(e.confChange, e.index);
      storage.applied(e, e.data, confState);
    }
    sent.push(...ready.messages);
    node.advance();
  }
  return sent;
}

/** Makes node 1 leader of the next term with the votes of `voters`. */
export function elect(node: RawNode, storage: TestStorage, voters: readonly NodeId[]): Message[] {
  node.campaign();
  const sent = settle(node, storage);
  for (const id of voters) node.step(message(MessageType.VoteResponse, id, node.term));
  return [...sent, ...settle(node, storage)];
}

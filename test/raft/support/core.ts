/**
 * One core with a disk that never fails, driven message by message, for tests of a single rule.
 */
import type { RaftConfig } from "../../../src/raft/config";
import { MessageType, newMessage } from "../../../src/raft/message";
import type { Message } from "../../../src/raft/message";
import { RawNode } from "../../../src/raft/raw_node";
import type { ReadState } from "../../../src/raft/ready";
import { EMPTY_BYTES, EMPTY_CONF_STATE, EntryType, NO_NODE } from "../../../src/raft/types";
import type { ConfChange, ConfState, Entry, HardState, NodeId, Snapshot } from "../../../src/raft/types";
import { LogImage } from "./log_image";
import { SeededRandom } from "./seeded_random";

export interface CoreOptions {
  readonly id?: NodeId;
  readonly voters?: readonly NodeId[];
  readonly learners?: readonly NodeId[];
  /** In place of `voters` and `learners`. */
  readonly confState?: ConfState;
  /** Terms of the entries from index 1 on. */
  readonly log?: readonly number[];
  readonly hardState?: Partial<HardState>;
  readonly config?: Partial<RaftConfig>;
  readonly seed?: number;
}

/** A normal entry without data. */
export function entryAt(term: number, index: number): Entry {
  return { term, index, type: EntryType.Normal, data: EMPTY_BYTES, confChange: null };
}

/** A message from member 2 to member 1, unless `fields` say otherwise; the other fields are zero. */
export function message(type: MessageType, term: number, fields: Partial<Message> = {}): Message {
  return { ...newMessage(type, 1n, 2n, term), ...fields };
}

export class TestCore {
  raw: RawNode;
  readonly disk = new LogImage();
  readonly applied: Entry[] = [];
  readonly reads: ReadState[] = [];
  readonly id: NodeId;
  confState: ConfState;
  private config: RaftConfig;

  constructor(options: CoreOptions = {}) {
    const { voters = [1n, 2n, 3n], learners = [], log = [] } = options;
    this.id = options.id ?? 1n;
    this.confState = options.confState ?? { ...EMPTY_CONF_STATE, voters, learners };
    const disk = this.disk;
    disk.write({
      hardState: { term: log.at(-1) ?? 0, vote: NO_NODE, commit: 0, ...options.hardState },
      snapshot: null,
      entries: log.map((term, i) => entryAt(term, i + 1)),
      mustSync: true,
    });
    this.config = {
      id: this.id,
      storage: {
        initialState: () => ({ hardState: disk.hardState, confState: this.confState }),
        entries: (lo, hi, max) => disk.entries(lo, hi, max),
        term: (index) => disk.term(index),
        firstIndex: () => disk.firstIndex(),
        lastIndex: () => disk.lastIndex(),
        snapshot: () => disk.snapshot(),
      },
      random: new SeededRandom(options.seed ?? 1),
      ...options.config,
    };
    this.raw = new RawNode(this.config);
  }

  /** Restarts from the disk. */
  restart(config: Partial<RaftConfig> = {}): void {
    this.config = { ...this.config, ...config };
    this.applied.length = 0;
    this.raw = new RawNode(this.config);
  }

  /** Carries out Readys until there are none, and returns the messages that leave. */
  drain(): Message[] {
    const out: Message[] = [];
    while (this.raw.hasReady()) {
      const ready = this.raw.ready();
      this.disk.write(ready);
      for (const entry of ready.committedEntries) this.apply(entry);
      this.reads.push(...ready.readStates);
      out.push(...ready.messages);
      this.raw.advance();
    }
    return out;
  }

  /** Steps messages, carries out Readys and returns the messages that leave. Refusals are ignored. */
  step(...messages: readonly Message[]): Message[] {
    for (const m of messages) this.raw.step({ ...m, to: this.id });
    return this.drain();
  }

  tick(times: number): Message[] {
    const out: Message[] = [];
    for (let i = 0; i < times; i++) {
      this.raw.tick();
      out.push(...this.drain());
    }
    return out;
  }

  /** Campaigns and wins with the votes of all other members. Messages that leave meanwhile are dropped. */
  lead(): void {
    this.raw.campaign();
    for (const request of this.drain()) {
      const type =
        request.type === MessageType.PreVote ? MessageType.PreVoteResponse : MessageType.VoteResponse;
      for (const next of this.step(message(type, request.term, { from: request.to }))) {
        if (next.type !== MessageType.Vote) continue;
        this.step(message(MessageType.VoteResponse, next.term, { from: next.to }));
      }
    }
  }

  /** Acknowledges the whole log, or up to `index`, in the name of `from`. */
  acknowledge(from: NodeId, index = this.raw.lastIndex): Message[] {
    return this.step(message(MessageType.AppendResponse, this.raw.term, { from, index }));
  }

  propose(...texts: readonly string[]): Message[] {
    this.raw.propose(texts.map((text) => Buffer.from(text)));
    return this.drain();
  }

  /** Terms of the log, from the first entry held. */
  terms(): number[] {
    const terms: number[] = [];
    for (let i = this.disk.firstIndex(); i <= this.disk.lastIndex(); i++) {
      const term = this.disk.term(i);
      if (typeof term === "number") terms.push(term);
    }
    return terms;
  }

  /** Saves a snapshot at the applied index and drops the log up to it. */
  compact(): Snapshot {
    const index = this.raw.applied;
    const term = this.disk.term(index);
    if (typeof term !== "number") throw new Error(`no entry ${index}`);
    const snapshot: Snapshot = { meta: { index, term, confState: this.confState }, data: EMPTY_BYTES };
    this.disk.saveSnapshot(snapshot, index);
    return snapshot;
  }

  private apply(entry: Entry): void {
    this.applied.push(entry);
    if (entry.confChange !== null) this.confState = this.raw.applyConfChange(entry.confChange);
  }
}

/** A change in the form that the product proposes. */
export function changeOf(
  changes: ConfChange["changes"],
  transition: ConfChange["transition"] = 0,
  context = EMPTY_BYTES,
): ConfChange {
  return { transition, changes, context };
}

/** Delivers messages among cores until there are none. Messages for which `lost` returns true are dropped. */
export function exchange(cores: readonly TestCore[], lost: (m: Message) => boolean = () => false): void {
  const byId = new Map(cores.map((core) => [core.id, core]));
  let mail = cores.flatMap((core) => core.drain());
  for (let turn = 0; mail.length > 0; turn++) {
    if (turn === MAX_TURNS) throw new Error("the group does not come to rest");
    const next: Message[] = [];
    for (const m of mail) {
      const target = byId.get(m.to);
      if (target !== undefined && !lost(m)) next.push(...target.step(m));
    }
    mail = next;
  }
}

const MAX_TURNS = 1000;

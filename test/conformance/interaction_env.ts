/**
 * The group that an interaction script drives: members, the messages between them, and the work of their storage
 * threads. Everything happens on demand, in the order that the script asks for.
 */
import {
  EMPTY_BYTES,
  EntryType,
  LOCAL_APPLY_THREAD,
  MessageType,
  newMessage,
  RawNode,
  SeededRandom,
} from "../../src/raft/index";
import type {
  Entry,
  HardState,
  Message,
  NodeId,
  RaftConfig,
  Snapshot,
  StepRefusal,
} from "../../src/raft/index";
import { describeEntry, describeMessage, describeReady, indent } from "./interaction_format";
import { TestStorage } from "./test_storage";

/** The errors of etcd-raft that its harness prints. */
export const PROPOSAL_DROPPED = "raft proposal dropped";
const PEER_NOT_FOUND = "raft: cannot step as peer not found";

const PEER_ANSWERS: ReadonlySet<MessageType> = new Set([
  MessageType.AppendResponse,
  MessageType.VoteResponse,
  MessageType.PreVoteResponse,
  MessageType.HeartbeatResponse,
  MessageType.ReadIndexResponse,
]);

/** The options of a member that a script sets; the others are fixed. */
export type NodeOptions = Omit<RaftConfig, "id" | "storage" | "random">;

export interface ScriptNode {
  readonly id: NodeId;
  readonly storage: TestStorage;
  readonly options: NodeOptions;
  raw: RawNode;
  appendWork: Message[];
  applyWork: Message[];
}

/** How messages are delivered. */
export interface Delivery {
  readonly to: NodeId;
  readonly drop: boolean;
}

export class InteractionEnv {
  readonly nodes: ScriptNode[] = [];
  messages: Message[] = [];
  private lines: string[] = [];
  private silent = false;
  private details = false;

  /** Takes what was printed since the last call. */
  takeOutput(): string {
    const text = this.lines.join("\n");
    this.lines = [];
    return text;
  }

  setSilent(silent: boolean): void {
    this.silent = silent;
  }

  get isSilent(): boolean {
    return this.silent;
  }

  /** From here on prints what etcd-raft's harness does not: reasons of refusals, contexts of messages. */
  showDetails(): void {
    this.details = true;
  }

  print(text: string): void {
    if (!this.silent) this.lines.push(text);
  }

  printDetail(text: string): void {
    if (this.details) this.print(text);
  }

  private describe(m: Message): string {
    return describeMessage(m, this.details);
  }

  /** Runs `body` with its output indented. */
  indented(body: () => void): void {
    const before = this.lines;
    this.lines = [];
    body();
    const inner = this.lines;
    this.lines = before;
    for (const text of inner) this.lines.push(indent(text));
  }

  node(id: NodeId): ScriptNode {
    const node = this.nodes.find((n) => n.id === id);
    if (node === undefined) throw new Error(`no node ${id}`);
    return node;
  }

  addNode(base: Snapshot | null, options: NodeOptions): void {
    const id = BigInt(this.nodes.length + 1);
    const storage = base === null ? new TestStorage() : new TestStorage(base);
    const raw = start(id, storage, options);
    this.nodes.push({ id, storage, options, raw, appendWork: [], applyWork: [] });
  }

  /** Crash and start: what the storage threads had not done is lost, as is what the state machine had in memory. */
  restart(id: NodeId): void {
    const node = this.node(id);
    node.appendWork = [];
    node.applyWork = [];
    this.messages = this.messages.filter((m) => !(m.to === id && isLocal(m)));
    node.storage.crash();
    node.raw = start(id, node.storage, node.options);
  }

  processReady(node: ScriptNode): void {
    const ready = node.raw.ready();
    this.print(describeReady(ready, this.details));
    if (node.options.asyncStorageWrites === true) {
      for (const m of ready.messages) {
        if (m.type === MessageType.StorageAppend) node.appendWork.push(m);
        else if (m.type === MessageType.StorageApply) node.applyWork.push(m);
        else this.messages.push(m);
      }
      return;
    }
    append(node, ready.hardState, ready.entries, ready.snapshot);
    apply(node, ready.committedEntries);
    this.messages.push(...ready.messages);
    node.raw.advance();
  }

  processAppendThread(node: ScriptNode): void {
    const work = node.appendWork.shift();
    if (work === undefined) {
      this.print("no append work to perform");
      return;
    }
    this.printWork(work);
    const hardState = { term: work.term, vote: work.vote, commit: work.commit };
    append(node, work.term === 0 ? null : hardState, work.entries, work.snapshot);
    this.messages.push(...work.responses);
  }

  processApplyThread(node: ScriptNode): void {
    const work = node.applyWork.shift();
    if (work === undefined) {
      this.print("no apply work to perform");
      return;
    }
    this.printWork(work);
    apply(node, work.entries);
    this.messages.push(...work.responses);
  }

  private printWork(work: Message): void {
    this.print("Processing:");
    this.print(this.describe({ ...work, responses: [] }));
    this.print("Responses:");
    for (const m of work.responses) this.print(this.describe(m));
  }

  hasMail(id: NodeId): boolean {
    return this.messages.some((m) => m.to === id);
  }

  /** Delivers or drops the messages of one recipient. @returns how many there were */
  deliver({ to, drop }: Delivery, type: MessageType | null, order: (mail: Message[]) => Message[]): number {
    const mail: Message[] = [];
    const rest: Message[] = [];
    for (const m of this.messages) {
      const wanted = m.to === to && !(drop && isLocal(m)) && (type === null || m.type === type);
      (wanted ? mail : rest).push(m);
    }
    this.messages = rest;
    for (const m of order(mail)) {
      this.print(`${drop ? "dropped: " : ""}${this.describe(m)}`);
      if (!drop) this.stepInto(m);
    }
    return mail.length;
  }

  private stepInto(m: Message): void {
    const { raw } = this.node(m.to);
    if (isLocal(m)) {
      // A member that is no longer in its own configuration does not count its own answers either.
      if (isPeerAnswer(m) && !raw.raft.tracker.progress.has(m.from)) this.print(PEER_NOT_FOUND);
      raw.stepLocal(m);
      return;
    }
    const result = raw.step(m);
    if (result.ok) return;
    if (result.reason === "unknown-sender" && isPeerAnswer(m)) this.print(PEER_NOT_FOUND);
    else if (isDroppedProposal(m, result.reason)) this.print(PROPOSAL_DROPPED);
    // A message of an earlier term is nothing unusual; every other refusal is a detail worth showing.
    if (result.reason !== "stale-term") this.printDetail(`refused: ${result.reason}`);
  }

  /** Runs the given members until nothing is left to do. */
  stabilize(nodes: readonly ScriptNode[]): void {
    let active = true;
    while (active) {
      active = false;
      const each = (
        what: string,
        wanted: (n: ScriptNode) => boolean,
        work: (n: ScriptNode) => void,
      ): void => {
        for (const node of nodes) {
          if (!wanted(node)) continue;
          active = true;
          this.print(`> ${node.id} ${what}`);
          this.indented(() => {
            work(node);
          });
        }
      };
      each(
        "handling Ready",
        (n) => n.raw.hasReady(),
        (n) => this.processReady(n),
      );
      each(
        "receiving messages",
        (n) => this.hasMail(n.id),
        (n) => {
          this.deliver({ to: n.id, drop: false }, null, (mail) => mail);
        },
      );
      each(
        "processing append thread",
        (n) => n.appendWork.length > 0,
        (n) => {
          while (n.appendWork.length > 0) this.processAppendThread(n);
        },
      );
      each(
        "processing apply thread",
        (n) => n.applyWork.length > 0,
        (n) => {
          while (n.applyWork.length > 0) this.processApplyThread(n);
        },
      );
    }
  }

  printLog(node: ScriptNode): void {
    const entries = node.storage.all();
    if (entries.length === 0) {
      this.print(
        `log is empty: first index=${node.storage.firstIndex()}, last index=${node.storage.lastIndex()}`,
      );
    }
    for (const entry of entries) this.print(describeEntry(entry));
  }

  sendSnapshot(from: ScriptNode, to: NodeId): void {
    const m = newMessage(MessageType.Snapshot, to, from.id, from.raw.term);
    m.snapshot = from.storage.snapshot();
    this.messages.push(m);
    this.print(this.describe(m));
  }
}

function start(id: NodeId, storage: TestStorage, options: NodeOptions): RawNode {
  return new RawNode({ ...options, id, storage, random: new SeededRandom(Number(id)) });
}

/** An answer that is refused when the configuration does not list its sender. */
function isPeerAnswer({ type, from }: Message): boolean {
  return PEER_ANSWERS.has(type) && from < LOCAL_APPLY_THREAD;
}

function isDroppedProposal({ type }: Message, reason: StepRefusal): boolean {
  return type === MessageType.Propose && (reason === "not-leader" || reason === "proposal-dropped");
}

/** Of this member itself: to its own core, from its threads or from its own votes and appends. */
function isLocal(m: Message): boolean {
  return m.from === m.to || m.from >= LOCAL_APPLY_THREAD;
}

function append(
  { storage }: ScriptNode,
  hardState: HardState | null,
  entries: readonly Entry[],
  snapshot: Snapshot | null,
): void {
  if (hardState !== null) storage.hardState = hardState;
  if (snapshot !== null) storage.install(snapshot);
  storage.append(entries);
}

function apply({ raw, storage }: ScriptNode, entries: readonly Entry[]): void {
  for (const entry of entries) {
    if (entry.type === EntryType.Normal || entry.confChange === null) {
      storage.applied(entry, entry.data, null);
    } else {
      storage.applied(entry, EMPTY_BYTES, raw.applyConfChange(entry.confChange, entry.index));
    }
  }
}

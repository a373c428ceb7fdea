/**
 * The speed of the Raft core alone: three cores in one process, storage in memory, messages passed directly.
 *
 *     node -r ./scripts/swc-register.js bench/raft_core.ts [--runs N] [--proposals N]
 *
 * Prints one table; every figure is the median of the runs, beside the lowest and the highest. The cores have the options
 * of the server (PreVote, CheckQuorum, 1 MiB per message, 512 in flight). Entries have 64 bytes.
 */
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ConfChangeTransition, ConfChangeType, EMPTY_BYTES, RawNode, Role } from "../src/raft/index";
import type { Message, NodeId, Snapshot } from "../src/raft/index";
import { LogImage } from "../test/raft/support/log_image";
import { SeededRandom } from "../test/raft/support/seeded_random";

const VOTERS: readonly NodeId[] = [1n, 2n, 3n];
const PAYLOAD_BYTES = 64;
/** Entries kept in memory when the log is compacted. */
const KEEP_ENTRIES = 5000;

/** One core and its log in memory. */
class Core {
  readonly disk = new LogImage();
  readonly raw: RawNode;
  applied = 0;
  confChanges = 0;
  private confState = {
    voters: VOTERS,
    learners: [],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };

  constructor(
    readonly id: NodeId,
    seed: number,
  ) {
    const start: Snapshot = { meta: { index: 1, term: 1, confState: this.confState }, data: EMPTY_BYTES };
    this.disk.write({
      hardState: { term: 1, vote: 0n, commit: 1 },
      snapshot: start,
      entries: [],
      mustSync: true,
    });
    this.raw = new RawNode({
      id,
      storage: this.disk,
      random: new SeededRandom(seed),
      applied: 1,
      preVote: true,
      checkQuorum: true,
      disableProposalForwarding: true,
      stepDownOnRemoval: true,
      maxInflightMessages: 512,
    });
  }

  /** Processes everything that is ready, and appends outgoing messages to `out`. */
  work(out: Message[]): void {
    const { raw, disk } = this;
    while (raw.hasReady()) {
      const ready = raw.ready();
      disk.write(ready);
      for (const m of ready.messages) out.push(m);
      for (const entry of ready.committedEntries) {
        this.applied = entry.index;
        if (entry.confChange === null) continue;
        raw.applyConfChange(entry.confChange, entry.index);
        this.confChanges++;
      }
      raw.advance();
    }
    if (disk.lastIndex() - disk.firstIndex() > 2 * KEEP_ENTRIES) this.cut();
  }

  private cut(): void {
    const { applied: index, disk } = this;
    const term = disk.term(index);
    if (typeof term !== "number") return;
    const confState = this.raw.status().confState;
    disk.saveSnapshot({ meta: { index, term, confState }, data: EMPTY_BYTES }, index - KEEP_ENTRIES);
  }
}

class Trio {
  readonly cores: readonly Core[];
  private mail: Message[] = [];
  private spare: Message[] = [];

  constructor(seed: number) {
    this.cores = VOTERS.map((id, i) => new Core(id, seed * 3 + i));
  }

  /** One turn of every core but `down`: processing, then delivery of the messages. False when no message was sent. */
  turn(down?: Core): boolean {
    for (const core of this.cores) if (core !== down) core.work(this.mail);
    const batch = this.mail;
    if (batch.length === 0) return false;
    this.mail = this.spare;
    this.spare = batch;
    for (const m of batch) {
      const core = this.cores[Number(m.to) - 1];
      if (core !== undefined && core !== down) core.raw.step(m);
    }
    batch.length = 0;
    return true;
  }

  settle(down?: Core): void {
    while (this.turn(down));
  }

  leader(except?: Core): Core | undefined {
    return this.cores.find((core) => core !== except && core.raw.role === Role.Leader);
  }

  elect(): Core {
    const [first] = this.cores;
    first?.raw.campaign();
    this.settle();
    const leader = this.leader();
    if (leader === undefined) throw new Error("no leader");
    return leader;
  }
}

/**
 * Proposals that the leader applies per second, with at most `outstanding` of them not yet applied.
 * @param perCall number of proposals in one call of propose
 */
function proposalsPerSecond(
  seed: number,
  outstanding: number,
  proposals: number,
  perCall = outstanding,
): number {
  const trio = new Trio(seed);
  const leader = trio.elect();
  const payload = new Uint8Array(PAYLOAD_BYTES);
  const first = leader.applied;
  let proposed = 0;
  const drive = (count: number): void => {
    const target = proposed + count;
    while (leader.applied - first < target) {
      let room = Math.min(outstanding - (proposed - (leader.applied - first)), target - proposed);
      for (; room > 0; room -= perCall) {
        const size = Math.min(room, perCall);
        const result = leader.raw.propose(new Array<Uint8Array>(size).fill(payload));
        if (!result.ok) throw new Error(result.reason);
        proposed += size;
      }
      trio.turn();
    }
  };
  drive(Math.ceil(proposals / 4));
  const start = process.hrtime.bigint();
  drive(proposals);
  return (proposals * 1e9) / Number(process.hrtime.bigint() - start);
}

/** Heap bytes that the three cores together allocate per proposal, with 64 outstanding. */
function bytesPerProposal(seed: number, collect: () => void): number {
  const trio = new Trio(seed);
  const leader = trio.elect();
  const payload = new Uint8Array(PAYLOAD_BYTES);
  const batch = new Array<Uint8Array>(64).fill(payload);
  const drive = (rounds: number): void => {
    for (let i = 0; i < rounds; i++) {
      leader.raw.propose(batch);
      trio.settle();
    }
  };
  drive(500);
  collect();
  const before = process.memoryUsage().heapUsed;
  drive(20);
  return (process.memoryUsage().heapUsed - before) / (20 * 64);
}

/** Ticks from the loss of the leader until another core is leader. */
function electionTicks(seed: number): number {
  const trio = new Trio(seed);
  const old = trio.elect();
  for (let ticks = 1; ; ticks++) {
    for (const core of trio.cores) if (core !== old) core.raw.tick();
    trio.settle(old);
    if (trio.leader(old) !== undefined) return ticks;
  }
}

/** Membership changes applied per second, one after another: a learner is added and removed in turn. */
function confChangesPerSecond(seed: number, changes: number): number {
  const trio = new Trio(seed);
  const leader = trio.elect();
  const { AddLearner, Remove } = ConfChangeType;
  const start = process.hrtime.bigint();
  for (let i = 0; i < changes; i++) {
    const result = leader.raw.proposeConfChange({
      transition: ConfChangeTransition.Auto,
      changes: [{ type: i % 2 === 0 ? AddLearner : Remove, nodeId: 4n }],
      context: EMPTY_BYTES,
    });
    if (!result.ok) throw new Error(result.reason);
    trio.settle();
  }
  if (leader.confChanges !== changes) throw new Error(`${leader.confChanges} of ${changes} changes applied`);
  return (changes * 1e9) / Number(process.hrtime.bigint() - start);
}

interface Row {
  readonly figure: string;
  readonly unit: string;
  readonly values: readonly number[];
}

function printTable(rows: readonly Row[]): void {
  const format = (n: number): string => Math.round(n).toLocaleString("en-US");
  const cells = rows.map(({ figure, unit, values }) => {
    const sorted = [...values].sort((a, b) => a - b);
    const [lowest = 0, median = 0, highest = 0] = [0, sorted.length >> 1, sorted.length - 1].map(
      (i) => sorted[i],
    );
    return [figure, unit, format(median), format(lowest), format(highest)];
  });
  const head = ["figure", "unit", "median", "lowest", "highest"];
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i]?.length ?? 0)));
  for (const row of [head, ...cells]) {
    const line = row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    process.stdout.write(`${line.join("  ").trimEnd()}\n`);
  }
}

function count(text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${String(text)} is no whole number`);
  return value;
}

function main(): void {
  const { values } = parseArgs({ options: { runs: { type: "string" }, proposals: { type: "string" } } });
  const runs = count(values.runs, 5);
  const proposals = count(values.proposals, 200_000);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const seeds = Array.from({ length: runs }, (_, i) => i + 1);
  const elections = Array.from({ length: 200 }, (_, i) => electionTicks(i + 1));
  printTable([
    {
      figure: "proposals committed, 1 outstanding",
      unit: "per s",
      values: seeds.map((seed) => proposalsPerSecond(seed, 1, Math.ceil(proposals / 8))),
    },
    {
      figure: "proposals committed, 64 outstanding",
      unit: "per s",
      values: seeds.map((seed) => proposalsPerSecond(seed, 64, proposals)),
    },
    {
      figure: "the same, each in a call of its own",
      unit: "per s",
      values: seeds.map((seed) => proposalsPerSecond(seed, 64, proposals, 1)),
    },
    {
      figure: "allocated per proposal, 3 cores",
      unit: "bytes",
      values: seeds.map((seed) => bytesPerProposal(seed, collect)),
    },
    { figure: "election after the leader's end", unit: "ticks", values: elections },
    {
      figure: "membership changes",
      unit: "per s",
      values: seeds.map((seed) => confChangesPerSecond(seed, 5000)),
    },
  ]);
}

main();

/**
 * One run of the random operator: a new cluster, the operations of a seed one after another, and after each what must hold.
 *
 * The rule of the quorum: when a majority of the voters was healthy before an operation, then the cluster serves afterwards
 * without the operator's help, whichever calls it accepted. The rules of the answers and of the disks hold always.
 */
import { endCluster } from "./operator_restore";
import { ACTIONS, comes } from "./operator_actions";
import { canMount, ELECTION_MS } from "./operator_member";
import { birthOf, flagOf, FLAGS, nextOperation, randomOf } from "./operator_plan";
import type { Birth, Flag, Operation } from "./operator_plan";
import { OperatorWorld, Violation } from "./operator_world";

export interface RunOptions {
  readonly seed: number;
  readonly operations: number;
  /** Kinds of operations that are left out. */
  readonly without: ReadonlySet<string>;
  /** Kinds of operations that come more often. */
  readonly often: ReadonlySet<string>;
  /** Whether the last operation is the loss of the quorum for good. */
  readonly endsInRescue: boolean;
  /** Gets each line of the report as it is written. */
  readonly print: (line: string) => void;
}

export interface RunResult {
  readonly seed: number;
  /** Operations done. */
  readonly done: number;
  readonly acknowledged: number;
  /** What was violated, with the operation after which it was seen; null when nothing was. */
  readonly violation: string | null;
  /** Where directories and logs are kept; null after a clean run. */
  readonly kept: string | null;
  /** How often each kind of operation was done. */
  readonly kinds: ReadonlyMap<string, number>;
}

/** How long two founders of three are watched: 40 election timeouts, since both have to start first. Milliseconds. */
const BIRTH_MS = 40 * ELECTION_MS;

/** What a run has come to. */
class Run {
  readonly lines: string[] = [];
  readonly kinds = new Map<string, number>();
  readonly flagged = new Set<Flag>();
  done = 0;
  /** Nobody answered after the last operation, and the cluster need not have a quorum. */
  private stuck = false;

  constructor(
    readonly world: OperatorWorld,
    readonly options: RunOptions,
  ) {}

  say(line: string): void {
    this.lines.push(line);
    this.options.print(line);
  }

  async all(): Promise<void> {
    const { seed, operations, without, often, endsInRescue } = this.options;
    await this.begin(birthOf(seed, without));
    this.world.load.start();
    for (let n = 1; n <= operations; n++) {
      const rescued = this.stuck || (n === operations && endsInRescue);
      const op: Operation = rescued
        ? { kind: "rescue", target: "", draw: randomOf(seed, n).below(2 ** 20) }
        : nextOperation(seed, n, this.world.view(), without, often);
      await this.operate(n, op);
    }
    await endCluster(this.world);
    await this.world.check();
  }

  private async begin({ size, wiped }: Birth): Promise<void> {
    const { world } = this;
    for (let i = 1; i <= size; i++) world.members.set(`n${i}`, await world.prepare(`n${i}`, "new"));
    this.say(
      `a new cluster of ${size}${wiped ? ", of which one loses its disk before the last one runs" : ""}`,
    );
    if (wiped) {
      this.flagged.add("wipeAtBirth");
      this.say(await wipeAtBirth(world));
    } else {
      for (const member of world.members.values()) world.start(member);
    }
    await world.serves();
    await world.check();
  }

  private async operate(n: number, op: Operation): Promise<void> {
    const { world } = this;
    const startedMs = performance.now();
    const what = op.target === "" ? op.kind : `${op.kind} ${op.target}`;
    const flag = flagOf(op.kind);
    if (flag !== null) this.flagged.add(flag);
    this.kinds.set(op.kind, (this.kinds.get(op.kind) ?? 0) + 1);
    const before = world.hasHealthyMajority();
    let text = "";
    try {
      text = await ACTIONS[op.kind](world, op);
      this.stuck = false;
      if (before || world.hasHealthyMajority()) await world.serves();
      else this.stuck = !(await world.refresh());
      await world.check();
      this.done = n;
    } catch (error) {
      text = `${text}; VIOLATION`;
      throw error;
    } finally {
      const voters = world.roster.map(
        ({ member, isLeader }) => `${member?.name ?? "?"}${isLeader ? "*" : ""}`,
      );
      const healthy = world.healthy().map(({ name }) => name);
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      this.say(`${n}. ${what}: ${text} [${voters.join(" ")}; healthy ${healthy.join(" ")}] ${seconds} s`);
    }
  }
}

/** The number of the known fault that the flagged operations of this run can reach. */
function known(flagged: ReadonlySet<Flag>): string {
  const items = [...flagged].map((flag) => `${flag} (${FLAGS[flag].item})`);
  return items.length === 0 ? "no operation of a known fault came before" : `before it: ${items.join(", ")}`;
}

export async function runSeed(options: RunOptions): Promise<RunResult> {
  const world = new OperatorWorld(options.seed, canMount());
  const run = new Run(world, options);
  let violation: string | null = null;
  try {
    await run.all();
  } catch (error) {
    const text =
      error instanceof Violation ? error.message : `${String(error)} ${(error as Error).stack ?? ""}`;
    violation = `${text} (${known(run.flagged)})`;
    run.say(`VIOLATION: ${violation}`);
  } finally {
    await world.load.stop();
    await world.destroy(violation !== null, `${run.lines.join("\n")}\n`);
  }
  return {
    seed: options.seed,
    done: run.done,
    acknowledged: world.history.acknowledgedCount(),
    violation,
    kept: violation === null ? null : world.folder,
    kinds: run.kinds,
  };
}

/**
 * Two founders of three run without the third; one loses its disk and begins anew, and the other one is away until the third
 * one runs. A product that waits for all founders acknowledges nothing before that, and has nothing to lose.
 */
async function wipeAtBirth(world: OperatorWorld): Promise<string> {
  const [first, second, third] = [...world.members.values()];
  if (first === undefined || second === undefined || third === undefined) throw new Error("three are needed");
  world.start(first);
  world.start(second);
  const formed = async (): Promise<boolean> => (await world.refresh()) && world.load.write(first);
  if (await comes(formed, BIRTH_MS)) {
    second.tampered = "wiped";
    await first.end(true);
    await second.end(true);
    second.replaceDirectory(null);
    world.start(second);
    world.start(third);
    await comes(() => world.load.write(third));
    world.start(first);
    return "two of three formed the cluster, and one was wiped";
  }
  world.start(third);
  return "two of three did not form the cluster without the third";
}

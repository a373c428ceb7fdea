/**
 * One run with a seed and a number of events. After the events the faults end, and the run is checked for liveness and
 * for a linearizable history.
 *
 * One event is one turn of Node's event loop, so that the members' promises settle before the next event. A run never
 * waits for real time or real I/O.
 */
import { Churn } from "./churn";
import { Clients } from "./clients";
import { Faults } from "./faults";
import { startFounders } from "./faults_birth";
import { Host } from "./host";
import { checkHistory } from "./linearizability_roster";
import { Liveness } from "./liveness";
import type { Fault } from "./profile";
import { Violation } from "./violation";
import { World } from "./world";

export interface RunOptions {
  readonly seed: number;
  /** Number of events until the faults end. */
  readonly events: number;
  readonly without: ReadonlySet<Fault>;
  /** Called with a line of text for every event. @default none */
  readonly print?: (line: string) => void;
}

export interface RunResult {
  readonly seed: number;
  /** Number of events, including those after the faults have ended. */
  readonly events: number;
  /** Virtual milliseconds. */
  readonly virtualMs: number;
  readonly hash: string;
  readonly coverage: readonly number[];
  readonly calls: number;
  /** Number of keys of the history that the checker could not decide. */
  readonly undecided: number;
  readonly failure: RunFailure | null;
}

export interface RunFailure {
  readonly invariant: string;
  /** Every invariant that the same event broke. */
  readonly broken: readonly string[];
  readonly message: string;
  readonly event: number;
  readonly last: readonly string[];
  readonly stack: string;
}

/** Most events after the end of the faults: a run that has not settled by then has failed. */
const END_EVENTS_MAX = 200_000;

/** The world whose events run now. Uncaught errors are failures of its run. */
let current: World | null = null;
let listening = false;

function listen(): void {
  if (listening) return;
  listening = true;
  process.on("unhandledRejection", (reason) => {
    current?.fail(reason);
  });
}

export function simulate(options: RunOptions): Promise<RunResult> {
  listen();
  const world = new World(options.seed, options.without);
  world.trace.print = options.print ?? null;
  current = world;
  const clients = new Clients(world);
  const churn = new Churn(world, clients);
  const faults = new Faults(world);
  for (let i = 0; i < world.profile.voters; i++) {
    const host = new Host(world, i, `n${i + 1}`, true);
    world.hosts.push(host);
  }
  // Hosts start only when all exist, because each founder's configuration lists the others.
  startFounders(world);
  world.history.founders = world.profile.voters;
  clients.start();
  churn.start();
  faults.start();
  return new Loop(world, clients, churn, faults, options).run();
}

class Loop {
  private liveness: Liveness | null = null;
  private resolve: (result: RunResult) => void = () => undefined;
  private undecided = 0;

  constructor(
    private readonly world: World,
    private readonly clients: Clients,
    private readonly churn: Churn,
    private readonly faults: Faults,
    private readonly options: RunOptions,
  ) {}

  run(): Promise<RunResult> {
    setImmediate(this.turn);
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  /** Finishes the event before, whose promises have settled by now, and runs the next one. */
  private readonly turn = (): void => {
    const { world, options } = this;
    if (world.failure !== null || this.isOver()) {
      this.finish();
      return;
    }
    const event = world.scheduler.next();
    if (event === null) {
      world.fail(new Error("nothing is left to happen"));
      this.finish();
      return;
    }
    world.events++;
    world.trace.event(event, world.events);
    try {
      event.run?.();
      const member = world.hosts[event.owner.number]?.running;
      if (member != null) world.checkers.step(member);
    } catch (error) {
      world.fail(error);
    }
    if (world.events === options.events) this.heal();
    setImmediate(this.turn);
  };

  private heal(): void {
    const { world, clients, churn, faults } = this;
    world.note("healing");
    world.healing = true;
    clients.stopped = true;
    churn.stopped = true;
    churn.lastTransfer();
    faults.heal();
    this.liveness = new Liveness(world, clients);
  }

  private isOver(): boolean {
    const { world, liveness, options } = this;
    if (liveness === null) return false;
    try {
      if (world.events > options.events + END_EVENTS_MAX)
        throw new Violation("liveness", `the end takes more than ${END_EVENTS_MAX} events`);
      return liveness.look();
    } catch (error) {
      world.fail(error);
      return true;
    }
  }

  private finish(): void {
    const { world } = this;
    if (world.failure === null) {
      try {
        this.undecided = checkHistory(world.history, world.log.touches).undecided;
      } catch (error) {
        world.fail(error);
      }
    }
    current = null;
    this.resolve(this.result());
  }

  private result(): RunResult {
    const { world, options } = this;
    const { failure } = world;
    const invariant = failure instanceof Violation ? failure.invariant : "no_unexpected_error";
    return {
      seed: options.seed,
      events: world.events,
      virtualMs: Math.round(world.scheduler.nowUs / 1000),
      hash: world.trace.hash(),
      coverage: world.coverage.all(),
      calls: world.history.calls.length,
      undecided: this.undecided,
      failure:
        failure === null
          ? null
          : {
              invariant,
              broken: [...new Set([invariant, ...world.broken])],
              message: failure.message,
              event: world.events,
              last: world.trace.last(),
              stack: failure.stack ?? "",
            },
    };
  }
}

/**
 * One RPC for all reads that wait at the same time.
 *
 * A linearizable read must see every change acknowledged before it began. An RPC under way may have read before that, so
 * a read never joins it: it joins the next one, which has not begun. The result is the same as if every read had made
 * an RPC of its own.
 *
 * Invariants: an RPC begins after every read that shares it; a read ends at its own deadline and with its own signal;
 * the RPC is aborted when no read waits for it any more, and never before.
 */
import { status } from "@grpc/grpc-js";
import type { Clock } from "./clock";
import { MusterError } from "./errors";

/**
 * Longest wait for the RPC under way, in milliseconds. A read must not lose its time behind one that hangs at a member
 * cut off from the leader: after this wait the next RPC begins beside it. Raise it to share more where round trips are longer.
 */
const WAIT_MS_MAX = 100;

/** The limits of one read. */
export interface ReadLimits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** One read that waits. */
interface Waiting<Res> {
  /** When it ends, on the clock of the attempts. */
  readonly end: number;
  readonly timeoutMs: number;
  /** Whether a timer ends it at `end`. The one with the most time ends with the RPC, whose error says more. */
  timed: boolean;
  resolve(response: Res): void;
  reject(error: unknown): void;
  /** Ended when the read is over. */
  readonly over: AbortController;
}

export class SharedRead<Res extends object> {
  /** Those that wait for an RPC which has not begun; null: there are none. */
  private next: Set<Waiting<Res>> | null = null;
  /** Resolves when the RPC that began last ends; null: it has. */
  private underWay: Promise<void> | null = null;

  /**
   * @param call makes the RPC
   * @param clock the clock that attempts run on
   */
  constructor(
    private readonly call: (limits: ReadLimits) => Promise<Res>,
    private readonly clock: Clock,
  ) {}

  /** @throws MusterError: that of the RPC, DEADLINE_EXCEEDED at the read's own deadline, CANCELLED by its signal */
  read({ timeoutMs, signal }: ReadLimits): Promise<Res> {
    if (signal?.aborted === true) return Promise.reject(cancelled());
    return new Promise((resolve, reject) => {
      const over = new AbortController();
      const leave = (): void => {
        waiting.reject(cancelled());
      };
      signal?.addEventListener("abort", leave, { once: true });
      const settle =
        <T>(how: (value: T) => void) =>
        (value: T): void => {
          signal?.removeEventListener("abort", leave);
          over.abort();
          how(value);
        };
      const end = this.clock.now() + timeoutMs;
      const waiting = {
        end,
        timeoutMs,
        timed: false,
        over,
        resolve: settle(resolve),
        reject: settle(reject),
      };
      this.join(waiting);
    });
  }

  private join(waiting: Waiting<Res>): void {
    let group = this.next;
    if (group === null) {
      this.next = group = new Set();
      void this.begin(group);
    }
    const joined = group;
    joined.add(waiting);
    waiting.over.signal.addEventListener("abort", () => joined.delete(waiting), { once: true });
    if (this.underWay !== null && waiting.timeoutMs <= WAIT_MS_MAX) this.endAtDeadline(waiting);
  }

  /** Starts the RPC of a group as soon as it is its turn. */
  private async begin(group: Set<Waiting<Res>>): Promise<void> {
    const waited = new AbortController();
    if (this.underWay !== null)
      await Promise.race([this.underWay, this.clock.sleep(WAIT_MS_MAX, waited.signal)]);
    // Reads of the same turn of the event loop share one RPC too.
    else await Promise.resolve();
    waited.abort();
    this.next = null;
    if (group.size === 0) return;
    const now = this.clock.now();
    const end = Math.max(...[...group].map((waiting) => waiting.end));
    for (const waiting of group) if (waiting.end < end) this.endAtDeadline(waiting);
    const nobody = new AbortController();
    for (const waiting of group)
      waiting.over.signal.addEventListener("abort", () => group.size === 0 && nobody.abort());
    const call = this.call({ timeoutMs: Math.max(1, end - now), signal: nobody.signal });
    const ended = call.then(
      (response) => {
        // Each reader gets a copy of its own, because a response may be changed by the one who has it.
        for (const [i, waiting] of [...group].entries())
          waiting.resolve(i === 0 ? response : structuredClone(response));
      },
      (error: unknown) => {
        for (const waiting of [...group]) waiting.reject(error);
      },
    );
    this.underWay = ended;
    await ended;
    if (this.underWay === ended) this.underWay = null;
  }

  private endAtDeadline(waiting: Waiting<Res>): void {
    if (waiting.timed) return;
    waiting.timed = true;
    const { over, end, timeoutMs } = waiting;
    void this.clock.sleep(Math.max(0, end - this.clock.now()), over.signal).then(() => {
      if (over.signal.aborted) return;
      const message = `no answer within ${String(timeoutMs)} ms`;
      waiting.reject(new MusterError({ code: status.DEADLINE_EXCEEDED, message }));
    });
  }
}

function cancelled(): MusterError {
  return new MusterError({ code: status.CANCELLED, message: "the caller cancelled the call" });
}

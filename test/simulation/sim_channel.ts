/**
 * A client's channel to one member over the simulated network, for the client's retry logic (client/caller.ts): sends one
 * attempt, enforces its time limit, and reports its outcome.
 */
import { FORWARD_KEY, OpenCall } from "../../src/base/call";
import { Deadline } from "../../src/base/deadline";
import type { Attempt, Channel, Method } from "../../src/client/attempt";
import type { Clock } from "../../src/client/clock";
import { ATTEMPT_KEY } from "../../src/cluster/attempts";
import { MusterError, fromStatus } from "../../src/client/errors";
import { methodName } from "../../src/rpc/definition";
import { RpcError, StatusCode } from "../../src/rpc/rpc_error";
import type { Host } from "./host";
import { CLIENT } from "./network";
import type { World } from "./world";

/** The clock of all clients: virtual time, without skew. */
export function clientClock({ scheduler, nobody }: World): Clock {
  return {
    now: () => scheduler.nowUs / 1000,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const end = (): void => {
          event.run = null;
          signal?.removeEventListener("abort", end);
          resolve();
        };
        const event = scheduler.after(ms * 1000, "client", nobody, end);
        signal?.addEventListener("abort", end);
      }),
  };
}

export class SimChannel implements Channel {
  /** Whether an attempt of unknown outcome was made, which may still take effect. */
  ambiguous = false;
  attempts = 0;

  /** @param mayForward false to demand that this member itself answers */
  constructor(
    private readonly world: World,
    private readonly host: Host,
    private readonly mayForward: boolean,
  ) {}

  get authority(): string {
    return `${this.host.address}:7460`;
  }

  async unary<Req, Res>(method: Method<Req, Res>, request: Req, attempt: Attempt): Promise<Res> {
    this.attempts++;
    try {
      const bytes = await this.exchange(method.path, method.requestSerialize(request), attempt);
      return method.responseDeserialize(bytes);
    } catch (error) {
      if (error instanceof MusterError && error.sent && isAmbiguous(error)) this.ambiguous = true;
      throw error;
    }
  }

  async *serverStream(): AsyncGenerator<never> {
    throw new Error("not simulated");
  }

  close(): void {
    // There is no connection to close.
  }

  /** @throws MusterError */
  private exchange(path: string, body: Buffer, attempt: Attempt): Promise<Buffer> {
    const { world, host } = this;
    const { timeoutMs, signal } = attempt;
    return new Promise((resolve, reject) => {
      const pending = new PendingAttempt(world, attempt, (end) => {
        if (Buffer.isBuffer(end)) resolve(end);
        else reject(fromStatus(end.status, this.authority, attempt.requestId, end.sent));
      });
      const arrive = (): void => {
        const called = host.member;
        const listener = called?.adminListener;
        if (called == null || listener?.isOpen !== true) {
          pending.refused();
          return;
        }
        const call = new OpenCall({
          method: methodName(path),
          deadline: Deadline.of(called.clock, timeoutMs, world.profile.electionMs),
          headers: () => new Map([...attemptHeaders(attempt), ...(this.mayForward ? [] : [NEVER])]),
        });
        const cancel = (): void => {
          if (called.alive) call.cancel();
        };
        signal?.addEventListener("abort", cancel);
        const reply = (end: Buffer | AttemptFailure, detail: string): void => {
          signal?.removeEventListener("abort", cancel);
          if (!called.alive) return;
          called.calls--;
          call.finish();
          const back = (): void => {
            pending.end(end);
          };
          world.network.carry("reply", host, CLIENT, back, { once: true, detail });
        };
        called.calls++;
        listener.serve(path, body, call).then(
          (answer) => {
            reply(answer, "answer");
          },
          (error: unknown) => {
            if (error instanceof RpcError) reply(failureOf(error), error.reason ?? "");
            else world.fail(error);
          },
        );
      };
      const lost = (): void => {
        if (world.random.chance(0.5)) pending.broken();
      };
      world.network.carry("request", CLIENT, host, arrive, { once: true, detail: methodName(path), lost });
    });
  }
}

const NEVER: readonly [string, string] = [FORWARD_KEY, "never"];

/** The header that EndpointChannel sends. */
function attemptHeaders({ number }: Attempt): [string, string][] {
  return number > 1 ? [[ATTEMPT_KEY, String(number)]] : [];
}

interface AttemptFailure {
  readonly status: Parameters<typeof fromStatus>[0];
  /** Whether the request may have reached the member. */
  readonly sent: boolean;
}

function failureOf({ code, message, details }: RpcError): AttemptFailure {
  return { status: { code, details: message, detailBytes: details ?? undefined }, sent: true };
}

/** An attempt that ends exactly once: by its answer, by its time limit, or by cancellation. */
class PendingAttempt {
  private ended = false;
  private readonly timer;
  private readonly abort = (): void => {
    this.fail(StatusCode.CANCELLED, "cancelled", true);
  };

  constructor(
    private readonly world: World,
    private readonly attempt: Attempt,
    private readonly done: (end: Buffer | AttemptFailure) => void,
  ) {
    const { scheduler, nobody } = world;
    this.timer = scheduler.after(attempt.timeoutMs * 1000, "client", nobody, () => {
      this.fail(StatusCode.DEADLINE_EXCEEDED, "deadline exceeded", true);
    });
    attempt.signal?.addEventListener("abort", this.abort);
  }

  /** The connection was refused because nothing listens there, which the client learns at once. */
  refused(): void {
    const { scheduler, nobody } = this.world;
    scheduler.after(1000, "reply", nobody, () => {
      this.fail(StatusCode.UNAVAILABLE, "connection refused", false);
    });
  }

  /** The connection broke, which the client learns at once; the request may still arrive. */
  broken(): void {
    this.fail(StatusCode.UNAVAILABLE, "connection lost", true);
  }

  end(end: Buffer | AttemptFailure): void {
    if (this.ended) return;
    this.ended = true;
    this.timer.run = null;
    this.attempt.signal?.removeEventListener("abort", this.abort);
    this.done(end);
  }

  private fail(code: number, details: string, sent: boolean): void {
    this.end({ status: { code, details, detailBytes: undefined }, sent });
  }
}

/** By the contract, every refusal but OUTCOME_UNKNOWN means that the call has no effect. */
function isAmbiguous({ reason }: MusterError): boolean {
  return reason === undefined || reason === "OUTCOME_UNKNOWN";
}

/**
 * Calls from one member to another over the simulated network, with the outcomes of the real wire: an answer, an error of
 * the other member, not sent, lost. The called member gets the remaining time of the deadline.
 */
import { FORWARD_KEY, CallCancelledError, OpenCall } from "../../src/base/call";
import type { Call } from "../../src/base/call";
import { Deadline } from "../../src/base/deadline";
import { RETRY, UNKNOWN, done, refusedBy } from "../../src/base/outcome";
import type { Outcome } from "../../src/base/outcome";
import { methodName } from "../../src/rpc/definition";
import { RpcError } from "../../src/rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../../src/transport/peer_calls";
import type { Host } from "./host";
import type { Member } from "./member";

const NO_HEADERS: ReadonlyMap<string, string> = new Map();

export class SimPeerCalls implements PeerCalls {
  constructor(private readonly member: Member) {}

  call(url: string, request: PeerRequest, call: Call, connectMs: number): Promise<Outcome<Uint8Array>> {
    this.member.world.coverage.add("write forwarded");
    const remainingMs = call.deadline.remainingMs();
    const target = this.reachable(url);
    const outcome = this.send(target, request, call.headers, remainingMs, connectMs);
    return new Promise((resolve, reject) => {
      const forget = call.onCancel(() => {
        reject(new CallCancelledError());
      });
      void outcome.then((settled) => {
        forget();
        resolve(settled);
      });
    });
  }

  async ask(url: string, request: PeerRequest, timeoutMs: number): Promise<Uint8Array | null> {
    const outcome = await this.send(this.reachable(url), request, NO_HEADERS, timeoutMs, timeoutMs);
    return outcome.kind === "done" ? outcome.value : null;
  }

  close(): void {
    // Calls that are under way end as lost when their timers fire.
  }

  private reachable(url: string): Host | null {
    const { member } = this;
    const target = member.world.hostAt(url);
    return target === null || member.world.network.isBlocked(member.host, target) ? null : target;
  }

  private send(
    target: Host | null,
    request: PeerRequest,
    headers: ReadonlyMap<string, string>,
    remainingMs: number,
    connectMs: number,
  ): Promise<Outcome<Uint8Array>> {
    const { member } = this;
    const { world } = member;
    return new Promise((resolve) => {
      let settled = false;
      const settle = (outcome: Outcome<Uint8Array>): void => {
        if (settled || !member.alive) return;
        settled = true;
        timer.cancel();
        resolve(outcome);
      };
      const waitMs = target === null ? Math.min(connectMs, remainingMs) : remainingMs;
      const timer = member.clock.setTimeout(() => {
        settle(target === null ? RETRY : UNKNOWN);
      }, waitMs);
      if (target === null) return;
      const lost = world.random.chance(0.5)
        ? (): void => {
            settle(UNKNOWN);
          }
        : (): void => undefined;
      const arrive = (): void => {
        // The wire carries the time that was left when the call was sent.
        this.arrive(target, request, forwarded(headers), remainingMs, settle);
      };
      world.network.carry("request", member.host, target, arrive, {
        once: true,
        detail: methodName(request.path),
        lost,
      });
    });
  }

  private arrive(
    target: Host,
    { path, body }: PeerRequest,
    headers: ReadonlyMap<string, string>,
    remainingMs: number,
    settle: (outcome: Outcome<Uint8Array>) => void,
  ): void {
    const { host, world } = this.member;
    const reply = (outcome: Outcome<Uint8Array>): void => {
      const arrive = (): void => {
        settle(outcome);
      };
      world.network.carry("reply", target, host, arrive, { once: true, detail: outcome.kind });
    };
    const called = target.member;
    const listener = called?.peerListener;
    if (called == null || listener?.isOpen !== true) {
      reply(RETRY);
      return;
    }
    const deadline = Deadline.of(called.clock, remainingMs, world.profile.electionMs);
    const call = new OpenCall({ method: methodName(path), deadline, headers: () => headers });
    listener.serve(path, Buffer.from(body), call).then(
      (answer) => {
        if (called.alive) reply(done(answer));
      },
      (error: unknown) => {
        if (!(error instanceof RpcError)) world.fail(error);
        else if (called.alive) reply(refusedBy(error));
      },
    );
  }
}

/** The headers that go on to another member. */
function forwarded(headers: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const own = [...headers].filter(([key]) => key.startsWith("muster-"));
  return new Map([...own, [FORWARD_KEY, "never"]]);
}

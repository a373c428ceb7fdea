/**
 * Calls from one member to another, in place of gRPC: the same four outcomes (answer, error, not sent, lost), decided
 * by the simulated network. One hop; the called member gets the deadline that is left.
 */
import { status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { Metadata } from "@grpc/grpc-js";
import { CallCancelledError } from "../../src/server/call";
import type { CallContext } from "../../src/server/call";
import { RefusedError } from "../../src/server/errors";
import { PassedOnError } from "../../src/server/forwarder";
import type { ForwardResult, Forwarder, Invoke } from "../../src/server/forwarder";
import { SimContext } from "./context";
import type { Host } from "./host";
import type { Member } from "./member";
import type { Operation } from "./operations";
import type { World } from "./world";

type Outcome = ForwardResult<unknown>;

export class SimForwarder implements Pick<Forwarder, "call"> {
  private readonly operations = new WeakMap<object, Operation>();

  constructor(
    private readonly world: World,
    private readonly member: Member,
  ) {}

  /** What Writes and LinearizableReads hand to `call`: it only names the operation. */
  invocation<Res>(operation: Operation): Invoke<Res> {
    const invoke: Invoke<Res> = () => {
      throw new Error("a simulated call has no stubs");
    };
    this.operations.set(invoke, operation);
    return invoke;
  }

  call<Res>(
    url: string,
    context: CallContext,
    connectMs: number,
    invoke: Invoke<Res>,
  ): Promise<ForwardResult<Res>> {
    const { member, world } = this;
    const operation = this.operations.get(invoke);
    if (operation === undefined) throw new Error("a call that was not made by invocation()");
    const remainingMs = context.deadline.remainingMs();
    return new Promise((resolve, reject) => {
      let settled = false;
      const settle = (outcome: Outcome): void => {
        if (settled || !member.alive) return;
        settled = true;
        timer.cancel();
        // The answer to an operation has the type that its invocation promised.
        resolve(outcome as ForwardResult<Res>);
      };
      const target = world.hostAt(url);
      const reachable = target !== null && !world.network.isBlocked(member.host, target);
      const waitMs = reachable ? remainingMs : Math.min(connectMs, remainingMs);
      const timer = member.clock.setTimeout(() => {
        settle({ kind: reachable ? "lost" : "not-sent" });
      }, waitMs);
      context.onCancel(() => {
        reject(new CallCancelledError());
      });
      if (!reachable) return;
      world.coverage.add("write forwarded");
      const lost = (): void => {
        settle({ kind: "lost" });
      };
      world.network.carry(
        "request",
        member.host,
        target,
        () => {
          this.arrive(target, operation, context, settle);
        },
        { once: true, detail: operation, lost: world.random.chance(0.5) ? lost : () => undefined },
      );
    });
  }

  private arrive(
    target: Host,
    operation: Operation,
    caller: CallContext,
    settle: (outcome: Outcome) => void,
  ): void {
    const { world, member } = this;
    const reply = (outcome: Outcome): void => {
      world.network.carry(
        "reply",
        target,
        member.host,
        () => {
          settle(outcome);
        },
        { once: true, detail: outcome.kind },
      );
    };
    const called = target.running;
    if (called === null) {
      const waiting = target.member?.phase === "joining";
      reply(waiting ? errorOf("SERVER_STOPPING", status.UNAVAILABLE) : { kind: "not-sent" });
      return;
    }
    const remainingMs = caller.deadline.remainingMs();
    const context = new SimContext(caller.rpc, called.clock, remainingMs, world.profile.electionMs, false);
    called.serve(operation, context).then(
      (response) => {
        if (called.alive) reply({ kind: "answer", response });
      },
      (error: unknown) => {
        if (called.alive) reply(outcomeOf(error));
      },
    );
  }
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof RefusedError) return errorOf(error.refusal.reason, status.FAILED_PRECONDITION);
  if (error instanceof PassedOnError) return errorOf(error.reason ?? "INTERNAL", error.code);
  return errorOf("INTERNAL", status.INTERNAL);
}

function errorOf(reason: string, code: status): Outcome {
  const error: ServiceError = Object.assign(new Error(reason), {
    code,
    details: reason,
    metadata: new Metadata(),
  });
  return { kind: "error", error, reason };
}

/** The reason that a caller reads from an error; null for one that is no answer of the service. */
export function reasonOf(error: unknown): string | null {
  if (error instanceof RefusedError) return error.refusal.reason;
  if (error instanceof PassedOnError) return error.reason;
  if (error instanceof CallCancelledError) return "CANCELLED";
  return null;
}

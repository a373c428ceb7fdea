/** The failures of one call, and the error that it ends with. */
import { status } from "@grpc/grpc-js";
import type { Channel } from "./attempt";
import { MusterError } from "./errors";
import { mayHaveHappened } from "./retry";

/** What of a call matters for its errors. */
interface FailedCall {
  /** The request_id of a write. */
  readonly requestId: string | undefined;
  /** Whether a success changes the cluster. */
  readonly changes: boolean;
}

/** The failed attempts of one call, and the error that follows from them. */
export class Failures {
  /** How many of the latest attempts in a row found no connection. */
  unsentInARow = 0;
  private latest: MusterError | undefined;
  /** The last refusal by the service: more informative than a broken connection after it. */
  private explained: MusterError | undefined;
  /** The last failure after which the change may have been made. */
  private ambiguous: MusterError | undefined;
  /** The latest failure of each endpoint, by authority. */
  private readonly byEndpoint = new Map<string, MusterError>();

  constructor(private readonly plan: FailedCall) {}

  get last(): MusterError {
    return this.latest ?? new MusterError({ code: status.INTERNAL, message: "no attempt was made" });
  }

  /** Whether a change may have been made. */
  get isAmbiguous(): boolean {
    return this.ambiguous !== undefined;
  }

  add(authority: string, error: MusterError): void {
    this.latest = error;
    this.byEndpoint.set(authority, error);
    this.unsentInARow = error.sent ? 0 : this.unsentInARow + 1;
    if (error.reason !== undefined) this.explained = error;
    if (this.plan.changes && mayHaveHappened(error)) this.ambiguous = error;
  }

  /** The failure of a call without any reason of the service: lists the failure of each endpoint. */
  private unexplained(): MusterError {
    if (this.byEndpoint.size < 2) return this.last;
    const all = [...this.byEndpoint.values()];
    return new MusterError({
      code: this.last.code,
      message: all.map((error) => error.message).join("; "),
      endpoint: this.last.endpoint,
      requestId: this.plan.requestId,
      sent: all.some((error) => error.sent),
      cause: this.last,
    });
  }

  /** The error that the call ends with. */
  outcome(): MusterError {
    const { ambiguous } = this;
    if (ambiguous === undefined) return this.explained ?? this.unexplained();
    if (ambiguous.reason === "OUTCOME_UNKNOWN") return ambiguous;
    return new MusterError({
      code: status.DEADLINE_EXCEEDED,
      reason: "OUTCOME_UNKNOWN",
      message: `the change may have been made; the last answer was: ${this.last.message}`,
      endpoint: this.last.endpoint,
      requestId: this.plan.requestId,
      cause: ambiguous,
    });
  }
}

/** An error that is no MusterError is a fault of this client or of its caller, such as a field of the wrong type. */
export function asMusterError(thrown: unknown, plan: Pick<FailedCall, "requestId">): MusterError {
  if (thrown instanceof MusterError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new MusterError({
    code: status.INTERNAL,
    message,
    requestId: plan.requestId,
    sent: false,
    cause: thrown,
  });
}

export function noEndpoints(): MusterError {
  return new MusterError({ code: status.INTERNAL, message: "no endpoints" });
}

export function streamEnded({ authority: endpoint }: Channel): MusterError {
  return new MusterError({
    code: status.UNAVAILABLE,
    message: `${endpoint} ended the stream`,
    endpoint,
  });
}

export function notServing({ authority: endpoint }: Channel): MusterError {
  return new MusterError({
    code: status.UNAVAILABLE,
    message: `${endpoint} does not serve at present`,
    endpoint,
  });
}

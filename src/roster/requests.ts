/**
 * The outcomes of the last writes by request_id, refusals included: a repeated request gets the first outcome again.
 *
 * Part of the replicated state: every member keeps and drops the same outcomes, in the order of first use. Pure.
 */
import type { MemberRecord, RequestOutcome } from "../generated/muster/storage/v1/snapshot";
import { isRosterReason, refuse } from "./refusal";
import type { Refusal } from "./refusal";
import { Ring } from "./ring";

/** The decision on a command. */
export type Decision =
  | {
      readonly accepted: true;
      /** The outcome of an earlier command with the same request_id and content. */
      readonly repeated: boolean;
      /** Whether this command changed the roster; false when repeated. */
      readonly changed: boolean;
      /** The member after the command; a removed member as it was before; for a replacement, the new member. */
      readonly member: MemberRecord | null;
      /** The revision of the answer: the entry's index when the command changed something, else the roster's revision. */
      readonly revision: number;
    }
  | { readonly accepted: false; readonly repeated: boolean; readonly refusal: Refusal };

export class RequestMemory {
  private readonly order: Ring<RequestOutcome>;
  private readonly byId = new Map<string, RequestOutcome>();

  /** @param limit how many outcomes are kept; equal on every member */
  constructor(limit: number) {
    this.order = new Ring(limit);
  }

  get size(): number {
    return this.byId.size;
  }

  find(requestId: string): RequestOutcome | undefined {
    return this.byId.get(requestId);
  }

  /** Adds the outcome of a request_id's first use; drops the oldest outcome when there are more than the limit. */
  remember(outcome: RequestOutcome): void {
    const forgotten = this.order.push(outcome);
    if (forgotten !== undefined) this.byId.delete(forgotten.requestId);
    this.byId.set(outcome.requestId, outcome);
  }

  /** Every outcome, oldest first. */
  all(): RequestOutcome[] {
    return this.order.from(0);
  }
}

/** The remembered form of a decision. A refusal's message is not kept: reason and metadata determine it. */
export function toOutcome(requestId: string, fingerprint: Buffer, decision: Decision): RequestOutcome {
  if (decision.accepted) {
    const { member, revision } = decision;
    return { requestId, fingerprint, reason: "", metadata: new Map(), member: member ?? undefined, revision };
  }
  const { reason, metadata } = decision.refusal;
  // Sorted: the order of a map's entries is part of the snapshot's bytes.
  const sorted = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  return { requestId, fingerprint, reason, metadata: new Map(sorted), member: undefined, revision: 0 };
}

/** The decision for a repeated request. */
export function fromOutcome(outcome: RequestOutcome): Decision {
  if (outcome.reason === "") {
    const { member = null, revision } = outcome;
    return { accepted: true, repeated: true, changed: false, member, revision };
  }
  const refusal = isRosterReason(outcome.reason)
    ? refuse(outcome.reason, Object.fromEntries(outcome.metadata))
    : {
        reason: "INTERNAL" as const,
        message: "refused by a newer version",
        metadata: { reason: outcome.reason },
      };
  return { accepted: false, repeated: true, refusal };
}

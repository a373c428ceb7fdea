/**
 * The outcomes of the last writes by request_id, refusals included: a repeat gets the first outcome again.
 *
 * Part of the replicated state: every member remembers and forgets the same, in the order of first use. Pure.
 */
import type { MemberRecord, RequestOutcome } from "../generated/muster/storage/v1/snapshot";
import { isRosterReason, refuse } from "./refusal";
import type { Refusal } from "./refusal";
import { Ring } from "./ring";

/** What became of a command. */
export type Decision =
  | {
      readonly accepted: true;
      /** The outcome of an earlier command with the same request_id and content. */
      readonly repeated: boolean;
      /** Whether this command changed the roster: never when repeated. */
      readonly changed: boolean;
      /** The member after the command; the removed one as it was before; for a replacement, the new one. */
      readonly member: MemberRecord | null;
      /** The revision of the answer: the entry's own index when it changed something, else the roster's. */
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

  /** Remembers a first use; the oldest outcome is forgotten when there are too many. */
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

/** What is kept of a decision. The refusal's sentence follows from reason and metadata. */
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

/** The answer to a repeat. */
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

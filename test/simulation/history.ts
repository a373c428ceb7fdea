/**
 * The history of the clients' calls: the order in which they began and ended, and their outcomes. Checked while it grows
 * (no answer may be older than one that was received before the call began), and as a whole at the end
 * (linearizability_roster.ts).
 */
import { MemberTarget } from "../../src/generated/muster/v1/member";
import type { MemberSeen, RosterAnswer, WriteAnswer, WriteOperation } from "./operations";
import { Violation } from "./violation";

export interface Call {
  /** Null for a read. */
  readonly operation: WriteOperation | null;
  /** Position of the call's begin in the order of all begins and ends. */
  readonly begin: number;
  /** Position of its end; Infinity while the call is open, and when its outcome is unknown. */
  end: number;
  outcome:
    | { readonly kind: "open" }
    | { readonly kind: "wrote"; readonly answer: WriteAnswer }
    | { readonly kind: "read"; readonly answer: RosterAnswer }
    | { readonly kind: "refused"; readonly reason: string }
    /** The call certainly had no effect, and its answer shows nothing of the roster. */
    | { readonly kind: "void" }
    | { readonly kind: "unknown" };
  /** The newest revision that any client had seen when the call began. */
  readonly floor: number;
}

/** Reasons which promise that nothing of the call was or will be appended to the log. */
const NOTHING_APPENDED: ReadonlySet<string> = new Set([
  "NO_LEADER",
  "NO_QUORUM",
  "NOT_LEADER",
  "SERVER_STOPPING",
  "NOT_PROPOSED",
  "TOO_MANY_REQUESTS",
  "DISK_FULL",
  "CONNECTION_REFUSED",
]);

export function isNothingAppended(reason: string): boolean {
  return NOTHING_APPENDED.has(reason);
}

export class History {
  readonly calls: Call[] = [];
  /** Number of members of the first configuration: n1, n2, ... on the hosts h0, h1, ... */
  founders = 0;
  private order = 0;
  private newest = 0;
  private readonly rosters = new Map<number, string>();

  /** @param operation null for a linearizable read */
  invoke(operation: WriteOperation | null): Call {
    const call: Call = {
      operation,
      begin: this.order++,
      end: Infinity,
      outcome: { kind: "open" },
      floor: this.newest,
    };
    this.calls.push(call);
    return call;
  }

  /** @throws Violation */
  wrote(call: Call, answer: WriteAnswer): void {
    call.end = this.order++;
    call.outcome = { kind: "wrote", answer };
    this.inRealTime(call, answer.revision);
  }

  /**
   * A member's publish, whose answer contains only a revision.
   * @param updateRevision the member's update revision in the leader's decision
   */
  published(call: Call, revision: number, updateRevision: number): void {
    const { body } = call.operation ?? {};
    const name = body?.rpc === "Publish" ? body.name : "";
    const member = {
      id: 0n,
      name,
      peerUrls: [],
      adminUrls: [],
      learner: false,
      started: true,
      updateRevision,
      target: MemberTarget.VOTER,
      replaces: 0n,
    };
    this.wrote(call, { revision, member });
  }

  /** A linearizable read. @throws Violation */
  read(call: Call, answer: RosterAnswer): void {
    call.end = this.order++;
    call.outcome = { kind: "read", answer };
    this.inRealTime(call, answer.revision);
    this.local(answer);
  }

  /** @param certain whether no earlier attempt of the call can still take effect */
  refused(call: Call, reason: string, certain: boolean): void {
    const isVoid = isNothingAppended(reason);
    if (!certain || reason === "OUTCOME_UNKNOWN" || reason === "CANCELLED" || reason === "INTERNAL") {
      this.unknown(call);
      return;
    }
    call.end = this.order++;
    call.outcome = isVoid ? { kind: "void" } : { kind: "refused", reason };
  }

  unknown(call: Call): void {
    call.outcome = { kind: "unknown" };
  }

  /** Checks a roster that a client saw: all rosters at one revision must be equal. @throws Violation */
  local({ revision, members }: RosterAnswer): void {
    const text = members.map(describe).join(";");
    const known = this.rosters.get(revision);
    if (known === undefined) this.rosters.set(revision, text);
    else if (known !== text)
      throw new Violation("one_roster", `two rosters at revision ${revision}: ${text}, ${known}`);
  }

  private inRealTime(call: Call, revision: number): void {
    if (revision < call.floor) {
      const what = call.operation?.body.rpc ?? "a read";
      throw new Violation(
        "real_time",
        `${what} answers revision ${revision}, but ${call.floor} was seen before it began`,
      );
    }
    this.newest = Math.max(this.newest, revision);
  }
}

function describe(member: MemberSeen): string {
  const { id, name, peerUrls, adminUrls, learner, started, replaces } = member;
  // Records do not say that a voter is the target.
  const target = member.target === MemberTarget.UNSPECIFIED ? MemberTarget.VOTER : member.target;
  const urls = `${peerUrls.join()},${adminUrls.join()}`;
  return `${id.toString(16)},${name},${urls},${learner},${started},${target},${replaces.toString(16)}`;
}

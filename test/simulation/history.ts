/**
 * What clients saw: calls with the order in which they began and ended, and what came of them. Checked as it grows
 * against real time (an answer is never older than one that came before the call), and as a whole at the end
 * (linearizable.ts).
 */
import type { MemberRecord } from "../../src/roster/index";
import type { RosterAnswer, WriteAnswer, WriteOperation } from "./operations";
import { Violation } from "./violation";

export interface Call {
  /** Null: a read. */
  readonly operation: WriteOperation | null;
  /** Place in the order of all beginnings and ends. */
  readonly begin: number;
  /** Infinity while it goes on, and for an outcome that nobody knows. */
  end: number;
  outcome:
    | { readonly kind: "open" }
    | { readonly kind: "wrote"; readonly answer: WriteAnswer }
    | { readonly kind: "read"; readonly answer: RosterAnswer }
    | { readonly kind: "refused"; readonly reason: string }
    /** Of no effect for certain, and says nothing of the roster. */
    | { readonly kind: "void" }
    | { readonly kind: "unknown" };
  /** The newest revision that anybody had seen when it began. */
  readonly floor: number;
}

/** Reasons that say that nothing of the call was or will be appended. */
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
  /** How many members the first configuration has: n1, n2, ... on h0, h1, ... */
  founders = 0;
  private order = 0;
  private newest = 0;
  private readonly rosters = new Map<number, string>();

  /** @param operation null: a linearizable read */
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
    if (answer.repeated) return;
    this.inRealTime(call, answer.revision);
  }

  /** A linearizable read. @throws Violation */
  read(call: Call, answer: RosterAnswer): void {
    call.end = this.order++;
    call.outcome = { kind: "read", answer };
    this.inRealTime(call, answer.revision);
    this.local(answer);
  }

  /** @param certain no earlier attempt of the call may still take effect */
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

  /** Any roster that anybody saw: at one revision there is one. @throws Violation */
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

function describe({ id, name, peerUrls, adminUrls, learner, started }: MemberRecord): string {
  return `${id.toString(16)},${name},${peerUrls.join()},${adminUrls.join()},${learner},${started}`;
}

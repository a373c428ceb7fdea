/**
 * Reads and changes of a running cluster, for a process that is not a member of it yet: at the member that leads, else at
 * those that answer. No call is forwarded, since one that does not lead says so.
 *
 * Invariant: a change that is repeated after an attempt of unknown outcome has the request id of that attempt and says that
 * it is a repeat; after a refusal the next attempt has another id, because the refusal may be remembered under the old one.
 */
import { asBuffer } from "../base/bytes";
import { OpenCall } from "../base/call";
import type { Clock } from "../base/clock";
import { Deadline } from "../base/deadline";
import type { Random } from "../base/random";
import type { Outcome } from "../base/outcome";
import { ATTEMPT_KEY } from "./attempts";
import type { ListedMembers } from "./peer_questions";
import { Consistency, MembershipServiceService } from "../generated/muster/v1/membership_service";
import type { MemberTarget } from "../roster/index";
import { methodName } from "../rpc/definition";
import type { MethodDefinition } from "../rpc/definition";
import { RpcError } from "../rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../transport/peer_calls";

/** How long a read and a change may take, and how long it may take to connect for either, in milliseconds. */
const READ_MS = 3000;
const CHANGE_MS = 10_000;
const CONNECT_MS = 1000;

/** What became of a call. */
export type CallResult<T> =
  | { readonly kind: "done"; readonly value: T }
  /** The roster is not as the caller thought: it has to look again. */
  | { readonly kind: "look again" }
  /** Another attempt may succeed. `why` is for people. */
  | { readonly kind: "wait"; readonly why: string }
  /** No other attempt would succeed. */
  | { readonly kind: "refused"; readonly why: string };

/** Refusals that say nothing of the roster: an earlier attempt may have been done all the same. */
const TRANSIENT: ReadonlySet<string> = new Set([
  "NO_LEADER",
  "NO_QUORUM",
  "SERVER_STOPPING",
  "TOO_MANY_REQUESTS",
  "DISK_FULL",
  "NOT_PROPOSED",
  "OUTCOME_UNKNOWN",
  "INTERNAL",
]);
/** Of these a log may have the attempt. */
const AMBIGUOUS: ReadonlySet<string> = new Set(["OUTCOME_UNKNOWN", "INTERNAL"]);
/** Refusals that pass by themselves, when members come into contact or go out of it. */
const PASSING: ReadonlySet<string> = new Set([
  "UNHEALTHY_CLUSTER",
  "NOT_ENOUGH_STARTED_MEMBERS",
  "MEMBER_IN_CONTACT",
]);
/** Refusals of what was decided by an older roster. */
const OUTDATED: ReadonlySet<string> = new Set([
  "MEMBER_ID_EXISTS",
  "MEMBER_NAME_EXISTS",
  "MEMBER_NOT_FOUND",
  "MEMBER_REMOVED",
  "MEMBER_MISMATCH",
]);
const NO_HEADERS: ReadonlyMap<string, string> = new Map();
const REPEATED: ReadonlyMap<string, string> = new Map([[ATTEMPT_KEY, "2"]]);

/** The change that was tried last, until it is known what became of it. */
interface Pending {
  /** Method and content. */
  readonly key: string;
  readonly requestId: string;
  /** Whether a log may have an attempt of it. */
  ambiguous: boolean;
}

interface JoinerCallsOptions {
  readonly peers: Pick<PeerCalls, "call">;
  readonly clock: Clock;
  readonly random: Pick<Random, "uuid">;
  readonly electionMs: number;
}

/** A member that is named by name and id, which must agree. */
interface Named {
  readonly name: string;
  readonly id: string;
}

interface Joining {
  readonly name: string;
  readonly peerUrl: string;
  readonly adminUrl: string;
  readonly target: MemberTarget;
}

const NO_WRITE_FIELDS = { requestId: "", expectedRevision: 0n, validateOnly: false, note: "" };
const { getMembers, addMember, updateMember, replaceMember } = MembershipServiceService;

/** A unary method whose requests carry a request id. */
type Change<Req> = Pick<MethodDefinition<Req, unknown>, "path" | "requestSerialize">;

export class JoinerCalls {
  private pending: Pending | null = null;

  constructor(private readonly options: JoinerCallsOptions) {}

  /** The members as they are now. @param urls where to ask, in this order */
  async members(urls: readonly string[]): Promise<CallResult<ListedMembers>> {
    const { path, requestSerialize, responseDeserialize } = getMembers;
    const body = requestSerialize({ consistency: Consistency.LINEARIZABLE });
    const outcome = await this.firstAnswer(urls, { path, body }, NO_HEADERS, READ_MS);
    if (outcome.kind === "done") return decoded(outcome.value, responseDeserialize);
    const why = outcome.kind === "refused" ? outcome.error.message : "no member confirms its roster in time";
    return { kind: "wait", why };
  }

  addMember(urls: readonly string[], member: Joining): Promise<CallResult<void>> {
    return this.change(urls, addMember, { ...NO_WRITE_FIELDS, ...member });
  }

  updateMember(urls: readonly string[], update: Named & { readonly newPeerUrl: string }) {
    return this.change(urls, updateMember, { ...NO_WRITE_FIELDS, ...update });
  }

  /** In place: the new member has the name and the peer URL of the old one. */
  replaceMember(
    urls: readonly string[],
    replace: Named & { readonly adminUrl: string; readonly note: string },
  ) {
    return this.change(urls, replaceMember, { ...NO_WRITE_FIELDS, newName: "", peerUrl: "", ...replace });
  }

  private async change<Req extends { requestId: string }>(
    urls: readonly string[],
    method: Change<Req>,
    request: Req,
  ): Promise<CallResult<void>> {
    const { path } = method;
    const key = `${path} ${method.requestSerialize(request).toString("base64")}`;
    if (this.pending?.key !== key)
      this.pending = { key, requestId: this.options.random.uuid(), ambiguous: false };
    const { pending } = this;
    const body = method.requestSerialize({ ...request, requestId: pending.requestId });
    const headers = pending.ambiguous ? REPEATED : NO_HEADERS;
    const outcome = await this.firstAnswer(urls, { path, body }, headers, CHANGE_MS);
    switch (outcome.kind) {
      case "done":
        this.pending = null;
        return { kind: "done", value: undefined };
      case "refused":
        return this.judge(outcome.error);
      case "unknown":
        pending.ambiguous = true;
        return { kind: "wait", why: `the answer to ${methodName(path)} was lost; it is asked again` };
      case "retry":
        return { kind: "wait", why: "no member that leads can be reached" };
    }
  }

  /** The first outcome other than that a member can't be reached, or does not lead. */
  private async firstAnswer(
    urls: readonly string[],
    request: PeerRequest,
    headers: ReadonlyMap<string, string>,
    timeoutMs: number,
  ): Promise<Outcome<Uint8Array>> {
    const { peers, clock, electionMs } = this.options;
    const deadline = Deadline.of(clock, timeoutMs, electionMs);
    for (const url of urls) {
      const call = new OpenCall({ method: methodName(request.path), deadline, headers: () => headers });
      const outcome = await peers.call(url, request, call, CONNECT_MS);
      if (outcome.kind !== "retry" && reasonOf(outcome) !== "NOT_LEADER") return outcome;
    }
    return { kind: "retry", because: null };
  }

  private judge(error: Error): CallResult<never> {
    const reason = error instanceof RpcError ? error.reason : null;
    if (reason !== null && TRANSIENT.has(reason)) {
      if (this.pending !== null && AMBIGUOUS.has(reason)) this.pending.ambiguous = true;
      return { kind: "wait", why: error.message };
    }
    this.pending = null;
    if (reason !== null && OUTDATED.has(reason)) return { kind: "look again" };
    if (reason !== null && PASSING.has(reason)) return { kind: "wait", why: error.message };
    return { kind: "refused", why: reason === null ? error.message : `${error.message} (${reason})` };
  }
}

function reasonOf(outcome: Outcome<unknown>): string | null {
  return outcome.kind === "refused" && outcome.error instanceof RpcError ? outcome.error.reason : null;
}

function decoded<T>(bytes: Uint8Array, decode: (bytes: Buffer) => T): CallResult<T> {
  try {
    return { kind: "done", value: decode(asBuffer(bytes)) };
  } catch {
    return { kind: "wait", why: "a member's answer can't be read" };
  }
}

/**
 * Watching the roster: what WatchMembers sends, as typed items that go on over lost streams.
 *
 * Invariants: every change once, in order, without a gap, or an item of kind "reset" where a gap can't be avoided. The
 * revision of the items never falls. Nothing is buffered beyond the message that is being read: a reader that pauses
 * pauses the stream.
 */
import { status } from "@grpc/grpc-js";
import type { Member } from "../generated/muster/v1/member";
import { MemberEventKind, MembershipServiceService } from "../generated/muster/v1/membership_service";
import type {
  ClusterSettings,
  MemberEvent,
  ResponseHeader,
  WatchMembersRequest,
  WatchMembersResponse,
} from "../generated/muster/v1/membership_service";
import { linkedAbort } from "./abort";
import type { LinkedAbort } from "./abort";
import type { Caller, StreamVerdict } from "./caller";
import { ClientConfigError } from "./endpoints";
import { MusterError } from "./errors";
import { isRepeatable } from "./retry";

/** What to watch. */
export interface WatchMembersOptions {
  /**
   * Begin after this revision, with the changes and without the roster. A revision that no member has reached yet is waited
   * for. 0 or left out: begin with the roster as it is.
   * @default 0n
   */
  readonly startRevision?: bigint | undefined;
  /** Also yield who leads, at the start and at each change. @default false */
  readonly withLeader?: boolean | undefined;
  /** Also yield marks, every few seconds without a change: that the watch lives, and whether a leader is known. @default false */
  readonly withProgress?: boolean | undefined;
  /** Ends the loop, without an error. @default none */
  readonly signal?: AbortSignal | undefined;
}

/** The whole roster. "roster": the first item without a start revision. */
export interface WatchedRoster {
  /**
   * "reset": changes were missed, because no member asked has them any more (REVISION_COMPACTED). What changed since the
   * item before is the difference to that, and not known as events.
   */
  readonly kind: "roster" | "reset";
  readonly revision: bigint;
  /** Sorted by id. */
  readonly members: readonly Member[];
}

/** What every change has, whether it is one of a member or of the settings. */
interface WatchedChange {
  /** The revision of the change. A change of several members has one item for each, all of the same revision. */
  readonly revision: bigint;
  /** Whether no more items of this revision follow. Only then is it one to begin a later watch with. */
  readonly isLast: boolean;
  /** When the leader proposed it, by the leader's clock; undefined for a change that a server of an older version kept. */
  readonly time: Date | undefined;
  /** Who asked for it: an identity, "anonymous", "member" for what a member published, "steward" for the leader itself. */
  readonly caller: string;
  /** Why, as the caller said. */
  readonly note: string;
  /** The request_id of the write. */
  readonly requestId: string;
}

/** One change of one member. */
export interface WatchedEvent extends WatchedChange {
  readonly kind: "event";
  /** What happened. A newer server may send numbers not known here. */
  readonly change: MemberEventKind;
  /** After the change; undefined when the member was removed. */
  readonly member: Member | undefined;
  /** Before the change; undefined when the member was added, and for a change that a server of an older version kept. */
  readonly previous: Member | undefined;
}

/** One change of the cluster's settings, and of no member. */
export interface WatchedSettings extends WatchedChange {
  readonly kind: "settings";
  /** After the change. */
  readonly settings: ClusterSettings;
  /** Before the change. */
  readonly previous: ClusterSettings | undefined;
}

/** Another member leads, or none, as far as the watched member knows. Not part of the order of changes. */
export interface WatchedLeader {
  readonly kind: "leader";
  /** The id of the leader; undefined: none is known. */
  readonly leaderId: string | undefined;
  /** The Raft term of the member that says so: of two items the one with the higher term is newer. */
  readonly term: bigint;
}

/** Nothing changed up to this revision but what was yielded. */
export interface WatchedProgress {
  readonly kind: "progress";
  readonly revision: bigint;
  /** Whether the watched member knows a leader. Without one, what it sends may be old. */
  readonly hasLeader: boolean;
}

/** An item of a watch; `kind` tells which. */
export type WatchItem = WatchedRoster | WatchedEvent | WatchedSettings | WatchedLeader | WatchedProgress;

/** One message of a watch, checked. The events of a message belong together: they are applied or not, all of them. */
export type WatchStep = (
  | WatchedRoster
  | { readonly kind: "events"; readonly revision: bigint; readonly events: readonly MemberEvent[] }
  | WatchedLeader
  | WatchedProgress
) & { readonly header: ResponseHeader };

/** Where a watch stands, over all its streams: what to ask for next, and what of an answer is new. */
export class WatchCursor {
  private clusterId = "";
  /** The kind of the roster to come; null: changes are to come. */
  private awaited: "roster" | "reset" | null;

  /** @param revision everything up to it is known; 0n: nothing */
  constructor(
    private revision: bigint,
    private readonly extras: Pick<WatchMembersRequest, "withLeader" | "withProgress">,
  ) {
    this.awaited = revision === 0n ? "roster" : null;
  }

  request(): WatchMembersRequest {
    return { startRevision: this.awaited === null ? this.revision : 0n, ...this.extras };
  }

  /** The changes after this revision can't be had: the next stream begins with the roster. */
  loseHistory(): void {
    this.awaited ??= "reset";
  }

  /** @param authority the member's address @returns null: nothing new @throws MusterError: this stream can't be used */
  accept(message: WatchMembersResponse, authority: string): WatchStep | null {
    const { header = NO_HEADER, part } = message;
    this.checkCluster(header.clusterId, authority);
    switch (part?.$case) {
      case "roster":
        return this.acceptRoster(header, part.value.members, authority);
      case "events": {
        const events = part.value.events.filter(({ revision }) => revision > this.revision);
        const revision = events.at(-1)?.revision;
        if (revision === undefined) return null;
        this.revision = revision;
        return { kind: "events", revision, events, header };
      }
      case "leader": {
        const { leaderId } = part.value;
        return { kind: "leader", leaderId: leaderId || undefined, term: header.raftTerm, header };
      }
      case "progress":
        return { kind: "progress", revision: this.revision, hasLeader: part.value.hasLeader, header };
      case undefined: // of a newer server
        return null;
    }
  }

  /** What follows from the end of a stream. */
  judge(error: MusterError): StreamVerdict {
    if (error.reason === "REVISION_COMPACTED") {
      this.loseHistory();
      return "resume";
    }
    if (isRepeatable(error)) return "resume";
    return OF_ONE_ENDPOINT.has(error.code) ? "elsewhere" : "end";
  }

  private acceptRoster(
    header: ResponseHeader,
    members: readonly Member[],
    authority: string,
  ): WatchStep | null {
    const { revision } = header;
    if (revision < this.revision) {
      // This member has yet to reach what was seen at another one.
      const message = `${authority} is behind: revision ${String(revision)}, seen ${String(this.revision)}`;
      throw new MusterError({ code: status.UNAVAILABLE, message, endpoint: authority });
    }
    const kind = this.awaited ?? "reset";
    const isSame = kind === "reset" && revision === this.revision;
    this.awaited = null;
    this.revision = revision;
    return isSame ? null : { kind, revision, members, header };
  }

  private checkCluster(clusterId: string, authority: string): void {
    if (this.clusterId === "") this.clusterId = clusterId;
    if (clusterId === this.clusterId || clusterId === "") return;
    const message = `${authority} belongs to cluster ${clusterId}, the watch to ${this.clusterId}`;
    const reason = "CLUSTER_ID_MISMATCH";
    throw new MusterError({ code: status.FAILED_PRECONDITION, reason, message, endpoint: authority });
  }
}

const NO_HEADER: ResponseHeader = { clusterId: "", memberId: "", revision: 0n, raftTerm: 0n, leaderId: "" };

/** Failures of one member, where another one may do: an older version without this call, an internal error. */
const OF_ONE_ENDPOINT: ReadonlySet<status> = new Set([
  status.UNIMPLEMENTED,
  status.INTERNAL,
  status.UNKNOWN,
  status.DATA_LOSS,
  status.FAILED_PRECONDITION,
  status.RESOURCE_EXHAUSTED,
]);

/** The steps of a watch, over as many streams as it takes. Never ends by itself. @throws MusterError */
export function watchSteps(
  caller: Caller,
  cursor: WatchCursor,
  signal: AbortSignal | undefined,
  onLost?: (error: MusterError) => void,
): AsyncGenerator<WatchStep, void, undefined> {
  return caller.stream({
    signal,
    judge: (error) => cursor.judge(error),
    ...(onLost === undefined ? {} : { onLost }),
    async *open(channel, attempt) {
      const { watchMembers } = MembershipServiceService;
      for await (const message of channel.serverStream(watchMembers, cursor.request(), attempt)) {
        const step = cursor.accept(message, channel.authority);
        if (step !== null) yield step;
      }
    },
  });
}

/** A watch as its user reads it. The stream opens with the first next(), and closes with return(). */
export class MemberWatch implements AsyncIterableIterator<WatchItem, void, undefined> {
  private readonly abort: LinkedAbort;
  private readonly items: AsyncGenerator<WatchItem, void, undefined>;

  /** @param options their extras are off unless set @throws ClientConfigError when the start revision is no revision */
  constructor(caller: Caller, options: WatchMembersOptions) {
    const { startRevision = 0n, withLeader = false, withProgress = false, signal } = options;
    if (startRevision < 0n || startRevision >= 2n ** 64n)
      throw new ClientConfigError(`bad start revision ${String(startRevision)}: want 0 to 2^64 - 1`);
    this.abort = linkedAbort(signal);
    const cursor = new WatchCursor(startRevision, { withLeader, withProgress });
    this.items = itemsOf(watchSteps(caller, cursor, this.abort.signal));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<WatchItem, void>> {
    try {
      const result = await this.items.next();
      if (result.done === true || !this.abort.signal.aborted) return result;
      // An item that was already read when the signal came: the end is what the user asked for.
      return await this.return();
    } catch (error) {
      this.abort.release();
      if (this.abort.signal.aborted) return { done: true, value: undefined };
      throw error;
    }
  }

  /** Closes the stream, also while a next() waits. */
  async return(): Promise<IteratorResult<WatchItem, void>> {
    this.abort.abort();
    this.abort.release();
    // A generator that waits inside next() ends with the abort; that error belongs to that next().
    await this.items.return(undefined).catch(() => undefined);
    return { done: true, value: undefined };
  }
}

async function* itemsOf(steps: AsyncIterable<WatchStep>): AsyncGenerator<WatchItem, void, undefined> {
  for await (const step of steps) {
    if (step.kind === "events") {
      yield* eventsOf(step.events);
      continue;
    }
    const { header: _, ...item } = step;
    yield item;
  }
}

function* eventsOf(
  events: readonly MemberEvent[],
): Generator<WatchedEvent | WatchedSettings, void, undefined> {
  for (const [i, event] of events.entries()) {
    const { kind: change, member, previous, settings, previousSettings, time, ...facts } = event;
    const isLast = events[i + 1]?.revision !== event.revision;
    const common = { ...facts, isLast, time: time && dateOf(time) };
    if (change === MemberEventKind.SETTINGS && settings !== undefined)
      yield { ...common, kind: "settings", settings, previous: previousSettings };
    else yield { ...common, kind: "event", change, member, previous };
  }
}

function dateOf({ seconds, nanos }: { seconds: bigint; nanos: number }): Date {
  return new Date(Number(seconds) * 1000 + nanos / 1_000_000);
}

/**
 * Watches of the roster, one at home on every member, whose histories are compared with the log: every event once, in
 * order, gap-free, across restarts, snapshots and leaders. A watch goes on where it was when its member starts again; now
 * and then it goes on at another member, or reads so slowly that the history passes it.
 */
import type { WatchMembersResponse } from "../../src/generated/muster/v1/membership_service";
import { WatchMembersResponse as Response } from "../../src/generated/muster/v1/membership_service";
import { HISTORY_LIMIT, RefusedError } from "../../src/roster/index";
import { RpcError } from "../../src/rpc/rpc_error";
import type { Member } from "./member";
import { encodedEvent, encodedMembers } from "./roster_log";
import { Violation } from "./violation";
import type { World } from "./world";

const NAME = "watch_history";
/** How long a slow caller takes for one message at most, in virtual milliseconds. */
const SLOW_MS = 3000;
/** A caller that found its member not serving yet asks again, in virtual milliseconds. */
const RETRY_MS = 100;

type Part = NonNullable<WatchMembersResponse["part"]>;

/** What one caller knows; outlives the calls in which it learned it. */
class Caller {
  /** Every event up to this revision was seen; null before the first roster. */
  revision: number | null = null;
  /** The call that is open; every message of an earlier one is ignored. */
  session: Session | null = null;
}

/** One call of WatchMembers. */
interface Session {
  readonly member: Member;
  readonly isSlow: boolean;
  cancel: () => void;
}

export class Watchers {
  /** By the machine at which the caller is at home. */
  private readonly callers = new Map<number, Caller>();
  /** The order of the events of one revision, as it was seen first. */
  private readonly orders = new Map<number, string>();

  constructor(private readonly world: World) {}

  /** A member starts: the caller that is at home there watches it again. */
  started(member: Member): void {
    const { number } = member.host;
    let caller = this.callers.get(number);
    if (caller === undefined) this.callers.set(number, (caller = new Caller()));
    const { random } = this.world;
    // Now and then a caller begins anew, with the roster.
    if (random.chance(0.15)) caller.revision = null;
    this.openLater(caller, member, random.below(2000));
  }

  /** The revisions of members and of callers that watch them, where they differ; null when there is none. */
  behind(): string | null {
    for (const { session, revision } of this.callers.values()) {
      if (session === null || session.member.cluster === null) continue;
      const { roster } = session.member.replica;
      if ((revision ?? 0) < roster.revision)
        return `a watch on ${session.member.label} ends at ${revision ?? 0}, the roster is at ${roster.revision}`;
    }
    return null;
  }

  private openLater(caller: Caller, member: Member, afterUs: number): void {
    caller.session = null;
    this.world.scheduler.after(afterUs, "client", member, () => {
      if (caller.session !== null) return;
      if (member.cluster === null) this.openLater(caller, member, RETRY_MS * 1000);
      else this.open(caller, member);
    });
  }

  private open(caller: Caller, member: Member): void {
    const { random, coverage, scheduler } = this.world;
    const { cluster } = member;
    if (cluster === null) return;
    // 0 stands for no revision.
    if (caller.revision === 0) caller.revision = null;
    const session: Session = { member, isSlow: random.chance(0.2), cancel: () => undefined };
    caller.session = session;
    const fields = {
      startRevision: caller.revision,
      withLeader: random.chance(0.3),
      withProgress: random.chance(0.1),
    };
    if (fields.startRevision === null) coverage.add("watch begun with the roster");
    else {
      coverage.add("watch resumed");
      if (fields.startRevision > member.replica.roster.revision)
        coverage.add("watch resumed ahead of its member");
    }
    const call = {
      onCancel: (fn: () => void) => {
        session.cancel = fn;
        return () => undefined;
      },
    };
    const sink = {
      push: (message: Buffer | WatchMembersResponse, taken?: (error?: Error | null) => void) => {
        if (caller.session === session)
          this.guard(() => {
            this.got(caller, member, message as Buffer);
          });
        if (!session.isSlow) taken?.();
        else scheduler.after(random.below(SLOW_MS * 1000), "client", member, () => taken?.());
      },
    };
    cluster.watches.watch(fields, call, sink).catch((error: unknown) => {
      if (caller.session === session) this.ended(caller, session, error);
    });
    if (random.chance(0.25)) this.leaveLater(caller, session);
  }

  /** The caller hangs up after a while, and goes on at another member, or here again. */
  private leaveLater(caller: Caller, session: Session): void {
    const { random, scheduler, hosts, coverage } = this.world;
    scheduler.after(random.between(200, 4000) * 1000, "client", session.member, () => {
      if (caller.session !== session) return;
      session.cancel();
      const other = random.pick(hosts)?.running ?? session.member;
      if (other !== session.member) coverage.add("watch resumed at another member");
      this.openLater(caller, other, 0);
    });
  }

  // --- What comes ---------------------------------------------------------------------------------------------------

  private got(caller: Caller, member: Member, bytes: Buffer): void {
    const { header, part } = Response.decode(bytes);
    const revision = Number(header?.revision ?? 0n);
    const label = `a watch on ${member.label} at ${caller.revision ?? "its begin"}`;
    if (part === undefined) throw new Violation(NAME, `${label} gets a message without a part`);
    this.check(caller, part, revision, label);
  }

  private check(caller: Caller, part: Part, revision: number, label: string): void {
    const { log, coverage } = this.world;
    switch (part.$case) {
      case "roster": {
        // A member that has just joined has applied nothing.
        const known = revision === 0 ? "" : log.membersAt(revision);
        if (caller.revision !== null)
          throw new Violation(NAME, `${label} gets a roster that it did not ask for`);
        if (known !== encodedMembers(part.value.members))
          throw new Violation(NAME, `${label} gets a roster at ${revision} that the log does not have`);
        caller.revision = revision;
        return;
      }
      case "events": {
        const steps = new Map<number, string[]>();
        for (const event of part.value.events) {
          const at = Number(event.revision);
          steps.set(at, [...(steps.get(at) ?? []), encodedEvent(event)]);
        }
        if (steps.size > 1) coverage.add("watch that catches up");
        for (const [at, events] of steps) this.step(caller, at, events, label);
        if (caller.revision !== revision)
          throw new Violation(
            NAME,
            `${label} gets events up to ${caller.revision}, and the revision ${revision}`,
          );
        return;
      }
      case "leader":
      case "progress":
        // They come after every event up to that revision.
        if (caller.revision === null || caller.revision < revision)
          throw new Violation(
            NAME,
            `${label} gets a ${part.$case} at ${revision} before the events up to it`,
          );
        if (part.$case === "leader") coverage.add("watch told of a leader");
    }
  }

  /** The events of one revision must be those of the next step of the log. */
  private step(caller: Caller, revision: number, events: readonly string[], label: string): void {
    const { log, coverage } = this.world;
    const from = caller.revision ?? 0;
    const next = log.after(from);
    if (revision <= from) throw new Violation(NAME, `${label} gets events of ${revision} again`);
    if (next === null || revision !== next.revision)
      throw new Violation(
        NAME,
        `${label} gets events of ${revision}, the log's next are of ${next?.revision ?? "none"}`,
      );
    if (events.length !== next.events.size || !events.every((event) => next.events.has(event)))
      throw new Violation(NAME, `${label} gets other events of ${revision} than the log has`);
    const order = events.join();
    if (this.orders.get(revision) !== order) {
      if (this.orders.has(revision))
        throw new Violation(NAME, `${label} gets the events of ${revision} in another order than others`);
      this.orders.set(revision, order);
    }
    caller.revision = revision;
    coverage.add("watch event");
  }

  private ended(caller: Caller, session: Session, error: unknown): void {
    const { member } = session;
    const reason =
      error instanceof RefusedError ? error.refusal.reason : error instanceof RpcError ? error.reason : null;
    switch (reason) {
      case "REVISION_COMPACTED":
        this.guard(() => {
          this.compacted(caller, member);
        });
        caller.revision = null;
        break;
      case "SERVER_STOPPING":
      case "TOO_MANY_REQUESTS":
        break;
      default:
        this.world.fail(error);
    }
    this.openLater(caller, member, RETRY_MS * 1000);
  }

  /** Only a caller that is behind by as many events as are kept has to begin anew. */
  private compacted(caller: Caller, member: Member): void {
    const { log, coverage, profile } = this.world;
    const kept = profile.memory.eventsLimit ?? HISTORY_LIMIT;
    const missed = log.eventsBetween(caller.revision ?? 0, member.replica.roster.revision);
    coverage.add("watch that the history passed");
    if (missed < kept)
      throw new Violation(
        NAME,
        `a watch on ${member.label} lacks ${missed} events, and is ended; ${kept} are kept`,
      );
  }

  private guard(look: () => void): void {
    try {
      look();
    } catch (error) {
      if (error instanceof Violation) this.world.broken.add(error.invariant);
      this.world.fail(error);
    }
  }
}

/**
 * The clients of a run. They call random members, several calls at a time, with the retry logic of src/client, and give up
 * after a while or cancel calls in the middle.
 */
import { Caller } from "../../src/client/caller";
import { MusterError } from "../../src/client/errors";
import { Consistency, MembershipServiceService } from "../../src/generated/muster/v1/membership_service";
import { parseId } from "../../src/roster/index";
import type { Call } from "./history";
import type { Host } from "./host";
import { callOf, rosterAnswer, writeAnswer } from "./operations";
import type { RosterAnswer, WriteBody, WriteOperation } from "./operations";
import { SimChannel, clientClock } from "./sim_channel";
import type { World } from "./world";

/** Most endpoints of one client. */
const ENDPOINTS_MAX = 3;
/** How long a patient operator waits: a membership change may wait for a healthy quorum and for a handover. */
const PATIENT_MS = 8000;

export class Clients {
  /** Number of calls that have not ended. */
  open = 0;
  /** When true, no new calls begin. */
  stopped = false;
  private nextRequest = 1;
  private nextUrl = 1;

  constructor(private readonly world: World) {}

  start(): void {
    for (let i = 0; i < this.world.profile.clients; i++) this.think();
  }

  private think(): void {
    const { scheduler, random, profile, nobody } = this.world;
    scheduler.after(random.below(2 * profile.thinkMs * 1000), "client", nobody, () => {
      if (this.stopped) return;
      // Before there is a leader, calls only wait and are repeated: a few are enough.
      if (this.world.formed || random.chance(0.2)) this.act();
      this.think();
    });
  }

  private act(): void {
    const { world } = this;
    const { random } = world;
    const name = random.pick(this.names());
    if (name === null) return;
    const choice = random.below(100);
    if (choice < 45) {
      if (world.has("writes"))
        this.write({ rpc: "UpdateAdminURL", name, adminUrl: this.freshAdminUrl(name) });
    } else if (choice < 50) {
      if (world.has("writes")) this.write({ rpc: "UpdateAdminURL", name: "nobody", adminUrl: "http://x:1" });
    } else if (!world.has("reads")) return;
    else if (choice < 80) this.read("members");
    else if (choice < 88) this.read("cluster");
    else this.readLocally();
  }

  /** Names of present and former members. */
  private names(): string[] {
    const { hosts, profile, random } = this.world;
    // What is refused now and would be done later: a change of a member that is about to be added.
    const coming = hosts.filter(({ member }) => member?.phase === "joining");
    const isEarly = profile.focus === "late attempts" && coming.length > 0 && random.chance(0.4);
    return (isEarly ? coming : hosts).map(({ name }) => name);
  }

  private freshAdminUrl(name: string): string {
    return `http://${name}.client:${1000 + this.nextUrl++}`;
  }

  // --- Writes -------------------------------------------------------------------------------------------------------

  /**
   * Requests a change until it is decided or the client gives up.
   *
   * @param done called with the reason why it was not done, if it was not: "VALIDATED" when that was all that was asked
   */
  write(
    body: WriteBody,
    done: (reason: string | null) => void = () => undefined,
    patience: "any" | "long" = "any",
  ): void {
    const { world } = this;
    const { random, history, coverage } = world;
    const requestId = random.chance(0.15) ? "" : `r${this.nextRequest++}`;
    const operation: WriteOperation = {
      body,
      requestId,
      expectedRevision: random.chance(0.04) ? this.someRevision() : 0,
      validateOnly: random.chance(0.03),
    };
    const recorded = history.invoke(operation);
    const { channels, caller } = this.caller();
    const { method, request } = callOf(operation);
    this.open++;
    const plan = this.plan(operation.requestId, !operation.validateOnly);
    if (patience === "long") plan.timeoutMs = PATIENT_MS;
    const [only] = channels;
    // A client that gives no request id can't repeat the call; the member that takes it can.
    const answered =
      requestId === "" && only !== undefined
        ? only.unary(method, request, { ...plan, number: 1 })
        : caller.call(method, request, plan);
    answered.then(
      (response) => {
        this.open--;
        this.guard(() => {
          this.noteAttempts(channels);
          if (operation.validateOnly) history.refused(recorded, "NOT_PROPOSED", true);
          else history.wrote(recorded, writeAnswer(response));
          coverage.add(operation.validateOnly ? "validate_only" : "write answered");
        });
        done(operation.validateOnly ? "VALIDATED" : null);
      },
      (error: unknown) => {
        this.open--;
        done(this.writeFailed(operation, recorded, channels, error));
      },
    );
  }

  private writeFailed(
    { validateOnly, requestId }: WriteOperation,
    recorded: Call,
    channels: readonly SimChannel[],
    error: unknown,
  ): string {
    const { history, coverage } = this.world;
    this.noteAttempts(channels);
    const reason = this.reasonOf(error);
    // An earlier attempt that is still under way must not take effect after the call was refused with a reason.
    const explained = error instanceof MusterError && error.reason !== undefined;
    const certain =
      !channels.some(({ ambiguous }) => ambiguous) || (explained && reason !== "OUTCOME_UNKNOWN");
    if (certain && !validateOnly && requestId !== "") this.world.refused.add(requestId);
    if (validateOnly) history.refused(recorded, "NOT_PROPOSED", true);
    else history.refused(recorded, reason, certain);
    if (reason === "REVISION_MISMATCH") coverage.add("expected_revision mismatch");
    coverage.add(certain ? "write refused" : "write of unknown outcome");
    return reason;
  }

  private someRevision(): number {
    const member = this.world.random.pick(this.world.hosts)?.running;
    return member?.replica.roster.revision ?? 1;
  }

  // --- Leadership ---------------------------------------------------------------------------------------------------

  /** Asks that the named member leads, or any other than the leader when the name is empty. */
  transfer(name: string): void {
    const { scheduler, coverage, checkers } = this.world;
    const begunUs = scheduler.nowUs;
    const { channels, caller } = this.caller();
    const plan = { ...this.plan(undefined, true), once: name === "" };
    this.open++;
    caller.call(MembershipServiceService.transferLeadership, { name, id: "" }, plan).then(
      ({ leader }) => {
        this.open--;
        this.noteAttempts(channels);
        coverage.add("TransferLeadership answered");
        this.guard(() => {
          if (name !== "") checkers.transfers.answered(parseId(leader?.id ?? "") ?? 0n, begunUs);
        });
      },
      (error: unknown) => {
        this.open--;
        if (this.reasonOf(error) === "TRANSFER_FAILED") coverage.add("TransferLeadership failed");
      },
    );
  }

  // --- Reads --------------------------------------------------------------------------------------------------------

  read(what: "members" | "cluster", done: (reason: string | null) => void = () => undefined): void {
    const { history, coverage } = this.world;
    const recorded = history.invoke(null);
    const { channels, caller } = this.caller();
    this.open++;
    this.readOnce(caller, what).then(
      (answer) => {
        this.open--;
        this.noteAttempts(channels);
        coverage.add(what === "members" ? "linearizable read" : "GetCluster");
        this.guard(() => {
          history.read(recorded, answer);
        });
        done(null);
      },
      (error: unknown) => {
        this.open--;
        history.unknown(recorded);
        const reason = this.reasonOf(error);
        coverage.add("linearizable read refused");
        done(reason);
      },
    );
  }

  private async readOnce(caller: Caller, what: "members" | "cluster"): Promise<RosterAnswer> {
    const { getMembers, getCluster } = MembershipServiceService;
    const request = { consistency: Consistency.LINEARIZABLE };
    const plan = this.plan(undefined, false);
    if (what === "members") {
      const { header, members } = await caller.call(getMembers, request, plan);
      const answered = this.world.hosts.find((host) => host.id.toString(16) === header?.memberId)?.running;
      if (answered?.replica.roster.member(answered.replica.id)?.learner === true)
        this.world.coverage.add("linearizable read at a learner");
      return rosterAnswer(header, members);
    }
    const { header, members } = await caller.call(getCluster, request, plan);
    return rosterAnswer(
      header,
      members.map(({ member }) => member),
    );
  }

  private readLocally(): void {
    const { world } = this;
    const member = world.random.pick(world.hosts)?.running ?? null;
    if (member === null) return;
    world.coverage.add("serializable read");
    const { revision, members } = {
      revision: member.replica.roster.revision,
      members: member.replica.roster.members(),
    };
    this.guard(() => {
      world.history.local({ revision, members });
    });
  }

  // --- Calls --------------------------------------------------------------------------------------------------------

  private caller(): { readonly channels: readonly SimChannel[]; readonly caller: Caller } {
    const { world } = this;
    const { random } = world;
    const mayForward = world.healing || !random.chance(0.05);
    const channels: SimChannel[] = [];
    for (let i = random.between(1, ENDPOINTS_MAX); i > 0; i--) {
      const host = this.someHost();
      if (host !== null) channels.push(new SimChannel(world, host, mayForward));
    }
    const first = world.hosts[0];
    if (channels.length === 0 && first !== undefined) channels.push(new SimChannel(world, first, mayForward));
    const caller = new Caller({
      channels,
      clock: clientClock(world),
      random: () => random.below(1_000_000) / 1_000_000,
      waitForConnection: random.chance(0.5),
    });
    return { channels, caller };
  }

  private plan(requestId: string | undefined, changes: boolean) {
    const { random, healing } = this.world;
    const timeoutMs = healing ? 8000 : random.between(200, 8000);
    const signal = random.chance(0.02) ? this.cancelLater() : undefined;
    return { timeoutMs, requestId, changes, signal };
  }

  private cancelLater(): AbortSignal {
    const { scheduler, random, nobody } = this.world;
    const abort = new AbortController();
    scheduler.after(random.below(500_000), "client", nobody, () => {
      abort.abort();
    });
    return abort.signal;
  }

  private someHost(): Host | null {
    const { hosts, random } = this.world;
    const running = hosts.filter((host) => host.running !== null);
    if (!this.world.healing) return random.pick(running.length > 0 && random.chance(0.95) ? running : hosts);
    // At the end of the run, no call goes to a member that was removed before it ever learned of the cluster.
    const leader = running.find((host) => host.running?.replica.isLeader === true)?.running;
    return random.pick(running.filter((host) => leader?.replica.roster.member(host.id) !== null));
  }

  private noteAttempts(channels: readonly SimChannel[]): void {
    const attempts = channels.reduce((sum, channel) => sum + channel.attempts, 0);
    if (attempts > 1) this.world.coverage.add("product: client repeated a call");
  }

  private reasonOf(error: unknown): string {
    if (!(error instanceof MusterError)) {
      this.world.fail(error);
      return "INTERNAL";
    }
    if (error.reason === "TOO_MANY_REQUESTS") this.world.coverage.add("turned away, too many wait");
    if (error.reason !== undefined) return error.reason;
    return error.sent ? "OUTCOME_UNKNOWN" : "CONNECTION_REFUSED";
  }

  private guard(look: () => void): void {
    try {
      look();
    } catch (error) {
      this.world.fail(error);
    }
  }
}

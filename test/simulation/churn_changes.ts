/**
 * What operators do with members beside adding and removing one: several at once, replacements side by side and in place,
 * cancelled ones, settings, and voters that stay away until a standby takes their place.
 */
import { MemberTarget } from "../../src/roster/index";
import type { MemberRecord } from "../../src/roster/index";
import type { Clients } from "./clients";
import type { Host } from "./host";
import type { Member } from "./member";
import type { SettingsChange } from "./operations";
import type { World } from "./world";

/** A member whose place is to be taken stays away for so long, unless it is started before, in virtual milliseconds. */
const AWAY_MS = 60_000;

export class ChurnChanges {
  constructor(
    private readonly world: World,
    private readonly clients: Clients,
    /** A machine for a new member. */
    private readonly newcomer: (members: readonly MemberRecord[]) => Host | null,
    private readonly addStandby: (members: readonly MemberRecord[]) => void,
  ) {}

  // --- Several at once ----------------------------------------------------------------------------------------------

  /** Mostly as many voters come as go; sometimes the leader goes. */
  several(informed: Member, members: readonly MemberRecord[]): void {
    const { random, coverage, profile } = this.world;
    const voters = this.shuffled(members.filter(({ learner }) => !learner));
    const learners = this.shuffled(members.filter(({ learner, started }) => learner && started));
    const promote = learners.slice(0, random.between(0, 2));
    const surplus = Math.max(0, voters.length + promote.length - profile.voters);
    const leave = voters.slice(0, random.chance(0.8) ? surplus : random.between(0, 2));
    const isRemoved = random.chance(0.5);
    // A learner that is to become a voter is told to stay one, maybe at the moment at which the leader promotes it.
    const stays = random.pick(random.chance(0.3) ? members.filter(({ learner }) => learner) : []);
    const names = (list: readonly MemberRecord[]): string[] => list.map(({ name }) => name);
    const body = {
      rpc: "ChangeMembers",
      promote: names(promote),
      demote: [
        ...(isRemoved ? [] : names(leave)),
        ...(stays === null || promote.includes(stays) ? [] : [stays.name]),
      ],
      remove: isRemoved ? names(leave) : [],
    } as const;
    if (promote.length + leave.length === 0 && body.demote.length === 0) return;
    const led = leave.some(({ id }) => id === informed.replica.leader);
    this.clients.write(
      body,
      (reason) => {
        if (reason === null)
          coverage.add(led ? "several members changed, the leader too" : "several members changed");
        else this.refused(reason);
      },
      "long",
    );
  }

  private shuffled<T>(items: readonly T[]): T[] {
    const { random } = this.world;
    return items
      .map((item) => ({ item, at: random.u32() }))
      .sort((a, b) => a.at - b.at)
      .map(({ item }) => item);
  }

  // --- Replacements -------------------------------------------------------------------------------------------------

  sideBySide(informed: Member, members: readonly MemberRecord[]): void {
    const { random, coverage } = this.world;
    const leader = members.find(({ id }) => id === informed.replica.leader);
    const target = leader !== undefined && random.chance(0.2) ? leader : random.pick(members);
    const host = this.newcomer(members);
    if (target === null || host === null) return;
    host.start();
    const { name, peerUrl } = host;
    this.clients.write(
      { rpc: "ReplaceMember", name: target.name, newName: name, peerUrl },
      (reason) => {
        if (reason === null) coverage.add("replacement begun");
        else this.refused(reason);
      },
      "long",
    );
  }

  /** The member that was to take another's place is removed, and the other stays. */
  cancel(members: readonly MemberRecord[]): void {
    const { random, coverage } = this.world;
    const target = random.pick(members.filter(({ replaces }) => replaces !== 0n));
    if (target === null) return;
    this.clients.write({ rpc: "DeleteMember", name: target.name }, (reason) => {
      if (reason === null) coverage.add("replacement cancelled");
      else this.refused(reason);
    });
  }

  /** A member whose disk is lost gets its place back under another id; one that runs is stopped first, as a rule. */
  inPlace(members: readonly MemberRecord[]): void {
    const { random, scheduler, nobody, profile } = this.world;
    if (this.startReplaced(members)) return;
    const able = members.flatMap((record) => {
      const host = this.hostOf(record.id);
      return host === null ? [] : [{ record, host }];
    });
    const gone = able.filter(({ host }) => host.ended);
    const found = random.pick(gone.length > 0 && random.chance(0.8) ? gone : able);
    if (found === null) return;
    const { record, host } = found;
    if (host.member === null || random.chance(0.2)) {
      this.replaceInPlace(record, host);
      return;
    }
    host.crash(random.chance(0.5) ? "power" : "kill", AWAY_MS);
    const afterMs = random.between(profile.electionMs, 3 * profile.electionMs);
    scheduler.after(afterMs * 1000, "churn", nobody, () => {
      if (!this.world.healing) this.replaceInPlace(record, host);
    });
  }

  private replaceInPlace({ name, id, peerUrls }: MemberRecord, host: Host): void {
    const { random, coverage } = this.world;
    const peerUrl = peerUrls[0] === host.peerUrl && random.chance(0.5) ? "" : host.peerUrl;
    this.clients.write(
      { rpc: "ReplaceMember", name, newName: name, peerUrl },
      (reason) => {
        if (reason === null && host.id === id) {
          coverage.add("member replaced in place");
          this.renew(host);
          return;
        }
        if (reason === "MEMBER_IN_CONTACT") coverage.add("replacement in place refused, in contact");
        else if (reason !== null) this.refused(reason);
        // Its operator gives up: it goes on with the disk that it has.
        host.start();
      },
      "long",
    );
  }

  /** A place that was given to a new member by a call whose answer got lost. */
  private startReplaced(members: readonly MemberRecord[]): boolean {
    const { hosts, coverage } = this.world;
    for (const { id, name, started } of members) {
      if (started || hosts.some((host) => host.id === id)) continue;
      const host = hosts.find((other) => other.name === name && other.ended && this.isOwnCopy(other));
      if (host === undefined) continue;
      coverage.add("member replaced in place");
      this.renew(host);
      return true;
    }
    return false;
  }

  private renew(host: Host): void {
    const { random, scheduler, nobody } = this.world;
    host.renew();
    const afterMs = random.chance(0.7) ? random.below(500) : random.between(500, 5000);
    scheduler.after(
      afterMs * 1000,
      "lifecycle",
      nobody,
      () => {
        host.start();
      },
      "start in its old place",
    );
  }

  /** The machine of a member, unless copies of its directory are about. */
  private hostOf(id: bigint): Host | null {
    return this.world.hosts.find((host) => host.id === id && this.isOwnCopy(host)) ?? null;
  }

  private isOwnCopy(host: Host): boolean {
    if (host.copyOf !== null || host.bootsCopied !== null) return false;
    return !this.world.hosts.some(({ copyOf }) => copyOf === host);
  }

  // --- Settings and standbys ----------------------------------------------------------------------------------------

  /** Times as short as they may be: a run lasts half a minute. */
  settings(): void {
    const { random, profile } = this.world;
    const isOn = profile.focus === "steward" && random.chance(0.7);
    this.change({
      ...(random.chance(0.3) ? { autoPromote: random.chance(0.7) } : {}),
      ...(random.chance(0.6) ? { standbyTakeoverAfterMs: isOn ? 1000 : this.someMs([0, 1000, 2500]) } : {}),
      ...(random.chance(0.5) ? { removeUnstartedAfterMs: this.someMs([0, 1000, 2000, 4000]) } : {}),
    });
  }

  private someMs(times: readonly number[]): number {
    return this.world.random.pick(times) ?? 0;
  }

  private change(settings: SettingsChange): void {
    const { coverage } = this.world;
    if (Object.keys(settings).length === 0) return;
    this.clients.write(
      { rpc: "UpdateClusterSettings", settings },
      (reason) => {
        if (reason === null) coverage.add("settings changed");
      },
      "long",
    );
  }

  /** The settings forbid what the leader has just begun by itself, and allow it again later. */
  forbid(): void {
    const { moments, scheduler, random, nobody, coverage } = this.world;
    moments.arm("steward", () => {
      scheduler.after(0, "churn", nobody, () => {
        if (this.world.healing) return;
        coverage.add("settings changed against the leader");
        this.change({ autoPromote: false, standbyTakeoverAfterMs: 0, removeUnstartedAfterMs: 0 });
      });
      scheduler.after(random.between(500, 3000) * 1000, "churn", nobody, () => {
        const times = { standbyTakeoverAfterMs: 1000, removeUnstartedAfterMs: this.someMs([0, 2000]) };
        if (!this.world.healing) this.change({ autoPromote: true, ...times });
      });
    });
  }

  /** A voter goes down for longer than a standby waits; where none waits yet, that is seen to first. */
  stayAway(informed: Member, members: readonly MemberRecord[]): void {
    const { random, profile } = this.world;
    const { leader, roster } = informed.replica;
    const { standbyTakeoverAfterMs } = roster.settings;
    if (standbyTakeoverAfterMs === 0) this.change({ standbyTakeoverAfterMs: 1000 });
    const standby = members.find(({ learner, target }) => learner && target === MemberTarget.STANDBY);
    if (standby === undefined && members.length < profile.membersMax) this.addStandby(members);
    if (standby?.started !== true || standbyTakeoverAfterMs === 0) return;
    const voters = members.filter(
      (member) => !member.learner && (member.id !== leader || random.chance(0.2)),
    );
    const host = this.hostOf(random.pick(voters)?.id ?? 0n);
    if (host?.running == null || voters.length < 2) return;
    const awayMs = standbyTakeoverAfterMs + random.between(3, 8) * profile.electionMs;
    host.crash(random.chance(0.5) ? "power" : "kill", awayMs);
  }

  private refused(reason: string): void {
    if (reason !== "OUTCOME_UNKNOWN" && reason !== "VALIDATED")
      this.world.coverage.add("membership change refused");
  }
}

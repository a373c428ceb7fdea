/**
 * The cluster in the hands of the random operator: its members, the roster as it was last read, and what must hold after an
 * operation.
 *
 * Invariant: a violation is recorded once and ends the run. Waits end by a condition; the patience is generous, since a
 * cluster that has lost its quorum never gets it back by waiting.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Consistency, MemberRole, MemberTarget, MusterError } from "../../src/client";
import type { Member, MemberStatus, MusterClient } from "../../src/client";
import { freePortBlock, tail, until } from "../e2e/support/processes";
import { DiskOracle } from "./operator_disks";
import { OperatorHistory } from "./operator_history";
import { clientOf, OperatorLoad } from "./operator_load";
import type { Answer } from "./operator_load";
import { ELECTION_MS, OperatedMember } from "./operator_member";
import type { ClusterView, MemberView } from "./operator_plan";

/**
 * How long a cluster may take to serve again: 240 election timeouts, for busy machines, on which a new member needs a minute
 * to catch up. A quorum that is lost never comes back, so that patience hides nothing. Milliseconds.
 */
const PATIENCE_MS = 240 * ELECTION_MS;
/** How long a call may take, in milliseconds: the strict check waits for some election timeouts by itself. */
const CALL_MS = 15_000;

/** A violation ends the run. */
export class Violation extends Error {}

/** What became of a call. */
export type Verdict = "accepted" | "unknown" | `refused ${string}`;

export class OperatorWorld {
  readonly folder = mkdtempSync(join(tmpdir(), "muster-operator-"));
  readonly history = new OperatorHistory();
  readonly disks = new DiskOracle(this.history);
  readonly load: OperatorLoad;
  /** Members by name; a removed member is in `removed`. */
  readonly members = new Map<string, OperatedMember>();
  readonly removed: OperatedMember[] = [];
  /** Second processes on copies of a directory, running or not. */
  readonly twins: OperatedMember[] = [];
  /** The roster as the leader last showed it. */
  roster: readonly MemberStatus[] = [];
  clusterId = "";
  private count = 0;
  private writes = 0;
  /** Members that the roster has had. */
  private readonly joined = new Set<OperatedMember>();

  constructor(
    seed: number,
    private readonly smallDisks: boolean,
  ) {
    this.load = new OperatorLoad(seed, {
      history: this.history,
      running: () => this.running(),
      targets: () => this.roster.map(({ member }) => member?.name ?? ""),
      clusterId: () => this.clusterId,
    });
  }

  // --- Members ----------------------------------------------------------------------------------------------------

  all(): OperatedMember[] {
    return [...this.members.values(), ...this.removed, ...this.twins];
  }

  /** Every process that answers, copies and removed members too. */
  running(): OperatedMember[] {
    return this.all().filter((member) => member.running);
  }

  /** A number that was not used before, for names of members, requests and folders. */
  next(): number {
    return ++this.count;
  }

  /** A member with ports and a directory of its own; not started, and not in `members` yet. */
  async prepare(name: string, state: "new" | "existing"): Promise<OperatedMember> {
    const base = await freePortBlock([0, 1]);
    const dataDir = join(this.folder, `${name}.${this.next()}`);
    const peerUrl = `http://127.0.0.1:${base + 1}`;
    const spec = { name, adminPort: base, peerUrl, dataDir, initialCluster: "", initialClusterState: state };
    return new OperatedMember(spec, this.smallDisks);
  }

  async freePeerUrl(): Promise<string> {
    return `http://127.0.0.1:${await freePortBlock([0])}`;
  }

  /** The value of initial-cluster that a good operator would give this member: everyone where they are now. */
  hints(member: OperatedMember): string {
    const others = [...this.members.values()].filter(
      (other) =>
        other.name !== member.name && (this.listing(other.name) !== null || this.roster.length === 0),
    );
    return [member, ...others].map(({ name, spec }) => `${name}=${spec.peerUrl}`).join(",");
  }

  start(member: OperatedMember): void {
    member.startWith(this.hints(member));
  }

  async end(member: OperatedMember, hard: boolean): Promise<void> {
    const problem = await member.end(hard);
    if (problem !== null && member.tampered === null) throw new Violation(problem);
  }

  listing(name: string): MemberStatus | null {
    return this.roster.find(({ member }) => member?.name === name) ?? null;
  }

  /** Whether the roster knows the member under the URL at which it listens. */
  private atRosterUrl(member: OperatedMember): boolean {
    return this.listing(member.name)?.member?.peerUrls.includes(member.spec.peerUrl) === true;
  }

  isHealthy(member: OperatedMember): boolean {
    const listed = this.listing(member.name);
    const isVoter = listed?.member?.role === MemberRole.VOTER;
    return (
      isVoter && member.running && member.tampered === null && (member.follows || this.atRosterUrl(member))
    );
  }

  /** Whether the leader has to make a voter of this learner: nothing keeps it from being ready. */
  private willVote(member: OperatedMember, { role, target }: Member): boolean {
    const runs = member.running && member.tampered === null && this.atRosterUrl(member);
    return runs && role === MemberRole.LEARNER && target === MemberTarget.VOTER;
  }

  healthy(): OperatedMember[] {
    return [...this.members.values()].filter((member) => this.isHealthy(member));
  }

  /** Whether a majority of the voters is healthy. */
  hasHealthyMajority(): boolean {
    const voters = this.roster.filter(({ member }) => member?.role === MemberRole.VOTER).length;
    return this.healthy().length > voters / 2;
  }

  view(): ClusterView {
    const held = [...this.members.values()].map((member) => this.viewOf(member));
    const strangers = this.roster.flatMap(({ member }): MemberView[] => {
      if (member === undefined || this.members.has(member.name)) return [];
      const voter = member.role === MemberRole.VOTER;
      const rest = {
        leads: false,
        running: false,
        intact: false,
        healthy: false,
        elsewhere: false,
        copies: 0,
      };
      return [{ name: member.name, listed: true, voter, ...rest }];
    });
    const back = this.removed.filter((member) => !member.running && member.hasDirectory);
    const removed = back.map(({ spec }) => spec.dataDir);
    return { members: [...held, ...strangers], removed, smallDisks: this.smallDisks };
  }

  private viewOf(member: OperatedMember): MemberView {
    const listed = this.listing(member.name);
    return {
      name: member.name,
      listed: listed !== null,
      voter: listed?.member?.role === MemberRole.VOTER,
      leads: listed?.isLeader === true,
      running: member.running,
      intact: member.tampered === null && member.hasDirectory,
      healthy: this.isHealthy(member),
      elsewhere: listed !== null && !this.atRosterUrl(member),
      copies: member.copies.length,
    };
  }

  /** Forgets the cluster: a new one begins, in which none of its members takes part. */
  endEpoch(): void {
    this.removed.push(...this.members.values());
    this.members.clear();
    this.roster = [];
    this.clusterId = "";
  }

  // --- Calls ------------------------------------------------------------------------------------------------------

  /** One change of the members, at whoever runs. @param changes as for the load's `record` */
  async change(
    what: string,
    call: (client: MusterClient, requestId: string) => Promise<Answer>,
    changes = true,
  ): Promise<Verdict> {
    const asked = [...this.members.values()].filter(({ running }) => running);
    if (asked.length === 0) return "refused NOBODY_RUNS";
    const client = clientOf(asked, CALL_MS);
    const requestId = `operator-${this.next()}`;
    try {
      const outcome = await this.load.record(
        "the operator",
        requestId,
        what,
        call(client, requestId),
        changes,
      );
      if (outcome.kind === "acknowledged") return "accepted";
      if (outcome.kind === "refused") return `refused ${outcome.reason}`;
      return outcome.kind === "not-appended" ? `refused ${outcome.reasons.join()}` : "unknown";
    } finally {
      client.close();
    }
  }

  /** One call that leaves the roster as it is. @returns who leads, by the answer */
  async transfer(
    asked: readonly OperatedMember[],
    name: string,
  ): Promise<{ verdict: Verdict; leader: string }> {
    const client = clientOf(asked, CALL_MS);
    try {
      const { header, leader } = await client.transferLeadership({ name });
      if (header !== undefined) this.history.heard("the operator", header);
      return { verdict: "accepted", leader: leader?.name ?? "" };
    } catch (error) {
      if (!(error instanceof MusterError)) throw error;
      return { verdict: `refused ${error.label}`, leader: "" };
    } finally {
      client.close();
    }
  }

  /** Reads the roster from the leader; false when nobody answers. */
  async refresh(): Promise<boolean> {
    const asked = [...this.members.values()].filter(({ running, tampered }) => running && tampered === null);
    for (const member of asked) {
      const floor = this.history.floor(this.clusterId);
      const answer = await member.cluster(Consistency.LINEARIZABLE);
      if (answer?.header === undefined) continue;
      const { header, members } = answer;
      const before = this.clusterId;
      this.clusterId = header.clusterId;
      this.history.heard(member.name, header);
      if (before === header.clusterId) this.history.readLinearizable(member.name, header, floor);
      this.roster = members;
      this.sortOut();
      return true;
    }
    return false;
  }

  /** Moves members that the roster has no more to the removed ones. */
  private sortOut(): void {
    for (const member of [...this.members.values()]) {
      if (this.atRosterUrl(member)) member.follows = false;
      if (this.listing(member.name) !== null || !this.joined.has(member)) continue;
      this.members.delete(member.name);
      this.removed.push(member);
    }
    for (const member of this.members.values()) {
      if (this.listing(member.name) !== null) this.joined.add(member);
    }
  }
  // --- What must hold ---------------------------------------------------------------------------------------------

  /**
   * Throws when a member that nobody tampered with has ended without the operator.
   * @param read whether the roster is the present one: a member that ended may have been removed
   */
  private checkEnds(read: boolean): void {
    for (const member of this.members.values()) {
      if (!member.endedByItself || member.tampered !== null) continue;
      // Another program of this machine has taken the port meanwhile: an operator would try again.
      if (member.process.stderr.includes("EADDRINUSE")) {
        this.start(member);
        continue;
      }
      if (!read && this.clusterId !== "") continue;
      const { code, signal } = member.process.exit ?? { code: null, signal: null };
      throw new Violation(
        `${member.name} ended by itself with ${code ?? signal ?? "nothing"}: ${tail(member.process.stderr)}`,
      );
    }
  }

  /**
   * Waits until the cluster serves without the operator's help: a new write is acknowledged, the leader is in contact with
   * every healthy member, has made voters of the learners that run, and has noticed who does not run.
   * @throws Violation when it does not within the patience
   */
  async serves(): Promise<void> {
    let missing = ["a first look"];
    const isServing = async (): Promise<boolean> => {
      missing = [];
      const wrote = await this.load.write(this.pickForWrite());
      const read = await this.refresh();
      this.checkEnds(read);
      if (!wrote) missing.push("no write is acknowledged");
      if (!read) missing.push("no linearizable read is answered");
      for (const { member, reachable } of this.roster) {
        const own = this.members.get(member?.name ?? "");
        const runs = own?.running === true;
        if (own !== undefined && this.isHealthy(own) && !(reachable === true && member?.started === true))
          missing.push(`${own.name} is healthy and not in contact`);
        // Promoted later it would change the quorum in the middle of an operation that was chosen without it.
        if (own !== undefined && member !== undefined && this.willVote(own, member))
          missing.push(`${own.name} runs and is no voter yet`);
        if (own !== undefined && this.isHealthy(own) && !((await own.cluster())?.header?.leaderId ?? ""))
          missing.push(`${own.name} is healthy and knows no leader`);
        if (own?.follows === true && runs && own.tampered === null)
          missing.push(`the roster does not follow ${own.name} to ${own.spec.peerUrl}`);
        if (!runs && reachable === true && !this.twins.some(({ running }) => running))
          missing.push(`${member?.name ?? "?"} does not run and counts as in contact`);
      }
      return missing.length === 0;
    };
    try {
      await until("the cluster serves", isServing, () => missing.join("; "), PATIENCE_MS);
    } catch (error) {
      if (error instanceof Violation) throw error;
      throw new Violation(`not within ${PATIENCE_MS / ELECTION_MS} election timeouts: ${missing.join("; ")}`);
    }
  }

  private pickForWrite(): OperatedMember | undefined {
    const from = [...this.members.values()].filter(({ running, tampered }) => running && tampered === null);
    return from[this.writes++ % Math.max(1, from.length)];
  }

  /** Waits until every healthy voter has the log as it is now, so that the loss of one loses nothing. */
  async caughtUp(): Promise<void> {
    let missing = "";
    const isCaughtUp = async (): Promise<boolean> => {
      if (!(await this.refresh())) return false;
      const behind = this.healthy().filter((member) => this.listing(member.name)?.lagEntries !== 0n);
      missing = behind.map(({ name }) => name).join(", ");
      return behind.length === 0;
    };
    try {
      await until("all have the log", isCaughtUp, () => missing, PATIENCE_MS);
    } catch {
      throw new Violation(`members do not catch up: ${missing}`);
    }
  }

  /** Compares all directories and answers. @throws Violation */
  async check(): Promise<void> {
    await this.disks.check(
      this.all().map((member) => ({
        name: this.twins.includes(member) ? `the copy of ${member.name}` : member.name,
        dataDir: member.spec.dataDir,
        running: member.running,
        retired: !this.members.has(member.name) || this.removed.includes(member),
        trusted: member.tampered === null,
      })),
      this.clusterId,
    );
    const problem = [...this.history.problems, ...this.disks.problems][0];
    if (problem !== undefined) throw new Violation(problem);
  }

  // --- The end ----------------------------------------------------------------------------------------------------

  /** Ends every process. Keeps directories and logs of a failed run. */
  async destroy(keep: boolean, report: string): Promise<void> {
    await Promise.all(this.running().map((member) => member.end(true)));
    for (const [i, member] of this.all().entries()) {
      const kept = join(this.folder, "kept", `${member.name}-${i}`);
      if (keep) {
        mkdirSync(kept, { recursive: true });
        writeFileSync(join(kept, "output.log"), member.output);
      }
      member.release(keep ? join(kept, "data") : null);
    }
    if (keep) writeFileSync(join(this.folder, "operations.log"), report);
    else rmSync(this.folder, { recursive: true, force: true });
  }
}

/**
 * A member adds itself to a running cluster, at its first start with `join`.
 *
 * Each round looks at the roster as it is now, confirmed by a quorum, and does the one thing that is missing: adds this
 * member, corrects its peer URL, replaces it if it may, or takes the id under which it is listed. So a start goes on
 * where an earlier one stopped, at whatever point that was.
 *
 * Invariant: the data directory is created only under an id that has not started, and whose directory nobody who answers has
 * met. Two processes of one name may both get that far; the cluster then takes the one that it meets first
 * (cluster/peer_identity.ts), and the other one ends. docs/adr/0024-join.md
 */
import type { Clock } from "../base/clock";
import type { Log } from "../base/log";
import type { Random } from "../base/random";
import { JoinerCalls } from "../cluster/joiner_calls";
import type { CallResult } from "../cluster/joiner_calls";
import { askHello } from "../cluster/peer_questions";
import type { ListedMembers } from "../cluster/peer_questions";
import { MemberTarget } from "../roster/index";
import type { StorageFs } from "../storage/fs";
import type { WalOptions } from "../storage/options";
import { Backoff } from "../transport/backoff";
import type { PeerCalls } from "../transport/peer_calls";
import type { PeerAddress } from "../transport/transport";
import { otherAddresses } from "./config";
import type { JoinConfig, JoinTarget, ServerConfig } from "./config";
import { StartRefusedError } from "./errors";
import { askAll, newestAnswer, takeId, whoHasMet } from "./running_cluster";
import type { Listed, PeerAnswer } from "./running_cluster";

export interface JoinDeps {
  readonly fs: StorageFs;
  readonly wal: WalOptions;
  readonly peers: PeerCalls;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Whether the member was stopped during its start. */
  readonly stopped: () => boolean;
  /** Called when this member begins to wait for a cluster to add it. */
  readonly onJoining: () => void;
}

type JoiningConfig = Pick<
  ServerConfig,
  "name" | "adminUrl" | "peerUrl" | "initialCluster" | "join" | "dataDir" | "electionMs"
>;

/** How often it is said for what this member waits, when that does not change, in milliseconds. */
const SAID_MS = 10_000;

const TARGETS = {
  // Not given: members of an older version know no targets.
  voter: MemberTarget.UNSPECIFIED,
  learner: MemberTarget.LEARNER,
  standby: MemberTarget.STANDBY,
} as const satisfies Record<JoinTarget, MemberTarget>;

/** The cluster as one round found it. */
interface Found {
  readonly list: ListedMembers;
  /** Where to make changes: first the leader, then the others that answer. */
  readonly urls: readonly string[];
}

/** What a round came to. */
type Step =
  | { readonly kind: "joined"; readonly others: readonly PeerAddress[] }
  /** Something was changed: the next round finds it. */
  | { readonly kind: "changed" }
  /** The next round may find something else. `why` is for people; null: nothing to say. */
  | { readonly kind: "wait"; readonly why: string | null };

/**
 * Creates the data directory of a member that the cluster has.
 *
 * @returns addresses of the cluster's members, until this member's own roster has them
 * @throws StartRefusedError, DataDirError
 */
export async function joinByItself(
  config: JoiningConfig,
  join: JoinConfig,
  deps: JoinDeps,
): Promise<readonly PeerAddress[]> {
  const { log, clock, random } = deps;
  const joiner = new Joiner(config, join, deps);
  const backoff = new Backoff(random);
  let said = "";
  let saidMs = 0;
  deps.onJoining();
  for (;;) {
    if (deps.stopped()) throw new StartRefusedError("stopped before it joined a cluster");
    const step = await joiner.round();
    if (step.kind === "joined") return step.others;
    if (step.kind === "changed") backoff.reset();
    else if (step.why !== null && (step.why !== said || clock.now() - saidMs >= SAID_MS)) {
      log.info({ peer_url: config.peerUrl }, `waiting to join: ${step.why}`);
      [said, saidMs] = [step.why, clock.now()];
    }
    await new Promise<void>((resolve) => clock.setTimeout(resolve, backoff.next()));
  }
}

class Joiner {
  private readonly calls: JoinerCalls;
  /** The configured addresses. */
  private readonly given: readonly string[];
  /** Peer URLs in the newest answer: they go on where every configured address is gone. */
  private learned: readonly string[] = [];

  constructor(
    private readonly config: JoiningConfig,
    private readonly join: JoinConfig,
    private readonly deps: JoinDeps,
  ) {
    this.given = otherAddresses(config);
    this.calls = new JoinerCalls({ ...deps, electionMs: config.electionMs });
  }

  /** @throws StartRefusedError, DataDirError */
  async round(): Promise<Step> {
    const found = await this.look();
    if (found.kind !== "done") return step(found);
    const { list, urls } = found.value;
    const { name, peerUrl } = this.config;
    const own = list.members.find((member) => member.name === name);
    if (own === undefined) return this.add(urls);
    if (own.started) return this.replace(own, found.value);
    if (!own.peerUrls.includes(peerUrl)) return this.correct(own, found.value);
    const metAt = await whoHasMet(this.deps.peers, own, list, this.given);
    if (metAt !== null) return this.replace(own, found.value);
    const others = await takeId(this.config.dataDir, own, list, this.deps);
    return others === null ? { kind: "wait", why: null } : { kind: "joined", others };
  }

  /** The roster as a quorum confirms it. */
  private async look(): Promise<CallResult<Found>> {
    const asked = new Set([...this.given, ...this.learned]);
    const answers = await askAll([...asked], this.deps.peers);
    const cluster = this.oneCluster(answers);
    const newest = newestAnswer(cluster);
    if (newest === null)
      return { kind: "wait", why: `none of ${[...asked].map(hostOf).join(", ")} answers as a member yet` };
    const { members } = newest.response;
    this.learned = members.flatMap(({ name, peerUrls }) => (name === this.config.name ? [] : peerUrls));
    const leaders = leaderUrls(cluster);
    if (leaders.length === 0) return { kind: "wait", why: "no member that answers knows a leader" };
    const urls = [...new Set([...leaders, ...cluster.map(({ url }) => url)])];
    const confirmed = await this.calls.members(urls);
    if (confirmed.kind !== "done") return confirmed;
    return { kind: "done", value: { list: confirmed.value, urls } };
  }

  /**
   * The answers of the cluster that answers at the configured addresses. An address that was only learned may be another
   * cluster's by now.
   *
   * @throws StartRefusedError when two clusters answer at configured addresses
   */
  private oneCluster(answers: readonly PeerAnswer[]): readonly PeerAnswer[] {
    const of = ({ response }: PeerAnswer): string => response.header?.clusterId ?? "";
    const configured = answers.filter(({ url }) => this.given.includes(url));
    const [first] = configured.length > 0 ? configured : answers;
    if (first === undefined) return [];
    const other = configured.find((answer) => of(answer) !== of(first));
    if (other === undefined) return answers.filter((answer) => of(answer) === of(first));
    throw new StartRefusedError(
      `join has addresses of two clusters: ${hostOf(first.url)} of ${of(first)}, ${hostOf(other.url)} of ${of(other)} ` +
        "(CLUSTER_ID_MISMATCH); leave out those of one",
    );
  }

  private async add(urls: readonly string[]): Promise<Step> {
    const { name, peerUrl, adminUrl } = this.config;
    const target = TARGETS[this.join.target];
    const added = await this.calls.addMember(urls, { name, peerUrl, adminUrl, target });
    if (added.kind === "done")
      this.deps.log.info({ peer_url: peerUrl, target: this.join.target }, "added itself to the cluster");
    return step(added);
  }

  /** This member is listed where it is not: an earlier try, or an operator, gave it another URL. */
  private async correct(own: Listed, { urls }: Found): Promise<Step> {
    const { name, peerUrl: newPeerUrl } = this.config;
    await this.refuseNamesake(own);
    const updated = await this.calls.updateMember(urls, { id: own.id, name, newPeerUrl });
    if (updated.kind === "done")
      this.deps.log.info(
        { peer_url: newPeerUrl, was: own.peerUrls.join(",") },
        "corrected its peer URL in the roster",
      );
    return step(updated);
  }

  /** @throws StartRefusedError when another process of this name answers where the member is listed */
  private async refuseNamesake({ id, peerUrls }: Listed): Promise<void> {
    const { name, peerUrl } = this.config;
    const answers = await Promise.all(peerUrls.map((url) => askHello(this.deps.peers, url)));
    for (const [i, hello] of answers.entries()) {
      // With this member's own peer URL it is this process, by another name of its host.
      if (hello?.name !== name || hello.peerUrl === peerUrl) continue;
      throw new StartRefusedError(
        `another process is, or joins as, ${name} (${id}) at ${peerUrls[i] ?? ""}: stop it, or choose another name`,
      );
    }
  }

  /** The cluster knows another data directory of this member. */
  private async replace(own: Listed, found: Found): Promise<Step> {
    const { name, peerUrl, adminUrl, dataDir } = this.config;
    const { id } = own;
    const who = `${name} (${id})`;
    const command = `muster member replace ${name} --endpoints ${endpoints(own, found)}`;
    if (!own.peerUrls.includes(peerUrl)) {
      throw new StartRefusedError(
        `${who} is a member already, at ${own.peerUrls.join(", ")}: choose another name; or, if that is this member and ` +
          `its disk is lost, replace it, then start it again: ${command}`,
      );
    }
    if (!this.join.replaceIfWiped) {
      throw new StartRefusedError(
        `${who} has started before, but data-dir ${dataDir} is empty: replace it, then start it again: ${command} ` +
          "(with replace-if-wiped it does that by itself)",
        true,
      );
    }
    const replaced = await this.calls.replaceMember(found.urls, { name, id, adminUrl, note: REPLACED });
    if (replaced.kind === "done")
      this.deps.log.warn(
        { id, data_dir: dataDir },
        "its data directory is lost: replaced itself by a new member",
      );
    return step(replaced);
  }
}

const REPLACED = "its data directory was empty at its start (replace-if-wiped)";

/** Where the leaders are that the answers name, the one of the highest term first. */
function leaderUrls(answers: readonly PeerAnswer[]): string[] {
  const termOf = ({ response }: PeerAnswer): bigint => response.header?.raftTerm ?? 0n;
  return [...answers]
    .sort((a, b) => (termOf(a) > termOf(b) ? -1 : 1))
    .flatMap(({ response: { header, members } }) => {
      return members.find(({ id }) => id === header?.leaderId)?.peerUrls ?? [];
    });
}

/** What the next round is for. @throws StartRefusedError when there is none */
function step(result: CallResult<unknown>): Step {
  switch (result.kind) {
    case "done":
      return { kind: "changed" };
    case "wait":
      return result;
    case "look again":
      return { kind: "wait", why: null };
    case "refused":
      throw new StartRefusedError(`the cluster refuses this member: ${result.why}`);
  }
}

function hostOf(url: string): string {
  return url.replace(/^https?:\/\//, "");
}

/** Where a command reaches the others: by their admin URLs, as far as they are known. */
function endpoints({ id }: Listed, { list, urls }: Found): string {
  const admin = list.members.flatMap((member) => (member.id === id ? [] : member.adminUrls.slice(0, 1)));
  return (admin.length === 0 ? urls : admin).map(hostOf).join(",");
}

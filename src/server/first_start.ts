/**
 * The first start of a member, which creates its data directory: by bootstrap, where every member of initial-cluster
 * writes the same first entries, or by joining a running cluster, which has added this member and knows its id.
 */
import {
  addMemberCommand,
  bootstrapMemberId,
  clusterId as hashClusterId,
  encodeCommand,
  formatId,
  parseId,
} from "../roster/index";
import type { RosterCommand } from "../roster/index";
import { askHello } from "../cluster/peer_questions";
import type { ListedMembers } from "../cluster/peer_questions";
import { ConfChangeTransition, ConfChangeType, EMPTY_BYTES, EntryType, NO_NODE } from "../raft/index";
import type { Entry } from "../raft/index";
import { createDataDir } from "../storage/data_dir";
import type { Identity } from "../storage/storage";
import type { PeerCalls } from "../transport/peer_calls";
import type { Log } from "../base/log";
import type { PeerAddress } from "../transport/transport";
import { otherAddresses, checkFirstStart } from "./config";
import type { ServerConfig } from "./config";
import { INSTANCE_ID_BYTES, sha256 } from "../base/random";
import { StartRefusedError } from "./errors";
import { joinByItself } from "./join";
import type { JoinDeps } from "./join";
import { NO_INSTANCE, askAll, newestAnswer, revisionOf, takeId, whoHasMet } from "./running_cluster";
import type { PeerAnswer } from "./running_cluster";

/**
 * Between two rounds of questions while others start at the same time, in milliseconds: the first pause, doubled up to the
 * largest one, so that members that start together do not wait for each other; after so many rounds JOIN_RETRY_MS.
 */
const FORM_FIRST_MS = 10;
const FORM_QUICK_MS = 100;
const FORM_QUICK_ROUNDS = 24;
/** How often it is said for whom this member waits, in milliseconds. */
const FORM_SAID_MS = 10_000;

interface InitialMember {
  readonly id: bigint;
  readonly name: string;
  readonly peerUrl: string;
}

/** The cluster that this member forms with others. */
interface Forming {
  readonly clusterId: bigint;
  /** This member's id. */
  readonly own: bigint;
  readonly members: readonly InitialMember[];
}

interface FirstStartDeps extends JoinDeps {
  /** Called when this member begins to wait for the other members that form the cluster with it. */
  readonly onForming: (clusterId: bigint, memberId: bigint) => void;
}

const JOIN_RETRY_MS = 500;

/**
 * Creates the data directory.
 *
 * @returns addresses of the cluster's members, until this member's own roster has them; empty after a bootstrap
 * @throws ConfigError, StartRefusedError, DataDirError
 */
export function firstStart(config: ServerConfig, deps: FirstStartDeps): Promise<readonly PeerAddress[]> {
  checkFirstStart(config);
  if (config.join !== undefined) return joinByItself(config, config.join, deps);
  return config.initialClusterState === "new" ? bootstrap(config, deps) : join(config, deps);
}

// --- new ------------------------------------------------------------------------------------------------------------

async function bootstrap(config: ServerConfig, deps: FirstStartDeps): Promise<readonly PeerAddress[]> {
  const members = config.initialCluster
    .map(({ name, peerUrl }) => {
      return { id: bootstrapMemberId(sha256, name, peerUrl, config.initialClusterToken), name, peerUrl };
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const clusterId = hashClusterId(
    sha256,
    members.map((member) => member.id),
  );
  const own = members.find((member) => member.name === config.name);
  if (own === undefined) throw new StartRefusedError(`initial-cluster does not name ${config.name}`);
  deps.onForming(clusterId, own.id);
  await waitToForm(config, deps, { clusterId, own: own.id, members });
  const entries = members.map((member, i) => bootstrapEntry(i + 1, member.id, bootstrapCommand(member)));
  const identity: Identity = {
    clusterId,
    memberId: own.id,
    instanceId: deps.random.bytes(INSTANCE_ID_BYTES),
  };
  const hardState = { term: 1, vote: NO_NODE, commit: entries.length };
  await createDataDir(deps.fs, config.dataDir, identity, { entries, hardState }, deps.wal);
  deps.log.info({ id: own.id, cluster: clusterId, members: members.length }, "bootstrapped a new cluster");
  return [];
}

/** Gives the same bytes on every member: it contains nothing random and no time. */
function bootstrapCommand({
  id,
  name,
  peerUrl,
}: {
  id: bigint;
  name: string;
  peerUrl: string;
}): RosterCommand {
  return addMemberCommand({ proposalId: 0n, timeMs: 0 }, { id, name, peerUrl, adminUrls: [] });
}

function bootstrapEntry(index: number, nodeId: bigint, command: RosterCommand): Entry {
  const changes = [{ type: ConfChangeType.AddVoter, nodeId }];
  const confChange = { transition: ConfChangeTransition.Auto, changes, context: encodeCommand(command) };
  return { term: 1, index, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
}

/**
 * The members that the peers at `urls` list, of a cluster that runs already; the newest list comes last.
 *
 * @throws StartRefusedError when a peer is a member of another cluster, or says that this member has started before
 */
async function listedByPeers(
  config: ServerConfig,
  peers: PeerCalls,
  clusterId: bigint,
  urls: readonly string[],
): Promise<InitialMember[]> {
  const answers = await askAll(urls, peers);
  answers.sort((a, b) => (revisionOf(a) < revisionOf(b) ? -1 : 1));
  return answers.flatMap(({ url, response }) => {
    const theirs = parseId(response.header?.clusterId ?? "");
    if (theirs !== null && theirs !== clusterId) throw otherCluster(config, url);
    const own = response.members.find((member) => member.name === config.name);
    if (own?.started === true) throw alreadyStarted(config.name, own.id, url);
    return response.members.flatMap(({ id, name, peerUrls: [peerUrl] }): InitialMember[] => {
      const memberId = parseId(id);
      return memberId === null || peerUrl === undefined ? [] : [{ id: memberId, name, peerUrl }];
    });
  });
}

/**
 * Waits until every other initial member answers, and every member that these list: as one that waits too, or as a member
 * of this cluster that has met no data directory of this member. So no majority can form that forgets what another one
 * acknowledged: a member that lost its directory is known to each one that took a message of it.
 * docs/adr/0016-met-instances.md
 *
 * @throws StartRefusedError
 */
async function waitToForm(config: ServerConfig, deps: FirstStartDeps, forming: Forming): Promise<void> {
  const { peers, clock, log } = deps;
  const others = new Map(forming.members.map((member) => [member.id, member]));
  others.delete(forming.own);
  let said = "";
  let saidMs = 0;
  for (let round = 0; ; round++) {
    if (deps.stopped()) throw new StartRefusedError("stopped before the cluster was formed");
    const { missing, running } = await askOthers(config, peers, forming, [...others.values()]);
    for (const member of await listedByPeers(config, peers, forming.clusterId, running)) {
      if (member.id === forming.own) continue;
      if (!others.has(member.id)) missing.push(member);
      others.set(member.id, member);
    }
    if (missing.length === 0) return;
    const text = missing.map(({ name, peerUrl }) => `${name} (${peerUrl})`).join(", ");
    const now = clock.now();
    if (text !== said || now - saidMs >= FORM_SAID_MS) {
      log.info(
        { waits_for: text },
        "waits for the other members of initial-cluster, to form the cluster with them",
      );
      [said, saidMs] = [text, now];
    }
    await new Promise<void>((resolve) => clock.setTimeout(resolve, formPauseMs(round)));
  }
}

function formPauseMs(round: number): number {
  return round < FORM_QUICK_ROUNDS ? Math.min(FORM_QUICK_MS, FORM_FIRST_MS * 2 ** round) : JOIN_RETRY_MS;
}

/** What the other members of the cluster to be formed say of themselves. */
interface Others {
  /** Those that did not answer as the member that they are to be. */
  readonly missing: InitialMember[];
  /** Where members answered that serve a roster, so that it can be asked for. */
  readonly running: readonly string[];
}

/** @throws StartRefusedError */
async function askOthers(
  config: ServerConfig,
  peers: PeerCalls,
  { clusterId, own }: Forming,
  others: readonly InitialMember[],
): Promise<Others> {
  const asker = { clusterId, memberId: own, instanceId: NO_INSTANCE };
  const answers = await Promise.all(others.map(({ peerUrl }) => askHello(peers, peerUrl, asker)));
  const running: string[] = [];
  const missing = others.filter((member, i) => {
    const hello = answers[i] ?? null;
    if (hello === null) return true;
    if (hello.clusterId !== 0n && hello.clusterId !== clusterId) throw otherCluster(config, member.peerUrl);
    if (hello.metAnotherInstance) throw alreadyStarted(config.name, formatId(own), member.peerUrl);
    if (!hello.waitingToForm && !hello.waitingToJoin) running.push(member.peerUrl);
    return hello.clusterId !== clusterId || hello.memberId !== member.id || hello.waitingToJoin;
  });
  return { missing, running };
}

function otherCluster({ name, dataDir }: ServerConfig, url: string): StartRefusedError {
  return new StartRefusedError(
    `the member at ${url} belongs to another cluster than ${name} (data-dir ${dataDir}): ` +
      "initial-cluster and initial-cluster-token must be the same on every member",
  );
}

function alreadyStarted(name: string, id: string, url: string): StartRefusedError {
  return new StartRefusedError(
    `the member at ${url} says that ${name} (${id}) has started before, but this data directory is empty: ` +
      `remove ${name} from the cluster, add it again, and start it with initial-cluster-state existing`,
    true,
  );
}

// --- existing -------------------------------------------------------------------------------------------------------

async function join(config: ServerConfig, deps: FirstStartDeps): Promise<readonly PeerAddress[]> {
  const { log, clock } = deps;
  let lastText = "";
  deps.onJoining();
  for (;;) {
    if (deps.stopped()) throw new StartRefusedError("stopped before a cluster added this member");
    const answers = await askPeers(config, deps.peers);
    // The other answers are older: a member that they list may be removed by now.
    const newest = newestAnswer(answers);
    const peers = newest === null ? null : await joinFrom(config, deps, newest.url, newest.response);
    if (peers !== null) return peers;
    const text =
      answers.length === 0
        ? "no peer of initial-cluster answers yet"
        : "the cluster has not added this member yet";
    if (text !== lastText) log.info({ peer_url: config.peerUrl }, `waiting to join: ${text}`);
    lastText = text;
    await new Promise<void>((resolve) => clock.setTimeout(resolve, JOIN_RETRY_MS));
  }
}

/** Creates the data directory of a member that the answer lists; null when it does not list this member. */
async function joinFrom(
  config: ServerConfig,
  deps: FirstStartDeps,
  url: string,
  response: ListedMembers,
): Promise<readonly PeerAddress[] | null> {
  const listed = response.members.find(
    (member) => member.name === config.name && member.peerUrls.includes(config.peerUrl),
  );
  if (listed === undefined) return null;
  if (listed.started) throw alreadyStarted(config.name, listed.id, url);
  const metAt = await whoHasMet(deps.peers, listed, response, otherAddresses(config));
  if (metAt !== null) throw alreadyStarted(config.name, listed.id, metAt);
  return takeId(config.dataDir, listed, response, deps);
}

// --- both -----------------------------------------------------------------------------------------------------------

/** The answers of the other members of initial-cluster, and of join. Members that do not answer are left out. */
function askPeers(config: ServerConfig, peers: PeerCalls): Promise<PeerAnswer[]> {
  return askAll(otherAddresses(config), peers);
}

/**
 * Checks a later start. It ignores initial-cluster, except that the data directory and the configuration do not belong
 * together when every peer that answers belongs to another cluster, and the rest of initial-cluster is no majority.
 * A few of another cluster (a restored member at the address of one that is down) must not keep a majority from starting.
 * The addresses of join are no list of all members, so that they keep nobody from starting.
 *
 * @throws StartRefusedError
 */
export async function checkLaterStart(
  config: ServerConfig,
  clusterId: bigint,
  peers: PeerCalls,
  log: Log,
): Promise<void> {
  const answers = await askPeers(config, peers);
  const ofOther = answers.filter(({ response }) => {
    const id = parseId(response.header?.clusterId ?? "");
    return id !== null && id !== clusterId;
  });
  const initial = new Set(config.initialCluster.map(({ peerUrl }) => peerUrl));
  const initialOfOther = ofOther.filter(({ url }) => initial.has(url));
  const [first] = initialOfOther;
  const rest = initial.size - initialOfOther.length;
  if (first !== undefined && ofOther.length === answers.length && 2 * rest <= initial.size)
    throw otherCluster(config, first.url);
  for (const { url } of ofOther)
    log.warn(
      { url },
      `a member of another cluster answers at this address of ${initial.has(url) ? "initial-cluster" : "join"}: ` +
        (initial.has(url) ? "stop one of the two" : "correct the address"),
    );
}

/**
 * The first start of a member, which creates its data directory: by bootstrap, where every member of initial-cluster
 * writes the same first entries, or by joining a running cluster, which has added this member and knows its id.
 */
import {
  addMemberCommand,
  bootstrapMemberId,
  clusterId as hashClusterId,
  encodeCommand,
  parseId,
} from "../roster/index";
import type { RosterCommand } from "../roster/index";
import { askMembers } from "../cluster/peer_questions";
import type { ListedMembers } from "../cluster/peer_questions";
import { ConfChangeTransition, ConfChangeType, EMPTY_BYTES, EntryType, NO_NODE } from "../raft/index";
import type { Entry } from "../raft/index";
import { createDataDir } from "../storage/data_dir";
import type { StorageFs } from "../storage/fs";
import type { WalOptions } from "../storage/options";
import type { Identity } from "../storage/storage";
import type { PeerCalls } from "../transport/peer_calls";
import type { Clock } from "../base/clock";
import type { Log } from "../base/log";
import type { PeerAddress } from "../transport/transport";
import { checkFirstStart } from "./config";
import type { ServerConfig } from "./config";
import { INSTANCE_ID_BYTES, sha256 } from "../base/random";
import type { Random } from "../base/random";
import { StartRefusedError } from "./errors";

interface FirstStartDeps {
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

const JOIN_RETRY_MS = 500;

/**
 * Creates the data directory.
 *
 * @returns addresses of the cluster's members, until this member's own roster has them; empty after a bootstrap
 * @throws ConfigError, StartRefusedError, DataDirError
 */
export function firstStart(config: ServerConfig, deps: FirstStartDeps): Promise<readonly PeerAddress[]> {
  checkFirstStart(config);
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
  for (const { url, response } of await askPeers(config, deps.peers)) {
    const theirs = parseId(response.header?.clusterId ?? "");
    if (theirs !== null && theirs !== clusterId) throw otherCluster(config, url);
    const listed = response.members.find((member) => member.name === config.name);
    if (listed?.started === true) throw alreadyStarted(config.name, listed.id, url);
  }
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
    for (const { url, response } of answers) {
      const peers = await joinFrom(config, deps, url, response);
      if (peers !== null) return peers;
    }
    const text =
      answers.length === 0
        ? "no peer of initial-cluster answers yet"
        : "the cluster has not added this member yet";
    if (text !== lastText)
      log.info({ name: config.name, peer_url: config.peerUrl }, `waiting to join: ${text}`);
    lastText = text;
    await new Promise<void>((resolve) => clock.setTimeout(resolve, JOIN_RETRY_MS));
  }
}

/** Creates the data directory of a member that the answer lists; null when it does not list this member. */
async function joinFrom(
  config: ServerConfig,
  deps: FirstStartDeps,
  url: string,
  { header, members }: ListedMembers,
): Promise<readonly PeerAddress[] | null> {
  const listed = members.find(
    (member) => member.name === config.name && member.peerUrls.includes(config.peerUrl),
  );
  const memberId = parseId(listed?.id ?? "");
  const clusterId = parseId(header?.clusterId ?? "");
  if (listed === undefined || memberId === null || clusterId === null) return null;
  if (listed.started) throw alreadyStarted(config.name, listed.id, url);
  const identity = { clusterId, memberId, instanceId: deps.random.bytes(INSTANCE_ID_BYTES) };
  await createDataDir(deps.fs, config.dataDir, identity, undefined, deps.wal);
  deps.log.info({ id: memberId, cluster: clusterId }, "joins a running cluster");
  const peers = members.flatMap((member): PeerAddress[] => {
    const id = parseId(member.id);
    return id === null || id === memberId ? [] : [{ id, peerUrls: member.peerUrls }];
  });
  return peers;
}

// --- both -----------------------------------------------------------------------------------------------------------

interface PeerAnswer {
  readonly url: string;
  readonly response: ListedMembers;
}

/** The answers of the other members of initial-cluster. Members that do not answer are left out. */
async function askPeers({ name, initialCluster }: ServerConfig, peers: PeerCalls): Promise<PeerAnswer[]> {
  const others = initialCluster.filter((member) => member.name !== name);
  const answers = await Promise.all(
    others.map(async ({ peerUrl }) => ({ url: peerUrl, response: await askMembers(peers, peerUrl) })),
  );
  return answers.flatMap(({ url, response }) => (response === null ? [] : [{ url, response }]));
}

/**
 * Checks a later start. It ignores initial-cluster, except that the data directory and the configuration do not belong
 * together when every peer that answers belongs to another cluster.
 *
 * @throws StartRefusedError
 */
export async function checkLaterStart(
  config: ServerConfig,
  clusterId: bigint,
  peers: PeerCalls,
): Promise<void> {
  const answers = await askPeers(config, peers);
  const ids = answers.map(({ response }) => parseId(response.header?.clusterId ?? ""));
  const first = answers[0];
  if (first !== undefined && ids.every((id) => id !== null && id !== clusterId))
    throw otherCluster(config, first.url);
}

/**
 * How a data directory is born: by bootstrap, where every member of initial-cluster writes the same first entries, or
 * by joining, where a running cluster has added this member and tells its id. SPEC section 4.
 */
import {
  addMemberCommand,
  bootstrapMemberId,
  clusterId as hashClusterId,
  encodeCommand,
  parseId,
} from "../roster/index";
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import type { GetMembersResponse } from "../generated/muster/v1/membership_service";
import { ConfChangeTransition, ConfChangeType, EMPTY_BYTES, EntryType, NO_NODE } from "../raft/index";
import type { Entry } from "../raft/index";
import { createDataDir } from "../storage/data_dir";
import type { StorageFs } from "../storage/fs";
import type { Identity } from "../storage/storage";
import type { Clock } from "../base/clock";
import type { PeerAddress } from "../transport/transport";
import { checkFirstStart } from "./config";
import type { ServerConfig } from "./config";
import { newInstanceId, sha256 } from "../base/random";
import type { Logger } from "./logger";
import type { PeerQuery } from "./peer_query";

/** This member can't start; the message is one line that says why and what to do. */
export class StartRefusedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "StartRefusedError";
  }
}

export interface FirstStartDeps {
  readonly fs: StorageFs;
  readonly query: PeerQuery;
  readonly clock: Clock;
  readonly log: Logger;
  /** True once the start was given up. */
  readonly stopped: () => boolean;
}

/** What a first start leaves besides the directory. */
export interface Born {
  /** Where to find the cluster until the own roster covers it. */
  readonly peers: readonly PeerAddress[];
}

const JOIN_RETRY_MS = 500;

/** @throws ConfigError, StartRefusedError, DataDirError */
export function firstStart(config: ServerConfig, deps: FirstStartDeps): Promise<Born> {
  checkFirstStart(config);
  return config.initialClusterState === "new" ? bootstrap(config, deps) : join(config, deps);
}

// --- new ------------------------------------------------------------------------------------------------------------

async function bootstrap(config: ServerConfig, deps: FirstStartDeps): Promise<Born> {
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
  for (const { url, response } of await askPeers(config, deps.query)) {
    const theirs = parseId(response.header?.clusterId ?? "");
    if (theirs !== null && theirs !== clusterId) throw otherCluster(config, url);
    const listed = response.members.find((member) => member.name === config.name);
    if (listed?.started === true) throw alreadyStarted(config.name, listed.id, url);
  }
  const entries = members.map((member, i) => bootstrapEntry(i + 1, member.id, bootstrapCommand(member)));
  const identity: Identity = { clusterId, memberId: own.id, instanceId: newInstanceId() };
  const hardState = { term: 1, vote: NO_NODE, commit: entries.length };
  await createDataDir(deps.fs, config.dataDir, identity, { entries, hardState });
  deps.log.info({ id: own.id, cluster: clusterId, members: members.length }, "bootstrapped a new cluster");
  return { peers: [] };
}

/** The same bytes on every member: nothing of it is drawn or measured. */
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

async function join(config: ServerConfig, deps: FirstStartDeps): Promise<Born> {
  const { log, clock } = deps;
  let said = "";
  for (;;) {
    if (deps.stopped()) throw new StartRefusedError("stopped before a cluster added this member");
    const answers = await askPeers(config, deps.query);
    for (const { url, response } of answers) {
      const born = await joinFrom(config, deps, url, response);
      if (born !== null) return born;
    }
    const text =
      answers.length === 0
        ? "no peer of initial-cluster answers yet"
        : "the cluster has not added this member yet";
    if (text !== said) log.info({ name: config.name, peer_url: config.peerUrl }, `waiting to join: ${text}`);
    said = text;
    await new Promise<void>((resolve) => clock.setTimeout(resolve, JOIN_RETRY_MS));
  }
}

/** Null when the answer does not list this member. */
async function joinFrom(
  config: ServerConfig,
  { fs, log }: FirstStartDeps,
  url: string,
  { header, members }: GetMembersResponse,
): Promise<Born | null> {
  const listed = members.find(
    (member) => member.name === config.name && member.peerUrls.includes(config.peerUrl),
  );
  const memberId = parseId(listed?.id ?? "");
  const clusterId = parseId(header?.clusterId ?? "");
  if (listed === undefined || memberId === null || clusterId === null) return null;
  if (listed.started) throw alreadyStarted(config.name, listed.id, url);
  await createDataDir(fs, config.dataDir, { clusterId, memberId, instanceId: newInstanceId() });
  log.info({ id: memberId, cluster: clusterId }, "joins a running cluster");
  const peers = members.flatMap((member): PeerAddress[] => {
    const id = parseId(member.id);
    return id === null || id === memberId ? [] : [{ id, peerUrls: member.peerUrls }];
  });
  return { peers };
}

// --- both -----------------------------------------------------------------------------------------------------------

interface PeerAnswer {
  readonly url: string;
  readonly response: GetMembersResponse;
}

/** What the other members of initial-cluster say, as far as they answer now. */
async function askPeers({ name, initialCluster }: ServerConfig, query: PeerQuery): Promise<PeerAnswer[]> {
  const others = initialCluster.filter((member) => member.name !== name);
  const answers = await Promise.all(
    others.map(async ({ peerUrl }) => ({ url: peerUrl, response: await query.members(peerUrl) })),
  );
  return answers.flatMap(({ url, response }) => (response === null ? [] : [{ url, response }]));
}

/**
 * A later start: initial-cluster is ignored, but where all peers that answer belong to another cluster, the directory
 * is not this configuration's.
 *
 * @throws StartRefusedError
 */
export async function checkLaterStart(
  config: ServerConfig,
  clusterId: bigint,
  query: PeerQuery,
): Promise<void> {
  const answers = await askPeers(config, query);
  const ids = answers.map(({ response }) => parseId(response.header?.clusterId ?? ""));
  const first = answers[0];
  if (first !== undefined && ids.every((id) => id !== null && id !== clusterId))
    throw otherCluster(config, first.url);
}

/**
 * How a member's directory is born in a run: by the first configuration, whose members all write the same entries, or
 * by joining a cluster that has added the member. The same steps as the server's first start, over the simulated
 * network.
 */
import {
  addMemberCommand,
  bootstrapMemberId,
  clusterId as hashClusterId,
  compareIds,
  encodeCommand,
} from "../../src/roster/index";
import type { MemberRecord } from "../../src/roster/index";
import { ConfChangeTransition, ConfChangeType, EMPTY_BYTES, EntryType } from "../../src/raft/index";
import type { Entry } from "../../src/raft/index";
import { sha256 } from "../../src/base/random";
import { createDataDir } from "../../src/storage/data_dir";
import type { Host } from "./host";
import { DATA_DIR, walOptions } from "./directory";
import type { Member } from "./member";

const TOKEN = "simulation";
const JOIN_RETRY_MS = 500;

interface Founder {
  readonly id: bigint;
  readonly host: Host;
}

function founders(member: Member): Founder[] {
  return member.world.hosts
    .filter((host) => host.founder)
    .map((host) => ({ host, id: bootstrapMemberId(sha256, host.name, host.peerUrl, TOKEN) }))
    .sort((a, b) => compareIds(a.id, b.id));
}

/** What every member of the first configuration begins with. */
export function bootstrapEntries(all: readonly { readonly id: bigint; readonly host: Host }[]): Entry[] {
  return all.map(({ id, host: { name, peerUrl } }, i) => {
    const command = addMemberCommand({ proposalId: 0n, timeMs: 0 }, { id, name, peerUrl, adminUrls: [] });
    const changes = [{ type: ConfChangeType.AddVoter, nodeId: id }];
    const confChange = { transition: ConfChangeTransition.Auto, changes, context: encodeCommand(command) };
    return { term: 1, index: i + 1, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
  });
}

export async function bootstrapDirectory(member: Member): Promise<void> {
  const { world, host, fs } = member;
  const all = founders(member);
  const own = all.find((founder) => founder.host === host);
  if (own === undefined) throw new Error("not part of the first configuration");
  const entries = bootstrapEntries(all);
  const clusterId = hashClusterId(
    sha256,
    all.map(({ id }) => id),
  );
  const identity = { clusterId, memberId: own.id, instanceId: world.random.bytes(16) };
  const hardState = { term: 1, vote: 0n, commit: entries.length };
  // Before: a crash may come when all is on disk and nobody has been told.
  world.checkers.born(member, entries);
  await createDataDir(fs, DATA_DIR, identity, { entries, hardState }, walOptions(member));
}

/** Asks running members until one lists this one. False: it must not join, its name has started before. */
export async function joinCluster(member: Member): Promise<boolean> {
  const { world, host, clock, fs } = member;
  member.phase = "joining";
  for (;;) {
    const found = await ask(member);
    if (found !== null) {
      if (found.listed.started) {
        host.ended = true;
        member.end();
        return false;
      }
      member.phase = "starting";
      const identity = {
        clusterId: found.clusterId,
        memberId: found.listed.id,
        instanceId: world.random.bytes(16),
      };
      await createDataDir(fs, DATA_DIR, identity, undefined, walOptions(member));
      world.checkers.born(member, []);
      member.bornPeers = found.peers;
      return true;
    }
    await new Promise<void>((resolve) => clock.setTimeout(resolve, JOIN_RETRY_MS));
  }
}

interface Found {
  readonly listed: MemberRecord;
  readonly clusterId: bigint;
  readonly peers: readonly MemberRecord[];
}

/** One question to one running member, which answers from its own roster: it may be old. */
function ask(member: Member): Promise<Found | null> {
  const { world, host, clock } = member;
  const peer = world.random.pick(world.hosts.filter((other) => other.running !== null));
  if (peer === null) return Promise.resolve(null);
  return new Promise((resolve) => {
    const timer = clock.setTimeout(() => {
      resolve(null);
    }, 1000);
    const answer = (): void => {
      const roster = peer.running?.node.roster;
      if (roster === undefined) return;
      const listed = roster.members().find((m) => m.name === host.name && m.peerUrls.includes(host.peerUrl));
      const peers = roster.members().filter((m) => m.id !== listed?.id);
      const found = listed === undefined ? null : { listed, clusterId: roster.clusterId, peers };
      const settle = (): void => {
        if (!member.alive) return;
        timer.cancel();
        resolve(found);
      };
      world.network.carry("reply", peer, host, settle, { once: true, detail: "who am I" });
    };
    world.network.carry("request", host, peer, answer, { once: true, detail: "who am I" });
  });
}

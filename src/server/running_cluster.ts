/**
 * A running cluster as a process without a data directory sees it: what its members answer, and how the process becomes one
 * of those that they list.
 */
import { askHello, askMembers } from "../cluster/peer_questions";
import type { ListedMembers } from "../cluster/peer_questions";
import { INSTANCE_ID_BYTES } from "../base/random";
import type { Random } from "../base/random";
import type { Log } from "../base/log";
import { parseId } from "../roster/index";
import { createDataDir } from "../storage/data_dir";
import type { StorageFs } from "../storage/fs";
import type { WalOptions } from "../storage/options";
import type { PeerCalls } from "../transport/peer_calls";
import type { PeerAddress } from "../transport/transport";

/** Bytes that stand for no data directory. */
export const NO_INSTANCE = Buffer.alloc(0);

export type Listed = ListedMembers["members"][number];

export interface PeerAnswer {
  readonly url: string;
  readonly response: ListedMembers;
}

/** The answers of those that answer, in the order of the addresses. */
export async function askAll(urls: readonly string[], peers: Pick<PeerCalls, "ask">): Promise<PeerAnswer[]> {
  const answers = await Promise.all(
    urls.map(async (url) => ({ url, response: await askMembers(peers, url) })),
  );
  return answers.flatMap(({ url, response }) => (response === null ? [] : [{ url, response }]));
}

export function revisionOf({ response }: PeerAnswer): bigint {
  return response.header?.revision ?? 0n;
}

/** The others are older: a member that they list may be removed by now. */
export function newestAnswer(answers: readonly PeerAnswer[]): PeerAnswer | null {
  let newest: PeerAnswer | null = null;
  for (const answer of answers)
    if (newest === null || revisionOf(answer) > revisionOf(newest)) newest = answer;
  return newest;
}

/**
 * The address of a member that has met a data directory of the member `own`; null when nobody who answers has.
 *
 * @param asked where to ask beside the addresses of `members`
 */
export async function whoHasMet(
  peers: Pick<PeerCalls, "ask">,
  own: Listed,
  { header, members }: ListedMembers,
  asked: readonly string[],
): Promise<string | null> {
  const [clusterId, memberId] = [parseId(header?.clusterId ?? ""), parseId(own.id)];
  if (clusterId === null || memberId === null) return null;
  const urls = new Set([...asked, ...members.flatMap(({ peerUrls }) => peerUrls)]);
  for (const url of own.peerUrls) urls.delete(url);
  const asker = { clusterId, memberId, instanceId: NO_INSTANCE };
  const answers = await Promise.all(
    [...urls].map(async (url) => ({ url, hello: await askHello(peers, url, asker) })),
  );
  return answers.find(({ hello }) => hello?.metAnotherInstance === true)?.url ?? null;
}

interface TakeIdDeps {
  readonly fs: StorageFs;
  readonly wal: WalOptions;
  readonly random: Random;
  readonly log: Log;
}

/**
 * Creates the data directory of a member that a running cluster lists.
 *
 * @returns the addresses of the others; null when the ids of the answer are none
 * @throws DataDirError
 */
export async function takeId(
  dataDir: string,
  own: Listed,
  { header, members }: ListedMembers,
  { fs, wal, random, log }: TakeIdDeps,
): Promise<readonly PeerAddress[] | null> {
  const [clusterId, memberId] = [parseId(header?.clusterId ?? ""), parseId(own.id)];
  if (clusterId === null || memberId === null) return null;
  const identity = { clusterId, memberId, instanceId: random.bytes(INSTANCE_ID_BYTES) };
  await createDataDir(fs, dataDir, identity, undefined, wal);
  log.info({ id: memberId, cluster: clusterId }, "joins a running cluster");
  return members.flatMap((member): PeerAddress[] => {
    const id = parseId(member.id);
    return id === null || id === memberId ? [] : [{ id, peerUrls: member.peerUrls }];
  });
}

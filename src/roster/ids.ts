/**
 * Member and cluster ids: 64 bits of a hash, printed as hex.
 *
 * Invariants: an id is never 0 and never one that the core reserves; the same bootstrap configuration gives the same
 * ids on every member. Pure: hash, time and randomness are arguments.
 */
import { LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, NO_NODE } from "../raft/index";
import { joinParts, uint64Bytes } from "./bytes";
import type { Sha256 } from "./bytes";

/** Prefixes of the hashed input, one per kind of id, so that ids of different kinds never hash the same input. */
const BOOTSTRAP_DOMAIN = "muster.member.bootstrap.v1";
const LATER_DOMAIN = "muster.member.later.v1";
const CLUSTER_DOMAIN = "muster.cluster.v1";

/** An id in the text form of contract, command line and logs: lower-case hex without leading zeros. */
export function formatId(id: bigint): string {
  return id.toString(16);
}

/** Parses 1 to 16 hex digits of any case without a leading zero. Null for any other text, and for 0. */
export function parseId(text: string): bigint | null {
  return /^[1-9a-f][0-9a-f]{0,15}$/i.test(text) ? BigInt(`0x${text}`) : null;
}

/** Whether no member may have this id: 0 means none, two more address the core's local append and apply threads. */
export function isReservedId(id: bigint): boolean {
  return id === NO_NODE || id === LOCAL_APPEND_THREAD || id === LOCAL_APPLY_THREAD;
}

/**
 * The id of a member of the first configuration. Every member computes the same one.
 *
 * @param peerUrl normalised
 * @param token the initial-cluster-token: gives clusters with equal names and URLs different ids
 */
export function bootstrapMemberId(sha256: Sha256, name: string, peerUrl: string, token: string): bigint {
  return hashToId(sha256, joinParts([BOOTSTRAP_DOMAIN, name, peerUrl, token]));
}

/**
 * The id of a member that is added later, chosen once by the leader before it proposes.
 *
 * @param timeMs wall clock, milliseconds since 1970
 * @param random at least 8 random bytes: two adds of one name and URL get different ids
 * @param isTaken whether a member or a tombstone already has the id
 */
export function laterMemberId(
  sha256: Sha256,
  name: string,
  peerUrl: string,
  timeMs: number,
  random: Uint8Array,
  isTaken: (id: bigint) => boolean = () => false,
): bigint {
  const time = uint64Bytes(BigInt(Math.max(0, Math.trunc(timeMs))));
  return hashToId(sha256, joinParts([LATER_DOMAIN, name, peerUrl, time, random]), isTaken);
}

/** The cluster's id, fixed at bootstrap: a hash of the first members' ids in ascending order. */
export function clusterId(sha256: Sha256, memberIds: readonly bigint[]): bigint {
  const sorted = [...memberIds].sort(compareIds);
  return hashToId(sha256, joinParts([CLUSTER_DOMAIN, ...sorted.map(uint64Bytes)]));
}

/** Orders ids as unsigned numbers. */
export function compareIds(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The first 8 bytes of the hash; hashed again while they are a reserved or taken id. */
function hashToId(sha256: Sha256, input: Uint8Array, isTaken: (id: bigint) => boolean = () => false): bigint {
  let digest = sha256(input);
  for (;;) {
    const id = new DataView(digest.buffer, digest.byteOffset, digest.byteLength).getBigUint64(0);
    if (!isReservedId(id) && !isTaken(id)) return id;
    digest = sha256(digest);
  }
}

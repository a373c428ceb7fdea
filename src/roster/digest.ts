/**
 * A digest of the roster, kept up with every change, by which members find out that their rosters differ.
 *
 * The sum, modulo 2^128, of the first 16 bytes of SHA-256 of the fields of each member, each tombstone, and the settings once
 * they were changed. So equal rosters have equal digests whatever the order of the changes, and a member that changed costs
 * one hash however many there are.
 * Only fields that every member knows are in it (see fieldsOf): what a newer version adds must not make members of two
 * versions differ. Pure: the hash is an argument.
 */
import type { ClusterSettings, MemberRecord, Tombstone } from "../generated/muster/storage/v1/snapshot";
import { MemberTarget } from "../generated/muster/v1/member";
import { joinParts, sameBytes, uint64Bytes } from "./bytes";
import type { Sha256 } from "./bytes";

/** Length of a digest. */
export const ROSTER_DIGEST_BYTES = 16;

/** At least so many changes are kept: a follower that is behind the leader's revision has it later. */
const KEPT = 256;

const MEMBER_DOMAIN = "muster.roster.digest.member.v1";
const SETTINGS_DOMAIN = "muster.roster.digest.settings.v1";
/** Stands for the settings where changes are kept by id: no member has it. */
const SETTINGS_ID = 0n;
const TOMBSTONE_DOMAIN = "muster.roster.digest.tombstone.v1";
const MODULUS = 1n << 128n;

/** The digest of the roster at the revision. */
export interface RosterDigest {
  readonly revision: number;
  /** ROSTER_DIGEST_BYTES long. */
  readonly digest: Uint8Array;
}

/**
 * How a leader's digest compares. "unknown": this roster is not there yet, or no longer knows. "other": it has the
 * revision with another digest. "missing": it is beyond the revision and never had it.
 */
type DigestComparison = "same" | "unknown" | "other" | "missing";

/** What is kept by id: a member, or the settings. */
type Kept = MemberRecord | ClusterSettings;

/** One change: what a member is afterwards, or that it was removed. */
interface Change {
  readonly revision: number;
  readonly id: bigint;
  /** Null: removed. */
  readonly kept: Kept | null;
  readonly tombstone: Tombstone | null;
}

/**
 * Changes are only noted, and hashed when a digest is asked for: of a member that changed many times in between only its
 * last state costs anything.
 *
 * The roster at the oldest revision kept is `sum`, once `stale` is worked in; `changes` leads from there to the present.
 */
export class RosterDigests {
  private sum = 0n;
  private baseRevision = 0;
  /** What `sum` contains of each member. */
  private readonly summed = new Map<bigint, bigint>();
  /** Members that changed before the oldest revision kept, and are not in `sum` as they are there. */
  private readonly stale = new Map<bigint, Kept | null>();
  private staleTombstones: Tombstone[] = [];
  /** In order of their revisions. */
  private changes: Change[] = [];
  private readonly hashes = new WeakMap<Kept | Tombstone, bigint>();
  /** The last answer of latest(): every heartbeat to every member asks for it. */
  private told: RosterDigest | null = null;

  constructor(private readonly sha256: Sha256) {}

  /** The roster has this member, in this state, since `revision`. */
  put(member: MemberRecord, revision: number): void {
    this.note({ revision, id: member.id, kept: member, tombstone: null });
  }

  /** The settings are so since `revision`. */
  putSettings(settings: ClusterSettings, revision: number): void {
    this.note({ revision, id: SETTINGS_ID, kept: settings, tombstone: null });
  }

  remove(tombstone: Tombstone, revision: number): void {
    this.note({ revision, id: tombstone.id, kept: null, tombstone });
  }

  /** What was put so far came with a snapshot: nothing before `revision` is known. */
  restored(revision: number, tombstones: readonly Tombstone[]): void {
    for (const change of this.changes) this.fold(change);
    this.changes = [];
    this.staleTombstones.push(...tombstones);
    this.baseRevision = revision;
    this.told = null;
  }

  /** Null before the first change. */
  latest(): RosterDigest | null {
    const revision = this.changes.at(-1)?.revision ?? this.baseRevision;
    if (revision === 0) return null;
    return (this.told ??= { revision, digest: this.digestAt(revision) });
  }

  /** @param appliedIndex up to which this roster has applied the log */
  compare({ revision, digest }: RosterDigest, appliedIndex: number): DigestComparison {
    if (revision < this.baseRevision || revision > appliedIndex || revision === 0) return "unknown";
    const had = revision === this.baseRevision || this.changes.some((change) => change.revision === revision);
    if (!had) return "missing";
    return sameBytes(this.digestAt(revision), digest) ? "same" : "other";
  }

  private note(change: Change): void {
    this.changes.push(change);
    this.told = null;
    // Folded in many at once: an array loses its first items in time that grows with its length.
    if (this.changes.length < 2 * KEPT) return;
    let drop = this.changes.length - KEPT;
    while (drop > 0 && this.changes[drop]?.revision === this.changes[drop - 1]?.revision) drop--;
    for (const old of this.changes.splice(0, drop)) this.fold(old);
  }

  private fold({ revision, id, kept, tombstone }: Change): void {
    this.stale.set(id, kept);
    if (tombstone !== null) this.staleTombstones.push(tombstone);
    this.baseRevision = revision;
  }

  /** `revision` is kept. */
  private digestAt(revision: number): Uint8Array {
    this.settle();
    let sum = this.sum;
    const now = new Map<bigint, Kept | null>();
    for (const change of this.changes) {
      if (change.revision > revision) break;
      now.set(change.id, change.kept);
      if (change.tombstone !== null) sum += this.ofTombstone(change.tombstone);
    }
    for (const [id, kept] of now) {
      sum += MODULUS - (this.summed.get(id) ?? 0n);
      if (kept !== null) sum += this.ofKept(kept);
    }
    sum %= MODULUS;
    const digest = new Uint8Array(ROSTER_DIGEST_BYTES);
    const view = new DataView(digest.buffer);
    view.setBigUint64(0, sum >> 64n);
    view.setBigUint64(8, sum & 0xffff_ffff_ffff_ffffn);
    return digest;
  }

  private settle(): void {
    for (const [id, kept] of this.stale) {
      this.sum += MODULUS - (this.summed.get(id) ?? 0n);
      this.summed.delete(id);
      if (kept === null) continue;
      const hash = this.ofKept(kept);
      this.sum += hash;
      this.summed.set(id, hash);
    }
    this.stale.clear();
    for (const tombstone of this.staleTombstones) this.sum += this.ofTombstone(tombstone);
    this.staleTombstones = [];
    this.sum %= MODULUS;
  }

  private ofKept(kept: Kept): bigint {
    return this.hashOf(kept, () =>
      "id" in kept ? [MEMBER_DOMAIN, ...fieldsOf(kept)] : [SETTINGS_DOMAIN, ...settingsFields(kept)],
    );
  }

  private ofTombstone(tombstone: Tombstone): bigint {
    const { id, name, revision, timeMs } = tombstone;
    return this.hashOf(tombstone, () => [
      TOMBSTONE_DOMAIN,
      uint64Bytes(id),
      name,
      number(revision),
      number(timeMs),
    ]);
  }

  private hashOf(of: Kept | Tombstone, parts: () => (string | Uint8Array)[]): bigint {
    const known = this.hashes.get(of);
    if (known !== undefined) return known;
    const hash = this.sha256(joinParts(parts()));
    const view = new DataView(hash.buffer, hash.byteOffset, hash.byteLength);
    const value = (view.getBigUint64(0) << 64n) | view.getBigUint64(8);
    this.hashes.set(of, value);
    return value;
  }
}

/** What the digest covers of a member. The layout is part of the contract between members, like that of ids. */
function fieldsOf(member: MemberRecord): (string | Uint8Array)[] {
  return [
    uint64Bytes(member.id),
    member.name,
    joinParts(member.peerUrls),
    joinParts(member.adminUrls),
    Uint8Array.of(member.learner ? 1 : 0, member.started ? 1 : 0),
    member.instanceId,
    number(member.createRevision),
    number(member.updateRevision),
    // Set only once every started member knows it (features.ts).
    ...(member.target === MemberTarget.UNSPECIFIED ? [] : [Uint8Array.of(member.target)]),
    ...(member.replaces === 0n ? [] : [uint64Bytes(member.replaces)]),
  ];
}

function settingsFields(settings: ClusterSettings): Uint8Array[] {
  const { autoPromote, standbyTakeoverAfterMs, removeUnstartedAfterMs, updateRevision } = settings;
  return [
    Uint8Array.of(autoPromote ? 1 : 0),
    number(standbyTakeoverAfterMs),
    number(removeUnstartedAfterMs),
    number(updateRevision),
  ];
}

function number(value: number): Uint8Array {
  return uint64Bytes(BigInt(Math.max(0, Math.trunc(value))));
}

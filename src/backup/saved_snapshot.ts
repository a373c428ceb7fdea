/**
 * The backup file that `muster snapshot save` writes: the cluster's whole state at one log index.
 *
 * Invariant: a file is accepted only when the SHA-256 at its end matches all bytes before it and it contains a valid
 * roster. The file contains no identity of a member: `muster snapshot restore` gives each member its own.
 * docs/formats/snapshot-file.md describes the bytes.
 */
import { createHash } from "node:crypto";
import { asBuffer } from "../base/bytes";
import { SavedSnapshotHead } from "../generated/muster/storage/v1/saved_snapshot";
import { Roster } from "../roster/index";
import type { Snapshot, SnapshotMeta } from "../raft/index";

/** "MUSTSAVE" */
const MAGIC = Buffer.from("MUSTSAVE", "latin1");
/** Magic and the length field of the head. */
const PREFIX_BYTES = 12;
const HASH_BYTES = 32;
/** The format version that this build writes, and the newest that it reads. */
const SAVED_SNAPSHOT_VERSION = 1;

/** The state of a cluster, with its origin. */
export interface SavedSnapshot {
  readonly clusterId: bigint;
  /** The member that sent the snapshot. */
  readonly memberId: bigint;
  /** That member's wall clock, milliseconds since 1970. */
  readonly timeMs: number;
  /** The version of Muster that wrote the file. */
  readonly version: string;
  readonly snapshot: Snapshot;
}

/** A saved snapshot that was read from a file and checked. */
export interface ReadSnapshot extends SavedSnapshot {
  readonly roster: Roster;
  readonly sizeBytes: number;
  /** SHA-256 of the whole file, in hex: what `sha256sum` prints. */
  readonly sha256: string;
}

/** A backup file can't be used. The message is one line with the file's name and the reason. */
class SavedSnapshotError extends Error {
  constructor(
    readonly file: string,
    message: string,
  ) {
    super(`${file}: ${message}`);
    this.name = "SavedSnapshotError";
  }
}

/** A backup file that is sent or written in parts, so that a large state is never copied whole. */
interface SavedSnapshotFile {
  readonly sizeBytes: number;
  /** The bytes of the file, in parts of `partBytes`, the last one shorter. */
  readonly parts: (partBytes: number) => Generator<Buffer, undefined>;
}

export function savedSnapshotFile(saved: SavedSnapshot): SavedSnapshotFile {
  const head = encodeHead(saved);
  const { data } = saved.snapshot;
  return {
    sizeBytes: head.length + data.length + HASH_BYTES,
    parts: (partBytes) => fileParts(head, asBuffer(data), partBytes),
  };
}

function* fileParts(head: Buffer, data: Buffer, partBytes: number): Generator<Buffer, undefined> {
  const hash = createHash("sha256").update(head);
  let open = head;
  for (let at = 0; at < data.length;) {
    for (; open.length >= partBytes; open = open.subarray(partBytes)) yield open.subarray(0, partBytes);
    const piece = data.subarray(at, at + partBytes - open.length);
    hash.update(piece);
    at += piece.length;
    open = open.length === 0 ? piece : Buffer.concat([open, piece]);
  }
  open = Buffer.concat([open, hash.digest()]);
  for (; open.length > 0; open = open.subarray(partBytes)) yield open.subarray(0, partBytes);
}

/** The whole file. Copies: not for a large state on a member that serves. */
export function encodeSavedSnapshot(saved: SavedSnapshot): Buffer {
  const { sizeBytes, parts } = savedSnapshotFile(saved);
  return Buffer.concat([...parts(sizeBytes)]);
}

function encodeHead(saved: SavedSnapshot): Buffer {
  const { clusterId, memberId, timeMs, version, snapshot } = saved;
  const { index, term, confState } = snapshot.meta;
  const head = SavedSnapshotHead.encode({
    formatVersion: SAVED_SNAPSHOT_VERSION,
    clusterId,
    memberId,
    meta: {
      index,
      term,
      confState: {
        voters: [...confState.voters],
        learners: [...confState.learners],
        votersOutgoing: [...confState.votersOutgoing],
        learnersNext: [...confState.learnersNext],
        autoLeave: confState.autoLeave,
      },
    },
    sizeBytes: snapshot.data.length,
    timeMs: Math.max(0, Math.trunc(timeMs)),
    version,
  }).finish();
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt32LE(head.length, MAGIC.length);
  return Buffer.concat([prefix, head]);
}

/**
 * Checks and decodes a backup file.
 *
 * @param file the file's name, for error messages
 * @throws SavedSnapshotError
 */
export function decodeSavedSnapshot(file: string, bytes: Uint8Array): ReadSnapshot {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (!view.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new SavedSnapshotError(file, "is not a file that `muster snapshot save` wrote");
  }
  const content = view.subarray(0, Math.max(0, view.length - HASH_BYTES));
  const hash = createHash("sha256").update(content).digest();
  if (content.length < PREFIX_BYTES || !hash.equals(view.subarray(content.length))) {
    throw damaged(
      file,
      `its ${String(view.length)} bytes do not match the checksum at their end: cut short, or changed`,
    );
  }
  const dataAt = PREFIX_BYTES + content.readUInt32LE(MAGIC.length);
  if (dataAt > content.length) throw damaged(file, "it ends inside its head");
  const head = decodeHead(file, content.subarray(PREFIX_BYTES, dataAt));
  const data = content.subarray(dataAt);
  if (data.length !== head.sizeBytes) throw damaged(file, "its length is not what its head says");
  const meta = metaOf(file, head);
  const { clusterId, memberId, timeMs, version } = head;
  return {
    clusterId,
    memberId,
    timeMs,
    version,
    snapshot: { meta, data },
    roster: rosterOf(file, data, meta.index, clusterId),
    sizeBytes: view.length,
    sha256: createHash("sha256").update(view).digest("hex"),
  };
}

function damaged(file: string, what: string): SavedSnapshotError {
  return new SavedSnapshotError(file, `is damaged: ${what}. Use another copy.`);
}

function decodeHead(file: string, bytes: Uint8Array): SavedSnapshotHead {
  let head: SavedSnapshotHead;
  try {
    head = SavedSnapshotHead.decode(bytes);
  } catch (error) {
    throw damaged(file, `its head does not decode: ${textOf(error)}`);
  }
  if (head.formatVersion <= SAVED_SNAPSHOT_VERSION) return head;
  const version = String(head.formatVersion);
  throw new SavedSnapshotError(
    file,
    `has format version ${version}, which this version does not know; use a newer version of muster`,
  );
}

function metaOf(file: string, { meta }: SavedSnapshotHead): SnapshotMeta {
  if (meta === undefined || meta.index < 1 || meta.term < 1) throw damaged(file, "its head has no log index");
  const { voters = [], learners = [], votersOutgoing = [], learnersNext = [] } = meta.confState ?? {};
  const autoLeave = meta.confState?.autoLeave ?? false;
  const confState = { voters, learners, votersOutgoing, learnersNext, autoLeave };
  return { index: meta.index, term: meta.term, confState };
}

function rosterOf(file: string, data: Uint8Array, appliedIndex: number, clusterId: bigint): Roster {
  let roster: Roster;
  try {
    roster = Roster.restore(data, { appliedIndex });
  } catch (error) {
    throw new SavedSnapshotError(file, textOf(error));
  }
  if (roster.clusterId !== clusterId)
    throw damaged(file, "its roster is of another cluster than its head says");
  return roster;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

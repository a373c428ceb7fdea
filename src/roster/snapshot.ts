/**
 * The roster as snapshot bytes and back (muster.storage.v1.RosterSnapshot).
 *
 * Invariant: equal rosters give equal bytes on every member, because every list has a fixed order. Pure.
 */
import { RosterSnapshot } from "../generated/muster/storage/v1/snapshot";
import { MemberTarget } from "../generated/muster/v1/member";
import { isReservedId } from "./ids";
import { quote } from "./text";

/** The newest version of the format that this build reads. */
export const SNAPSHOT_VERSION = 2;
/** The oldest one. */
const SNAPSHOT_VERSION_MIN = 1;

/** The bytes are of an unknown version, or not a valid roster. */
export class RosterSnapshotError extends Error {
  override readonly name = "RosterSnapshotError";
}

/** The contents of a snapshot without the format's version. */
type RosterState = Omit<RosterSnapshot, "version">;

/**
 * The version that says all of this roster. As long as no member has a target or replaces another, and no setting was
 * changed, members of older versions can read it; one that does not know these must not restore a roster with them,
 * because it would drop them.
 */
function snapshotVersion({ members, settings }: Pick<RosterState, "members" | "settings">): number {
  const isNew = members.some(
    ({ target, replaces }) => target !== MemberTarget.UNSPECIFIED || replaces !== 0n,
  );
  return isNew || settings !== undefined ? SNAPSHOT_VERSION : SNAPSHOT_VERSION_MIN;
}

export function encodeSnapshot(state: RosterState): Uint8Array {
  return RosterSnapshot.encode({ version: snapshotVersion(state), ...state }).finish();
}

/** Records in one piece of pieces(): one has at most some 40 KB, an event with the member before and after it. */
const RECORDS_PER_PIECE = 16;
const NOTHING: RosterState = {
  clusterId: 0n,
  revision: 0,
  members: [],
  tombstones: [],
  outcomes: [],
  events: [],
  settings: undefined,
  requestClock: undefined,
};

/**
 * The bytes of encodeSnapshot in order, encoded piece by piece. `state` must not change meanwhile.
 *
 * Fields without a value have no bytes, so the pieces of a message are messages of their own.
 */
export function* encodePieces(state: RosterState): Generator<Uint8Array, undefined> {
  const { clusterId, revision } = state;
  yield RosterSnapshot.encode({ version: snapshotVersion(state), ...NOTHING, clusterId, revision }).finish();
  for (const field of ["members", "tombstones", "outcomes", "events"] as const) {
    for (let at = 0; at < state[field].length; at += RECORDS_PER_PIECE) {
      const records = state[field].slice(at, at + RECORDS_PER_PIECE);
      yield RosterSnapshot.encode({ version: 0, ...NOTHING, [field]: records }).finish();
    }
  }
  const { settings, requestClock } = state;
  if (settings !== undefined) yield RosterSnapshot.encode({ version: 0, ...NOTHING, settings }).finish();
  if (requestClock !== undefined)
    yield RosterSnapshot.encode({ version: 0, ...NOTHING, requestClock }).finish();
}

/** @throws RosterSnapshotError for an unknown version, bytes that don't decode, and contents that break an invariant */
export function decodeSnapshot(bytes: Uint8Array): RosterState {
  let snapshot: RosterSnapshot;
  try {
    snapshot = RosterSnapshot.decode(bytes);
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new RosterSnapshotError(
      `a roster snapshot of ${bytes.length} bytes does not decode: ${quote(cause)}`,
    );
  }
  const { version, ...state } = snapshot;
  if (version < SNAPSHOT_VERSION_MIN || version > SNAPSHOT_VERSION) {
    throw new RosterSnapshotError(
      `roster snapshot version ${version} is not known here (known: ${SNAPSHOT_VERSION}); ` +
        "start this member with the version that wrote it",
    );
  }
  checkContents(state);
  return state;
}

function checkContents(state: RosterState): void {
  checkAscending(state.members, "members");
  checkAscending(state.tombstones, "tombstones");
  if ((state.settings?.updateRevision ?? 0) > state.revision)
    throw new RosterSnapshotError(`roster snapshot: the settings changed after revision ${state.revision}`);
  const removed = new Set(state.tombstones.map(({ id }) => id));
  const names = new Set<string>();
  for (const { id, name, updateRevision } of state.members) {
    if (removed.has(id))
      throw new RosterSnapshotError(`roster snapshot: id ${id.toString(16)} is a removed member's`);
    if (names.has(name))
      throw new RosterSnapshotError(`roster snapshot: two members are named ${quote(name)}`);
    if (updateRevision > state.revision) {
      throw new RosterSnapshotError(
        `roster snapshot: member ${quote(name)} changed after revision ${state.revision}`,
      );
    }
    names.add(name);
  }
}

function checkAscending(items: readonly { readonly id: bigint }[], what: string): void {
  let previous = 0n;
  for (const { id } of items) {
    if (id <= previous || isReservedId(id)) {
      throw new RosterSnapshotError(`roster snapshot: ${what} are not in ascending order of valid ids`);
    }
    previous = id;
  }
}

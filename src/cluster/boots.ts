/**
 * The boot ids of this member: they tell its data directory from an older copy of it, and from a second copy in use.
 *
 * Each start draws an id, keeps it on disk before anything is sent, and publishes it with those before it. The roster
 * keeps the last one published. A directory that does not have that id among its own is not the one that published it.
 *
 * Invariant: the list on disk has the id of the last own publish that this directory knows to be committed, and every one
 * drawn since, so that a publish of any of them can be committed later. Why: docs/adr/0015-boot-ids.md
 */
import type { Log } from "../base/log";
import { INSTANCE_ID_BYTES } from "../base/random";
import type { Random } from "../base/random";
import { sameBytes } from "../roster/index";
import type { MemberRecord } from "../roster/index";
import { DataDirError } from "../storage/errors";
import type { BootRecord } from "../storage/member_files";

/** Where the boot ids are kept: the file of storage/member_files.ts, or a test's memory. */
export interface BootStore {
  read(): Promise<BootRecord | null>;
  write(record: BootRecord): Promise<void>;
}

/** What a member says of its starts, in handshakes and when it publishes. */
export interface BootClaim {
  /** Empty: unknown. */
  readonly bootId: Uint8Array;
  readonly previousBootIds: readonly Uint8Array[];
  /** Log index of the publish of the oldest of them. 0: none. */
  readonly bootRevision: number;
}

/**
 * Most ids kept. More starts than this without one publish that is committed drop ids from the middle: a publish of one
 * of those that is committed much later would count as another directory's.
 */
const BOOTS_MAX = 64;

export const NO_BOOT: BootClaim = { bootId: new Uint8Array(0), previousBootIds: [], bootRevision: 0 };

export class Boots {
  /** The write under way; the next one follows it. */
  private writing: Promise<void> = Promise.resolve();

  private constructor(
    private readonly store: BootStore,
    private record: BootRecord,
    private readonly log: Log,
  ) {}

  /**
   * Draws the id of this start and writes it.
   *
   * On a full disk the id of the start before is used again: a member must start there too, because the others may need
   * its vote.
   *
   * @throws DataDirError
   */
  static async begin(store: BootStore, random: Random, log: Log): Promise<Boots> {
    const before = (await store.read()) ?? { revision: 0, boots: [] };
    const boots = [...before.boots, random.bytes(INSTANCE_ID_BYTES)];
    if (boots.length > BOOTS_MAX) boots.splice(1, boots.length - BOOTS_MAX);
    const record = { ...before, boots };
    try {
      await store.write(record);
    } catch (error) {
      if (!(error instanceof DataDirError && ["ENOSPC", "EDQUOT"].includes(error.errno))) throw error;
      log.warn(
        {},
        "the disk is full: this start has no boot id of its own, so a copy in use is noticed later",
      );
      return new Boots(store, before, log);
    }
    return new Boots(store, record, log);
  }

  get claim(): BootClaim {
    const { revision, boots } = this.record;
    const bootId = boots.at(-1);
    return bootId === undefined
      ? NO_BOOT
      : { bootId, previousBootIds: boots.slice(0, -1), bootRevision: revision };
  }

  /**
   * This member's own record, as its roster has it now.
   *
   * @returns false when another copy of this directory has published since: this one must stop
   */
  noticed({ bootId, bootRevision }: MemberRecord): boolean {
    const { revision, boots } = this.record;
    // Entries that were applied before, at a start.
    if (bootId.length === 0 || bootRevision <= revision) return true;
    const at = boots.findIndex((boot) => sameBytes(boot, bootId));
    if (at < 0) return false;
    this.record = { revision: bootRevision, boots: boots.slice(at) };
    const { record } = this;
    this.writing = this.writing
      .then(() => this.store.write(record))
      .catch((error: unknown) => {
        // The list on disk only stays longer: it has every id of the shorter one.
        this.log.debug({ problem: String(error) }, "the list of boot ids could not be shortened");
      });
    return true;
  }

  /** Settles when no write is under way. The directory's lock must be held until then. Never rejects. */
  settled(): Promise<void> {
    return this.writing;
  }
}

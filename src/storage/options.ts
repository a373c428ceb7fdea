/**
 * Sizes and times of the log on disk. The defaults are the product's; tests use small values to meet every boundary
 * with few records.
 */
import { systemClock, type Clock } from "../base/clock";

export interface WalOptions {
  /**
   * Largest size of a segment file; one record that is larger still gets a segment of its own. Unit: bytes.
   *
   * Segments are deleted whole, after a snapshot. Raise it to create files less often; lower it so that a small disk
   * gets its space back sooner.
   * @default 64 MiB: a new file every 300,000 entries of 200 bytes
   */
  readonly segmentBytes?: number;
  /**
   * How much of a segment is filled with zeros at a time, before records are written there. Unit: bytes.
   *
   * Each step costs a write and a sync that a waiting batch feels. Raise it on slow disks with space to spare; lower it
   * when a directory must stay small.
   * @default 1 MiB: one step per thousand entries of 1 KiB, and a new member's directory takes 3 MiB
   */
  readonly growBytes?: number;
  /**
   * Zero-filled space kept ahead of the log. When the disk is full, batches that were under way when the node learned of
   * it still fit. Unit: bytes.
   *
   * Raise it together with the largest append message; below that size votes can wait behind a batch that does not fit.
   * @default 2 MiB: one append message of 1 MiB and the proposals of the same turn of the node's loop
   */
  readonly reserveBytes?: number;
  /**
   * The last part of the zero-filled space. Only batches without entries may use it: votes, terms and commit indexes.
   * Unit: bytes.
   *
   * Raise it when a cluster must survive more elections on a full disk; lower it only in tests.
   * @default 64 KiB: more than 1,000 records of 48 bytes
   */
  readonly hardStateReserveBytes?: number;
  /**
   * Largest size of one write that joins several batches; a single larger batch is written alone. Unit: bytes.
   *
   * Raise it when syncs are slow and the load is high: more batches share one sync. Lower it to shorten the wait of the
   * first batch in a group.
   * @default 4 MiB: 10 ms on a disk that writes 400 MB/s
   */
  readonly groupBytes?: number;
  /**
   * Time between two attempts to extend the log while the disk is full. Unit: milliseconds.
   *
   * Lower it to take writes again sooner after space was freed; raise it where a failing attempt is expensive, as on a
   * network file system.
   * @default 1000: an operator who frees space sees writes succeed at once
   */
  readonly spaceRetryMs?: number;
  /**
   * The clock for `spaceRetryMs`. A test or a simulation passes its own.
   * @default systemClock
   */
  readonly clock?: Clock;
}

export type ResolvedWalOptions = Required<WalOptions>;

export function resolveWalOptions(options: WalOptions): ResolvedWalOptions {
  return {
    segmentBytes: options.segmentBytes ?? 64 * 1024 * 1024,
    growBytes: options.growBytes ?? 1024 * 1024,
    reserveBytes: options.reserveBytes ?? 2 * 1024 * 1024,
    hardStateReserveBytes: options.hardStateReserveBytes ?? 64 * 1024,
    groupBytes: options.groupBytes ?? 4 * 1024 * 1024,
    spaceRetryMs: options.spaceRetryMs ?? 1000,
    clock: options.clock ?? systemClock,
  };
}

/** How far a new segment is filled with zeros when its first batch has `bytes` bytes. */
export function initialFill(options: ResolvedWalOptions, bytes: number): number {
  const wanted = bytes + options.reserveBytes + options.hardStateReserveBytes;
  return Math.ceil(wanted / options.growBytes) * options.growBytes;
}

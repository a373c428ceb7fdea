/**
 * Sizes and times of the log. The defaults are the product's; tests use small ones.
 */

export interface WalOptions {
  /**
   * A segment is not extended beyond this size (a single larger record may be). Unit: bytes.
   * @default 64 MiB
   */
  readonly segmentBytes?: number;
  /**
   * How far a segment is filled with zeros at a time. Unit: bytes.
   * @default 1 MiB: rare enough not to be felt, small enough for a small disk
   */
  readonly growBytes?: number;
  /**
   * Filled space kept ahead for entries that are on their way when the disk turns out to be full. Unit: bytes.
   * @default 2 MiB: one full append message and what one turn of the loop may add
   */
  readonly reserveBytes?: number;
  /**
   * Filled space that only batches without entries may use: votes and terms. Unit: bytes.
   * @default 64 KiB: about 1,000 of them
   */
  readonly hardStateReserveBytes?: number;
  /** What goes out in one write at most, a larger batch apart. Unit: bytes. @default 4 MiB */
  readonly groupBytes?: number;
  /** How long to wait before space is asked for again. Unit: milliseconds. @default 1000 */
  readonly spaceRetryMs?: number;
  /** Calls `fire` once after `delayMs`; the result cancels it. @default setTimeout, which keeps no process alive */
  readonly setTimer?: (delayMs: number, fire: () => void) => () => void;
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
    setTimer:
      options.setTimer ??
      ((delayMs, fire) => {
        const timer = setTimeout(fire, delayMs);
        timer.unref();
        return () => {
          clearTimeout(timer);
        };
      }),
  };
}

/** The size that a new segment is filled to for a first batch of `bytes`. */
export function initialFill(options: ResolvedWalOptions, bytes: number): number {
  const wanted = bytes + options.reserveBytes + options.hardStateReserveBytes;
  return Math.ceil(wanted / options.growBytes) * options.growBytes;
}

/**
 * The Append messages that a leader has sent to one follower and that are not acknowledged: a sliding window of the
 * last index of each message, bounded in messages and in bytes.
 *
 * Invariant: indexes rise from the oldest to the newest; `count() <= size`. The buffer grows on demand up to `size`,
 * so that an idle follower costs nothing.
 * Raft thesis, section 10.2.1 (pipelining).
 */
import { assert } from "../assert";

const FIRST_CAPACITY = 8;

export class Inflights {
  private indexes: number[] = [];
  private sizes: number[] = [];
  /** Slot of the oldest message. */
  private start = 0;
  private used = 0;
  private bytes = 0;

  /**
   * @param size limit of messages in flight; positive
   * @param maxBytes limit of bytes in flight, 0 or Infinity for none. One message may cross it, so that a message
   *   larger than the limit can still be sent.
   */
  constructor(
    readonly size: number,
    readonly maxBytes = 0,
  ) {
    assert(size > 0, `inflight window of ${size} messages`);
  }

  /**
   * Adds a message whose last entry is `index`.
   * @throws InvariantError when full, or when `index` is below the newest one
   */
  add(index: number, bytes: number): void {
    assert(!this.full(), "message added to a full inflight window");
    if (this.used === this.indexes.length) this.grow();
    const capacity = this.indexes.length;
    if (this.used > 0) {
      const newest = this.indexes[(this.start + this.used - 1) % capacity] ?? 0;
      assert(index >= newest, `inflight index ${index} after ${newest}`);
    }
    const slot = (this.start + this.used) % capacity;
    this.indexes[slot] = index;
    this.sizes[slot] = bytes;
    this.used++;
    this.bytes += bytes;
  }

  /** Removes every message whose last entry is at or below `to`: an acknowledgement covers all entries before it. */
  freeLE(to: number): void {
    const capacity = this.indexes.length;
    while (this.used > 0 && (this.indexes[this.start] ?? 0) <= to) {
      this.bytes -= this.sizes[this.start] ?? 0;
      this.start = (this.start + 1) % capacity;
      this.used--;
    }
    if (this.used === 0) this.start = 0;
  }

  full(): boolean {
    return this.used === this.size || (this.maxBytes > 0 && this.bytes >= this.maxBytes);
  }

  /** Messages in flight. */
  count(): number {
    return this.used;
  }

  /** Bytes in flight. */
  byteCount(): number {
    return this.bytes;
  }

  reset(): void {
    this.start = 0;
    this.used = 0;
    this.bytes = 0;
  }

  clone(): Inflights {
    const copy = new Inflights(this.size, this.maxBytes);
    copy.indexes = this.indexes.slice();
    copy.sizes = this.sizes.slice();
    copy.start = this.start;
    copy.used = this.used;
    copy.bytes = this.bytes;
    return copy;
  }

  /** Doubles the ring buffer and moves the messages to its start. */
  private grow(): void {
    const before = this.indexes.length;
    const capacity = Math.min(this.size, Math.max(FIRST_CAPACITY, before * 2));
    const indexes = new Array<number>(capacity).fill(0);
    const sizes = new Array<number>(capacity).fill(0);
    for (let i = 0; i < this.used; i++) {
      const slot = (this.start + i) % before;
      indexes[i] = this.indexes[slot] ?? 0;
      sizes[i] = this.sizes[slot] ?? 0;
    }
    this.indexes = indexes;
    this.sizes = sizes;
    this.start = 0;
  }
}

/** A ring buffer: once it is full, a new item replaces the oldest. Pure. */
export class Ring<T> {
  private items: T[] = [];
  /** Position of the oldest item in the array; moves only once the ring is full. */
  private start = 0;

  /** @param capacity at least 1 */
  constructor(readonly capacity: number) {}

  get length(): number {
    return this.items.length;
  }

  get isFull(): boolean {
    return this.items.length >= this.capacity;
  }

  /** The item at a position; the oldest has position 0. */
  at(position: number): T | undefined {
    return this.items[(this.start + position) % this.capacity];
  }

  /** Appends, and returns the item that was replaced, if any. */
  push(item: T): T | undefined {
    if (!this.isFull) {
      this.items.push(item);
      return undefined;
    }
    const evicted = this.items[this.start];
    this.items[this.start] = item;
    this.start = (this.start + 1) % this.capacity;
    return evicted;
  }

  /** A copy of the items from a position on, oldest first. */
  from(position: number): T[] {
    const first = this.start + position;
    const { items } = this;
    return first < items.length
      ? [...items.slice(first), ...items.slice(0, this.start)]
      : items.slice(first - items.length, this.start);
  }
}

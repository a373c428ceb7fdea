/**
 * The whole state as the data of a snapshot, encoded a slice in each turn of the event loop: a large state must not keep
 * heartbeats and votes waiting.
 *
 * Invariants: a capture is the state at one index, however much is applied meanwhile, since it encodes frozen records.
 * Whoever asks while a capture of the same index is under way, or is still in use, shares it.
 */
import type { Snapshot, SnapshotMeta } from "../raft/index";

/** What one turn encodes or copies, in bytes; the last piece of a turn may exceed it. */
export const CAPTURE_BYTES_PER_TURN = 1024 * 1024;

interface CapturesOptions {
  /** Runs a function soon, in a turn of its own. */
  readonly defer: (fn: () => void) => void;
  /** Runs it so that an error ends the member. */
  readonly guard: (act: () => void) => void;
  readonly bytesPerTurn: number;
}

type Done = (snapshot: Snapshot) => void;

/** The state now, as pieces that are encoded when they are asked for. */
type Freeze = () => Iterator<Uint8Array, undefined>;

export class Captures {
  private current: Capture | null = null;

  constructor(private readonly options: CapturesOptions) {}

  /**
   * Calls `done` with the state at `meta.index`, the index applied now; at once when it is small.
   *
   * @returns what ends the use of it: the snapshot is shared until then. Before `done` was called, it prevents the call.
   */
  take(meta: SnapshotMeta, freeze: Freeze, done: Done): () => void {
    return this.join(meta, freeze, { done, holds: true });
  }

  /** The same for one that does not share the snapshot beyond `done`. */
  takeOnce(meta: SnapshotMeta, freeze: Freeze, done: Done): void {
    this.join(meta, freeze, { done, holds: false });
  }

  private join(meta: SnapshotMeta, freeze: Freeze, user: User): () => void {
    let capture = this.current;
    if (capture?.meta.index !== meta.index) {
      capture = new Capture(meta, freeze(), this.options, (unused) => {
        if (this.current === unused) this.current = null;
      });
      this.current = capture;
    }
    const shared = capture;
    shared.add(user);
    return () => {
      shared.release(user);
    };
  }
}

interface User {
  readonly done: Done;
  /** Whether it uses the snapshot until it releases it. */
  readonly holds: boolean;
}

class Capture {
  private readonly users = new Set<User>();
  private readonly pieces: Uint8Array[] = [];
  private sizeBytes = 0;
  private target: { readonly data: Buffer; piece: number; at: number } | null = null;
  private snapshot: Snapshot | null = null;
  private begun = false;

  constructor(
    readonly meta: SnapshotMeta,
    private readonly source: Iterator<Uint8Array, undefined>,
    private readonly options: CapturesOptions,
    private readonly onUnused: (self: Capture) => void,
  ) {}

  add(user: User): void {
    this.users.add(user);
    if (this.snapshot !== null) this.give(user, this.snapshot);
    else if (!this.begun) {
      this.begun = true;
      this.turn();
    }
  }

  release(user: User): void {
    if (this.users.delete(user) && this.users.size === 0) this.onUnused(this);
  }

  private give(user: User, snapshot: Snapshot): void {
    if (!user.holds) this.release(user);
    user.done(snapshot);
  }

  private turn(): void {
    // Nobody waits for it any more.
    if (this.users.size === 0) return;
    this.options.guard(() => {
      let budget = this.options.bytesPerTurn;
      if (this.target === null) budget = this.encode(budget);
      if (budget > 0) this.copy(budget);
      if (this.snapshot !== null) return;
      this.options.defer(() => {
        this.turn();
      });
    });
  }

  /** Encodes about so many bytes. @returns what is left of them, 0 unless all is encoded */
  private encode(budget: number): number {
    let left = budget;
    while (left > 0) {
      const next = this.source.next();
      if (next.done === true) {
        this.target = { data: Buffer.allocUnsafe(this.sizeBytes), piece: 0, at: 0 };
        return left;
      }
      this.pieces.push(next.value);
      this.sizeBytes += next.value.length;
      left -= next.value.length;
    }
    return 0;
  }

  private copy(budget: number): void {
    const { target } = this;
    if (target === null) return;
    let left = budget;
    for (let piece = this.pieces[target.piece]; piece !== undefined; piece = this.pieces[target.piece]) {
      if (left <= 0) return;
      target.data.set(piece, target.at);
      target.at += piece.length;
      target.piece++;
      left -= piece.length;
    }
    this.pieces.length = 0;
    const snapshot = { meta: this.meta, data: target.data };
    this.snapshot = snapshot;
    for (const user of [...this.users]) this.give(user, snapshot);
  }
}

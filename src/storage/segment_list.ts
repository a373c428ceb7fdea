/**
 * Which segments there are, and deleting those that nothing needs any more.
 *
 * Invariant: numbers without gaps, on disk too, whatever a power loss takes back: the oldest goes first, one at a time,
 * and the directory is synced after each.
 */
import { series, type StorageFs } from "./fs";
import { joinPath, segmentName } from "./segment";

/** A segment on disk, the active one included. */
export interface SegmentInfo {
  readonly sequence: number;
  /** Entries from here on are in this segment or later ones. */
  nextIndex: number;
}

export class SegmentList {
  private readonly segments: SegmentInfo[];
  private dropping = false;

  constructor(
    private readonly fs: StorageFs,
    private readonly dir: string,
    segments: readonly SegmentInfo[],
  ) {
    this.segments = segments.map((s) => ({ ...s }));
  }

  add(segment: SegmentInfo): void {
    this.segments.push(segment);
  }

  /** An installed snapshot: no entry before the active segment is part of the log any more. */
  restartAt(index: number): void {
    for (const segment of this.segments) segment.nextIndex = Math.min(segment.nextIndex, index + 1);
  }

  /** Deletes segments whose entries all have an index up to `index`; never the active one. */
  drop(index: number): void {
    const [oldest, second] = this.segments;
    if (this.dropping || oldest === undefined || second === undefined) return;
    if (second.nextIndex - 1 > index) return;
    this.dropping = true;
    series(
      [
        (next) => {
          this.fs.unlink(joinPath(this.dir, segmentName(oldest.sequence)), next);
        },
        (next) => {
          this.fs.syncDir(this.dir, next);
        },
      ],
      (error) => {
        this.dropping = false;
        // What could not be deleted is only space; the next snapshot tries again.
        if (error !== null) return;
        this.segments.shift();
        this.drop(index);
      },
    );
  }
}

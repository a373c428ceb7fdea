/**
 * Which segments there are, and deleting those that nothing needs any more.
 *
 * Invariant: numbers without gaps, on disk too, whatever a power loss takes back: the oldest goes first, one at a time,
 * and the directory is synced after each.
 */
import { finalIoError } from "./errors";
import type { StorageFs } from "./fs";
import { joinPath, segmentName } from "./segment";
import type { StorageError } from "./storage";

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
    /** A sync of the directory failed: nobody knows any more which of its changes are on disk. */
    private readonly onFailure: (error: StorageError) => void,
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
    this.fs.unlink(joinPath(this.dir, segmentName(oldest.sequence)), (unlinkError) => {
      if (unlinkError !== null) {
        // What could not be deleted is only space; the next snapshot tries again.
        this.dropping = false;
        return;
      }
      this.fs.syncDir(this.dir, (syncError) => {
        if (syncError !== null) {
          this.onFailure(finalIoError(this.dir, syncError));
          return;
        }
        this.dropping = false;
        this.segments.shift();
        this.drop(index);
      });
    });
  }
}

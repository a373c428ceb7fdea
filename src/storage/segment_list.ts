/**
 * The segments of a log, and the deletion of those that are no longer needed.
 *
 * Invariant: the sequence numbers have no gaps, on disk too and after any power loss. So the oldest segment is deleted
 * first, one at a time, and the directory is synced after each deletion.
 */
import { finalIoError } from "./errors";
import type { StorageFs } from "./fs";
import { joinPath, segmentName } from "./segment";
import type { StorageError } from "./storage";

/** A segment on disk. */
export interface SegmentInfo {
  readonly sequence: number;
  /** Entries from this index on are in this segment or in later ones. */
  nextIndex: number;
}

export class SegmentList {
  private readonly segments: SegmentInfo[];
  private dropping = false;

  constructor(
    private readonly fs: StorageFs,
    private readonly dir: string,
    segments: readonly SegmentInfo[],
    /** Called when a sync of the directory fails: which changes of names are on disk is then unknown. */
    private readonly onFailure: (error: StorageError) => void,
  ) {
    this.segments = segments.map((s) => ({ ...s }));
  }

  add(segment: SegmentInfo): void {
    this.segments.push(segment);
  }

  /** A snapshot at `index` was installed: the segments before the active one hold no entry of the log any more. */
  restartAt(index: number): void {
    for (const segment of this.segments) segment.nextIndex = Math.min(segment.nextIndex, index + 1);
  }

  /**
   * Deletes every segment whose entries all have an index of at most `index`.
   *
   * @param keepFrom sequence of the segment with the mark of the snapshot that replaces these entries: this segment and
   *   later ones stay, also when the log goes on in another one before the deletions are done
   */
  drop(index: number, keepFrom: number): void {
    const [oldest, second] = this.segments;
    if (this.dropping || oldest === undefined || second === undefined) return;
    if (oldest.sequence >= keepFrom) return;
    if (second.nextIndex - 1 > index) return;
    this.dropping = true;
    this.fs.unlink(joinPath(this.dir, segmentName(oldest.sequence)), (unlinkError) => {
      if (unlinkError !== null) {
        // The file only takes space. The next snapshot tries again.
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
        this.drop(index, keepFrom);
      });
    });
  }
}

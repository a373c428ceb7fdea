/**
 * A file system whose syncs can be delayed, while everything else continues. Delaying the followers' syncs keeps entries
 * from being committed while the leader stays leader; delaying one member's syncs keeps that member from applying.
 */
import { nodeFs } from "../../../src/storage/node_fs";
import type { FsDone, OpenMode, StorageFile, StorageFs } from "../../../src/storage/fs";

export class SyncGate {
  readonly fs: StorageFs;
  private isShut = false;
  private waiting: (() => void)[] = [];

  constructor() {
    this.fs = {
      ...nodeFs,
      open: (path, mode: OpenMode, done) => {
        nodeFs.open(path, mode, (...result) => {
          if (result[0] !== null) done(result[0], undefined);
          else done(null, this.gated(result[1]));
        });
      },
    };
  }

  shut(): void {
    this.isShut = true;
  }

  lift(): void {
    this.isShut = false;
    const waiting = this.waiting;
    this.waiting = [];
    for (const go of waiting) go();
  }

  private gated(file: StorageFile): StorageFile {
    return {
      write: (bytes, position, done) => {
        file.write(bytes, position, done);
      },
      sync: (done: FsDone) => {
        const go = (): void => {
          file.sync(done);
        };
        if (this.isShut) this.waiting.push(go);
        else go();
      },
      close: (done) => {
        file.close(done);
      },
    };
  }
}

/** One gate for each member, by name. */
export class SyncGates {
  private readonly gates = new Map<string, SyncGate>();

  of(name: string): SyncGate {
    const known = this.gates.get(name);
    if (known !== undefined) return known;
    const gate = new SyncGate();
    this.gates.set(name, gate);
    return gate;
  }

  readonly depsOf = (name: string): { fs: StorageFs } => ({ fs: this.of(name).fs });

  liftAll(): void {
    for (const gate of this.gates.values()) gate.lift();
  }
}

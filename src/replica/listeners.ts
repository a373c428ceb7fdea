/** Who hears of a replica's changes. */
import type { Log } from "../base/log";
import type { ReplicaListener } from "./view";

export class Listeners {
  private readonly all = new Set<ReplicaListener>();

  constructor(private readonly log: Log) {}

  /** @returns what takes the listener back */
  add(listener: ReplicaListener): () => void {
    this.all.add(listener);
    return () => {
      this.all.delete(listener);
    };
  }

  /** What a listener throws is the caller's to handle. */
  tell(notice: (listener: ReplicaListener) => void): void {
    for (const listener of this.all) notice(listener);
  }

  /** Every listener hears of the error, whatever another one throws when it hears of it. */
  fatal(error: Error): void {
    for (const listener of this.all) {
      this.attempt(() => {
        listener.onFatal?.(error);
      });
    }
  }

  /** For the end of a member, where an error ends nothing more. */
  attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.log.error({}, "an error while the member ends", asError(error));
    }
  }
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

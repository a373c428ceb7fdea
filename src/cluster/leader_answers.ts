/** The wait for answers of the leader, which the stop of this member ends: what became of those calls is not known. */
import { UNKNOWN } from "../base/outcome";
import type { Outcome } from "../base/outcome";

export class LeaderAnswers {
  private readonly waits = new Set<() => void>();

  /** Ends every wait under way. */
  stop(): void {
    for (const end of [...this.waits]) end();
  }

  /** The outcome, or "unknown" when this member stops first. */
  unlessStopped<T>(outcome: Promise<Outcome<T>>): Promise<Outcome<T>> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        resolve(UNKNOWN);
      };
      this.waits.add(giveUp);
      outcome.then(resolve, reject).finally(() => {
        this.waits.delete(giveUp);
      });
    });
  }
}

/**
 * The end of a member that was removed: it goes on for its vote (removal.ts), asks the voters whether they know of the
 * removal, and is dismissed once they can do without it.
 */
import type { NodeId } from "../raft/index";
import type { Transport } from "../transport/transport";
import type { Listeners } from "./listeners";
import { Removal } from "./removal";
import type { ReplicaView } from "./view";

interface DepartureOptions {
  readonly member: Pick<ReplicaView, "id" | "term" | "ticks" | "electionTicks" | "roster">;
  /** The voters of the configuration, without this member. */
  readonly otherVoters: () => readonly NodeId[];
  readonly transport: Pick<Transport, "send">;
  readonly listeners: Listeners;
}

export class Departure {
  /** Set once this member knows that it was removed. */
  private removal: Removal | null = null;

  constructor(private readonly options: DepartureOptions) {}

  /** This member was removed: by its own log, or by the word of `knowing`, who are enough. */
  begin(text: string, knowing: readonly NodeId[] = []): void {
    const { member, listeners } = this.options;
    if (this.removal === null) {
      this.removal = new Removal(member.ticks, member.electionTicks);
      listeners.tell((listener) => listener.onRemoved?.(text));
    }
    for (const id of knowing) this.removal.knows(id);
  }

  /** `id` refused this member as removed. That ends nobody, but a member that leaves need not wait for `id` any more. */
  knows(id: NodeId): void {
    this.removal?.knows(id);
  }

  /** Another member asked for this one's vote. */
  asked(): void {
    this.removal?.asked(this.options.member.ticks);
  }

  tick(): void {
    const { removal } = this;
    if (removal === null) return;
    const { member, otherVoters, transport, listeners } = this.options;
    const voters = otherVoters();
    const tombstone = member.roster.tombstone(member.id);
    if (removal.isOver(member.ticks, voters, tombstone !== null))
      listeners.tell((listener) => listener.onDismissed?.(tombstone?.revision ?? 0));
    else transport.send(removal.questions(voters, member.id, member.term));
  }
}

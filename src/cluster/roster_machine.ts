/**
 * The roster as a state machine of the replica: decodes commands, applies them, and reports what they changed.
 *
 * Invariant: `roster` is the state after the last applied entry. Installing a snapshot replaces it by another object.
 */
import type { Log } from "../base/log";
import { sha256 } from "../base/random";
import { EMPTY_BYTES, EntryType } from "../raft/index";
import type { ConfChange, Entry } from "../raft/index";
import type { Applied, EntryPosition, MembershipMachine } from "../replica/state_machine";
import { Roster, formatId } from "../roster/index";
import type { Decision, HistoryOptions, RosterCommand } from "../roster/index";

interface RosterMachineOptions {
  readonly clusterId: bigint;
  readonly log: Log;
  /** Lengths of the kept history: equal on every member, so for tests only. @default the roster's own */
  readonly history?: HistoryOptions;
}

type AppliedCommand = Applied<Decision> & { readonly confChange: ConfChange | null };

export class RosterMachine implements MembershipMachine<Decision> {
  private current: Roster;

  constructor(private readonly options: RosterMachineOptions) {
    this.current = new Roster({ clusterId: options.clusterId, sha256, ...options.history });
  }

  get roster(): Roster {
    return this.current;
  }

  /** @throws UnknownCommandError when this build does not know the command */
  apply(command: Uint8Array, at: EntryPosition): AppliedCommand {
    const result = this.current.apply(entryOf(command, at));
    if (result.kind === "empty") throw new Error(`entry ${at.index} has no command`);
    this.report(result.command, result.decision, at);
    const { proposalId } = result.command;
    return { proposalId, result: result.decision, confChange: result.confChange };
  }

  skip(at: EntryPosition): void {
    this.current.apply(entryOf(EMPTY_BYTES, at));
  }

  capture(): Uint8Array {
    return this.current.snapshot();
  }

  freeze(): Iterator<Uint8Array, undefined> {
    return this.current.freeze();
  }

  /** @throws RosterSnapshotError, or an Error when the state is another cluster's */
  restore(state: Uint8Array | null, index: number): () => void {
    const { clusterId, history } = this.options;
    if (state === null) throw new Error("the snapshot has no roster");
    const restored = Roster.restore(state, { appliedIndex: index, sha256, ...history });
    if (restored.clusterId !== clusterId) {
      const [theirs, ours] = [formatId(restored.clusterId), formatId(clusterId)];
      throw new Error(`the snapshot is of cluster ${theirs}, not ${ours}`);
    }
    return () => {
      this.current = restored;
    };
  }

  private report({ body }: RosterCommand, decision: Decision, { index, term }: EntryPosition): void {
    const { log } = this.options;
    const command = body?.$case ?? "unknown";
    if (!decision.accepted) {
      const { reason, message } = decision.refusal;
      log.info({ command, reason, text: message, term, index }, "refused in apply");
      return;
    }
    if (decision.repeated || !decision.changed) {
      log.debug({ command, term, index }, "applied without change");
      return;
    }
    const { member } = decision;
    const fields =
      member === null
        ? { command, term, index }
        : { command, id: member.id, member: member.name, term, index };
    // Admin URLs may change often and change nothing in the cluster itself.
    if (command === "updateAdminUrls") log.debug(fields, "membership changed");
    else log.info(fields, "membership changed");
  }
}

function entryOf(command: Uint8Array, { index, term, confChange }: EntryPosition): Entry {
  return confChange === null
    ? { index, term, type: EntryType.Normal, data: command, confChange }
    : { index, term, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
}

/**
 * Everything that storage has acknowledged is there after every crash: entries, vote and term. Entries may be replaced by
 * entries of a later term, or by a snapshot, that were being written at the crash. And a member sends only what is
 * durable: the vote that it grants and the entries that it acknowledges. Raft paper, figure 2.
 */
import { MessageType } from "../../../src/raft/index";
import type { Message } from "../../../src/raft/index";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { Violation } from "../violation";
import type { World } from "../world";

const NAME = "acknowledged_is_durable";

export class AcknowledgedIsDurable implements Observer {
  constructor(private readonly world: World) {}

  started(member: Member): void {
    const { storage, host } = member;
    const { durable } = host;
    const { hardState } = storage.initialState();
    const { term, vote } = hardState;
    if (term < durable.term || (term === durable.term && durable.vote !== 0n && vote !== durable.vote)) {
      const was = `term ${durable.term} vote ${durable.vote.toString(16)}`;
      throw new Violation(
        NAME,
        `${member.label} starts with term ${term} vote ${vote.toString(16)}, had ${was}`,
      );
    }
    const last = storage.lastIndex();
    const snapshotIndex = storage.snapshot()?.meta.index ?? 0;
    for (let index = storage.firstIndex(); index <= durable.lastIndex; index++) {
      const had = durable.termAt(index);
      const has = index <= last ? storage.term(index) : 0;
      if (has === had || had === 0) continue;
      // An entry of a later term, or a snapshot, has replaced it.
      if (typeof has === "number" && has > had) break;
      if (last === snapshotIndex && index > last && (storage.snapshot()?.meta.term ?? 0) > had) break;
      throw new Violation(NAME, `${member.label} starts without ${had}/${index}, which was acknowledged`);
    }
    if (last < durable.firstKnown - 1)
      throw new Violation(
        NAME,
        `${member.label} starts with a log up to ${last}, shorter than what was dropped`,
      );
    durable.restart(storage, { term, vote });
    this.world.note(`${member.label} starts at term ${term}, log ${storage.firstIndex()}..${last}`);
  }

  sent(member: Member, { type, reject, term, index, to }: Message): void {
    const { durable } = member.host;
    const isVote = type === MessageType.VoteResponse;
    // A later term may already be on disk, with another vote and other entries.
    if (reject || !(isVote || type === MessageType.AppendResponse) || durable.term > term) return;
    const said = isVote ? `its vote for ${to.toString(16)}` : `entries up to ${index}`;
    if (durable.term === term && (isVote ? durable.vote === to : durable.lastIndex >= index)) return;
    throw new Violation(NAME, `${member.label} tells of ${said} in term ${term}, which is not durable`);
  }
}

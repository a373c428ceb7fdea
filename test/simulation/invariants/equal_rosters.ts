/**
 * State machine safety for the roster: members that applied the same index applied the same committed entry and have the
 * same roster. Decisions are compared at every index; whole rosters at every 16th, and at every snapshot.
 */
import { crc32 } from "node:zlib";
import type { ApplyResult, Roster } from "../../../src/roster/index";
import type { Entry, Snapshot } from "../../../src/raft/index";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { digestOf } from "../record";
import type { ClusterRecord } from "../record";
import { Violation } from "../violation";

const NAME = "equal_rosters";
/** Whole rosters are compared at multiples of this index only, because each comparison costs as much as a snapshot. */
const WHOLE_EVERY = 16;

export class EqualRosters implements Observer {
  private readonly outcomes: string[] = [];
  private readonly hashes: number[] = [];

  constructor(private readonly record: ClusterRecord) {}

  applied(member: Member, entry: Entry, result: ApplyResult, roster: Roster): void {
    const { index, term } = entry;
    // A leader may commit and apply in one event, but its commit is recorded only after the event.
    if (index <= this.record.committed) {
      if (this.record.terms[index] !== term || this.record.digestAt(index) !== digestOf(entry))
        throw new Violation(
          NAME,
          `${member.label} applies ${term}/${index}, which is not the committed entry`,
        );
    }
    const outcome = `${term} ${describe(result)} ${roster.revision} ${roster.members().length}`;
    const known = this.outcomes[index];
    if (known === undefined) this.outcomes[index] = outcome;
    else if (known !== outcome)
      throw new Violation(NAME, `${member.label} decides "${outcome}" at ${index}, another "${known}"`);
    const changed = result.kind === "command" && result.confChange !== null;
    if (changed || index % WHOLE_EVERY === 0) this.whole(member, index, roster.snapshot());
  }

  snapshot(member: Member, { meta, data }: Snapshot): void {
    this.whole(member, meta.index, data);
  }

  private whole(member: Member, index: number, bytes: Uint8Array): void {
    const hash = crc32(bytes);
    const known = this.hashes[index];
    if (known === undefined) this.hashes[index] = hash;
    else if (known !== hash)
      throw new Violation(NAME, `the roster of ${member.label} differs at index ${index}`);
  }
}

function describe(result: ApplyResult): string {
  if (result.kind === "empty") return "empty";
  const { decision } = result;
  if (!decision.accepted) return `refused ${decision.refusal.reason} ${decision.repeated}`;
  return `accepted ${decision.changed} ${decision.repeated} ${decision.revision}`;
}

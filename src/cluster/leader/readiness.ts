/**
 * Whether a learner can be made a voter now. Pure: reads what the leader knows of the learner, nothing else.
 *
 * A voter that lacks much of the log counts for the quorum at once, and helps to commit only once it has caught up; so it
 * has to be there first: started, in contact for two election timeouts, with the newest membership change in its log and
 * with almost all that the leader has.
 */
import { formatId, refused } from "../../roster/index";
import type { RefusedError } from "../../roster/index";
import type { VoterHealth } from "./quorum_check";

/** A learner as the leader sees it. */
export interface LearnerHealth extends VoterHealth {
  /** Entries that the leader has and that the learner is not known to have on its disk. */
  readonly lagEntries: number;
  /** Whether its log is known to have the newest membership change of the leader's. */
  readonly holdsNewestChange: boolean;
  /** Whether its disk takes entries. */
  readonly hasSpace: boolean;
}

interface Readiness {
  readonly ready: boolean;
  /** What is missing, as parts of a sentence. Empty when ready. */
  readonly missing: readonly string[];
  /** When only time in contact is missing: how many ticks of it. Null otherwise. */
  readonly ticks: number | null;
}

/**
 * Most entries that a learner may be behind. More would let a voter in that holds up the commits of the others for longer;
 * fewer would keep a learner out for as long as writes come faster than the acknowledgements of one round trip.
 */
export const LAG_ENTRIES_MAX = 250;

/** @param electionTicks an election timeout in ticks */
export function readinessOf(learner: LearnerHealth, electionTicks: number): Readiness {
  const { started, inContactTicks, lagEntries, holdsNewestChange, hasSpace } = learner;
  const contactTicks = 2 * electionTicks;
  const missing: string[] = [];
  if (!started) missing.push("it has not started");
  if (inContactTicks === null) missing.push("the leader is not in contact with it");
  if (!hasSpace) missing.push("its disk is full");
  if (lagEntries > LAG_ENTRIES_MAX) {
    missing.push(`its log is ${lagEntries} entries behind, and may be ${LAG_ENTRIES_MAX} at most`);
  } else if (!holdsNewestChange) missing.push("its log does not have the newest membership change");
  const contactMissing = inContactTicks === null ? null : Math.max(0, contactTicks - inContactTicks);
  const ticks = missing.length === 0 && contactMissing !== null && contactMissing > 0 ? contactMissing : null;
  if (contactMissing !== null && contactMissing > 0) {
    missing.push("the leader has not been in contact with it for two election timeouts");
  }
  return { ready: missing.length === 0, missing, ticks };
}

/**
 * The refusal of a promotion.
 *
 * @param heartbeatMs one tick
 */
export function notReady(
  learner: LearnerHealth,
  { missing, ticks }: Readiness,
  { electionTicks, heartbeatMs }: { readonly electionTicks: number; readonly heartbeatMs: number },
): RefusedError {
  const { id, name, started, inContactTicks, lagEntries } = learner;
  const metadata = {
    id: formatId(id),
    name,
    started: String(started),
    in_contact: String(inContactTicks !== null && inContactTicks >= 2 * electionTicks),
    lag_entries: String(lagEntries),
  };
  const text = `${name} (${formatId(id)}) can't be made a voter yet: ${missing.join(", ")}; try again when it is ready`;
  const retryMs = Math.ceil((ticks ?? 2 * electionTicks) * heartbeatMs);
  return refused("LEARNER_NOT_READY", text, metadata, retryMs);
}

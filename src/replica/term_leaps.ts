/**
 * How far this member's term follows the terms that peers claim.
 *
 * Each term takes an election, so correct peers are at most a few terms ahead, and one that claims far more would only
 * use up the range of terms. But a member that is far ahead all the same (a broken peer drove it there) must not be lost:
 * it refuses everybody else as stale, also after a restart. So a claim farther ahead than the allowance is not taken,
 * and the term follows it in steps, one in each election timeout, until both meet. Pure.
 */

/**
 * Terms that a peer's messages may raise this member's term by within one election timeout. Far more than elections can
 * take, and so few that no stream of messages gets a member out of reach of the others.
 */
const TERMS_PER_ELECTION_MAX = 2 ** 20;
/** Always taken, however much of the allowance is used up: nothing may keep this member from following real elections. */
const TERMS_ALWAYS = 64;
/**
 * One step towards a term beyond the allowance. Large, so that few elections are disturbed on the way; small enough that
 * a peer that keeps claiming ever higher terms would need years to use up their range (2^53).
 */
const STEP = 2 ** 26;
/** Claims farther ahead are never followed: no member got there by such messages. Twice what 4,000 of them can do. */
const FOLLOWED_MAX = 2 ** 33;

/** What becomes of a message: it is taken, or only its term is followed (up to `term`), or nothing of it is used. */
type TermVerdict =
  | { readonly kind: "take" }
  | { readonly kind: "follow"; readonly term: number }
  | { readonly kind: "refuse"; readonly firstOfPeriod: boolean };

const TAKE: TermVerdict = { kind: "take" };

export class TermLeaps {
  private left = TERMS_PER_ELECTION_MAX;
  private periodTick = 0;
  private followed = false;
  private refused = false;

  /** @param electionTicks an election timeout in ticks */
  constructor(private readonly electionTicks: number) {}

  /** @param empty whether this member's log is empty */
  judge(own: number, theirs: number, tick: number, empty: boolean): TermVerdict {
    if (tick - this.periodTick >= this.electionTicks) {
      this.periodTick = tick;
      this.left = TERMS_PER_ELECTION_MAX;
      this.followed = false;
      this.refused = false;
    }
    const gap = theirs - own;
    if (gap <= Math.max(TERMS_ALWAYS, this.left)) return TAKE;
    // A member with an empty log has just joined, and the cluster may have used up many terms. It can't be led by steps: the
    // core takes them from members of its configuration only, and it has none yet.
    if ((empty || own === 0) && theirs <= FOLLOWED_MAX) return TAKE;
    if (gap <= FOLLOWED_MAX && !this.followed && this.left === TERMS_PER_ELECTION_MAX) {
      this.followed = true;
      return { kind: "follow", term: Math.min(theirs, own + STEP) };
    }
    const firstOfPeriod = !this.refused;
    this.refused = true;
    return { kind: "refuse", firstOfPeriod };
  }

  /** A message raised this member's term by so much. */
  raised(terms: number): void {
    this.left = Math.max(0, this.left - terms);
  }
}

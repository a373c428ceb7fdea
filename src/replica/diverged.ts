/**
 * This member's state can't be that of its cluster: an entry or the roster differs where correct members agree. The
 * member must stop; starting it again does not help. Its message says what differs and what to do.
 */
export class DivergedError extends Error {
  override readonly name = "DivergedError";

  /** @param finding what differs, and where: one clause */
  constructor(finding: string) {
    super(
      `${finding}. One of the two has an older copy of its data directory, or a damaged one. This member stops, so that ` +
        "it gives no wrong answer. When the other members agree with each other (muster cluster, muster member list), " +
        "remove this member and add it again with an empty data directory; when they do not, see docs/operations.md",
    );
  }
}

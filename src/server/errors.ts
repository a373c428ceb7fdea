/** Exit codes of a member for which starting again does not help: a service manager must not restart it. */
export const FinalExit = {
  /** The cluster removed the member. Its data directory does not start again. */
  Removed: 8,
  /** The data directory must not be used again: lost and made anew, an older copy, or not that of its cluster. */
  Unusable: 9,
} as const;

/** This member can't start. The message is one line with the reason and what to do. */
export class StartRefusedError extends Error {
  /** @param wiped the cluster knows this member with another data directory */
  constructor(
    message: string,
    readonly wiped = false,
  ) {
    super(message);
    this.name = "StartRefusedError";
  }
}

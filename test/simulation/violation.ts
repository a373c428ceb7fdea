/** An invariant was broken, which ends the run. */
export class Violation extends Error {
  override readonly name = "Violation";

  constructor(
    /** The invariant's name, which is the name of its file. */
    readonly invariant: string,
    message: string,
  ) {
    super(message);
  }
}

/**
 * The flags of `muster dev`.
 */
import { InvalidArgumentError } from "commander";
import type { Command } from "commander";

/** The valid flags of one command line. */
export interface DevFlags {
  /**
   * How many members, 1 to 7. More members tolerate more failures and use more memory and ports.
   * @default 3, the smallest cluster that tolerates a failure
   */
  readonly nodes: number;
  /**
   * The admin port of n1; the others follow from it. Change it when a port is in use, or for a second cluster.
   * @default 7460, where client commands look without --endpoints
   */
  readonly basePort: number;
  /**
   * Directory for data and logs. Set it to keep a cluster from one run to the next.
   * @default a temporary directory, removed at exit, so that a trial leaves no files
   */
  readonly dataDir?: string;
}

/** Most members of a cluster. Odd numbers are usual; even ones are accepted because they help to try things out. */
const NODES_MAX = 7;
/** Difference between the admin ports of two consecutive members. */
export const PORT_STEP = 10;
/** Largest base port with which all ports of the last member are valid. */
const BASE_PORT_MAX = 65535 - (NODES_MAX - 1) * PORT_STEP - 1;

/** Declares the flags of `muster dev`. */
export function addDevOptions(command: Command): Command {
  return command
    .description("run a local cluster n1, n2, n3, each member its own process")
    .configureHelp({ showGlobalOptions: false })
    .option("--nodes <number>", `how many members, 1 to ${String(NODES_MAX)}`, integer(1, NODES_MAX), 3)
    .option("--data-dir <dir>", "keep data and logs there (default: a temporary directory, removed at exit)")
    .option(
      "--base-port <port>",
      `n1's admin port; peers use the next one, each further member ${String(PORT_STEP)} more`,
      integer(1024, BASE_PORT_MAX),
      7460,
    );
}

function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Want a whole number from ${String(min)} to ${String(max)}.`);
  };
}

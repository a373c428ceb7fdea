/**
 * The flags of `muster dev`.
 */
import { InvalidArgumentError } from "commander";
import type { Command } from "commander";

/** What the command line says, checked. */
export interface DevFlags {
  /** 1 to 7. */
  readonly nodes: number;
  /** n1's admin port. */
  readonly basePort: number;
  /** Undefined: a temporary directory. */
  readonly dataDir?: string;
}

/** A cluster has 1, 3, 5 or 7 voters; even numbers are allowed for trying things out. */
const NODES_MAX = 7;
/** Ports between the admin listeners of two members. */
export const PORT_STEP = 10;
/** Room for the last member's ports. */
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

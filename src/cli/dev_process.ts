/**
 * The processes and ports behind `muster dev`.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { createServer } from "node:net";
import { extname, join } from "node:path";
import type { DevMember } from "./dev_plan";

/** How a process ended. */
export interface MemberExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Set when it could not be started. */
  readonly error?: string;
}

/** One member's process. */
export interface MemberProcess {
  /** Never rejects. */
  readonly exited: Promise<MemberExit>;
  kill(signal: "SIGTERM" | "SIGKILL"): void;
}

/**
 * Starts a member with this program, its output appended to its log file.
 *
 * It is detached, so that Ctrl-C in a terminal reaches only `muster dev`, which then stops each member once.
 * The channel is there for its end: a member whose `muster dev` is gone sees it close and stops.
 */
export function spawnMember(member: DevMember): MemberProcess {
  const log = openSync(member.logFile, "a");
  try {
    const main = join(__dirname, `main${extname(__filename)}`);
    const child = spawn(process.execPath, [...process.execArgv, main, ...member.args], {
      detached: true,
      stdio: ["ignore", log, log, "ipc"],
      env: withoutMusterVariables(process.env),
    });
    const exited = new Promise<MemberExit>((resolve) => {
      child.once("exit", (code, signal) => {
        resolve({ code, signal });
      });
      child.once("error", (error) => {
        resolve({ code: null, signal: null, error: error.message });
      });
    });
    return { exited, kill: (signal) => void child.kill(signal) };
  } finally {
    closeSync(log);
  }
}

/** Whether a listener can bind to the port on loopback. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => {
      resolve(false);
    });
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => {
      probe.close(() => {
        resolve(true);
      });
    });
  });
}

/** A variable meant for one member (MUSTER_NAME) would be wrong for all but one. */
function withoutMusterVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("MUSTER_")));
}

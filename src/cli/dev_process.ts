/**
 * Starts the processes of `muster dev` and checks their ports.
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
  /** Why the process could not be started; missing when it was started. */
  readonly error?: string;
}

/** The process of one member. */
export interface MemberProcess {
  /** Resolves when the process has ended. Never rejects. */
  readonly exited: Promise<MemberExit>;
  kill(signal: "SIGTERM" | "SIGKILL"): void;
}

/**
 * Starts this program as a member, and appends its output to its log file.
 *
 * The process is detached, so that Ctrl-C in a terminal reaches only `muster dev`, which then stops each member once.
 * The IPC channel carries no messages: it closes when `muster dev` ends, and the member then stops.
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

/** Leaves out the variables that configure a member: MUSTER_NAME, for example, can't be right for all members. */
function withoutMusterVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("MUSTER_")));
}

/**
 * Processes as a test sees them: started, signalled and waited for by their own pid, everything they print kept; and the
 * ports they listen on. Whatever is started here is ended again by killLeftovers.
 */
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createServer } from "node:net";
import { join, resolve } from "node:path";

export const ROOT = resolve(__dirname, "../../..");
/** The command as it is shipped. */
export const MAIN = join(ROOT, "dist/cli/main.js");

/** How long anything may take before a test gives up on it: generous, for machines that do much else. */
const PATIENCE_MS = 40_000;
/** How much of what a process printed is shown when a test fails. */
const SHOWN_LINES = 60;

/** Compiles src to dist where that is not up to date: run before the first test of each file. */
export function ensureBuilt(): void {
  const code = 'require("./scripts/ensure").ensureBuilt()';
  execFileSync(process.execPath, ["-e", code], { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
}

/** Settles when `condition` holds; fails with `what`, and what `describe` says then, when it does not come to hold. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  describe: () => string = () => "",
  timeoutMs = PATIENCE_MS,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}. ${describe()}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

// --- Ports --------------------------------------------------------------------------------------------------------

/**
 * Below the ranges that systems take the ports of outgoing connections from: a member that is down for a moment must
 * find its port free again, and nobody can hold it for it.
 */
const PORT_MIN = 12_000;
const PORT_MAX = 30_000;
const taken = new Set<number>();

/**
 * `count` ports `base + offset` that are free now; never the same twice in one process.
 * @param offsets of the ports wanted, from 0
 */
export async function freePortBlock(offsets: readonly number[]): Promise<number> {
  for (;;) {
    const base = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    const ports = offsets.map((offset) => base + offset);
    if (ports.some((port) => taken.has(port))) continue;
    const free = await Promise.all(ports.map(isFree));
    if (!free.every(Boolean)) continue;
    for (const port of ports) taken.add(port);
    return base;
  }
}

/** Whether a listener can bind to the port on loopback. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer();
    probe.once("error", () => done(false));
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => probe.close(() => done(true)));
  });
}

// --- Processes ----------------------------------------------------------------------------------------------------

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface SpawnOptions {
  readonly cwd?: string;
  /** Added to the environment, which is otherwise the test's without MUSTER_* variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether the process gets a channel to this one, and so learns when this one is gone. */
  readonly channel?: boolean;
}

const alive = new Set<Child>();

/** One process and everything it printed. */
export class Child {
  stdout = "";
  stderr = "";
  /** Null while it runs. */
  exit: Exit | null = null;
  /** Settles when the process has ended and all its output has arrived. Never rejects. */
  readonly exited: Promise<Exit>;
  private readonly process: ChildProcess;

  constructor(
    readonly file: string,
    args: readonly string[],
    options: SpawnOptions = {},
  ) {
    this.process = spawn(file, args, {
      cwd: options.cwd ?? ROOT,
      env: { ...withoutMusterVariables(process.env), ...options.env },
      stdio: options.channel === true ? ["ignore", "pipe", "pipe", "ipc"] : ["ignore", "pipe", "pipe"],
    });
    alive.add(this);
    this.process.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    this.process.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.exited = new Promise((done) => {
      const end = (exit: Exit): void => {
        this.exit = exit;
        alive.delete(this);
        done(exit);
      };
      this.process.once("close", (code, signal) => end({ code, signal }));
      this.process.once("error", (error) => {
        this.stderr += `${error.message}\n`;
        end({ code: null, signal: null });
      });
    });
  }

  get pid(): number {
    if (this.process.pid === undefined) throw new Error(`${this.file} could not be started: ${this.stderr}`);
    return this.process.pid;
  }

  /** Sends a signal to this process alone. */
  signal(signal: NodeJS.Signals): void {
    if (this.exit === null) this.process.kill(signal);
  }

  /** Waits for the end; a process that does not end is killed, and the wait fails. */
  async end(timeoutMs = PATIENCE_MS): Promise<Exit> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<"late">((done) => (timer = setTimeout(() => done("late"), timeoutMs)));
    const exit = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (exit !== "late") return exit;
    this.signal("SIGKILL");
    throw new Error(`${this.file} did not end within ${timeoutMs} ms:\n${tail(this.stdout + this.stderr)}`);
  }
}

/** A variable meant for one member would reach all. */
function withoutMusterVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("MUSTER_")));
}

export function tail(text: string): string {
  return text.trimEnd().split("\n").slice(-SHOWN_LINES).join("\n");
}

/** Ends what a failed test left running. For afterAll of every file. */
export async function killLeftovers(): Promise<void> {
  const left = [...alive];
  for (const child of left) child.signal("SIGKILL");
  await Promise.all(left.map((child) => child.exited));
}

/** What one run of the command did. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `muster` with these words to its end. */
export async function muster(words: readonly string[], options: SpawnOptions = {}): Promise<Outcome> {
  const child = new Child(process.execPath, [MAIN, ...words], options);
  const { code } = await child.end();
  return { code, stdout: child.stdout, stderr: child.stderr };
}

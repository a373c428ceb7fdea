/**
 * Child processes of tests: started, signalled and waited for by their pid, with all their output kept; and free ports.
 * killLeftovers ends every process that was started here.
 */
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createServer } from "node:net";
import { join, resolve } from "node:path";

export const ROOT = resolve(__dirname, "../../..");
/** The built command. */
export const MAIN = join(ROOT, "dist/cli/main.js");

/** Longest wait for a condition, in milliseconds. Generous, for busy machines. */
const PATIENCE_MS = 40_000;
/** Number of lines of a process's output that a failed test prints. */
const SHOWN_LINES = 60;

/** Compiles src to dist if it is not up to date. Called before the first test of each file. */
export function ensureBuilt(): void {
  const code = 'require("./scripts/ensure").ensureBuilt()';
  execFileSync(process.execPath, ["-e", code], { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
}

/** Settles when `condition` holds. After the timeout it fails with `what` and the text of `describe`. */
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
 * Below the range from which systems choose ports of outgoing connections, so that the port of a member that is down for
 * a moment is not taken.
 */
const PORT_MIN = 12_000;
const PORT_MAX = 30_000;
const taken = new Set<number>();

/**
 * `count` ports `base + offset` that are free now; never the same twice in one process.
 * @param offsets the offsets of the wanted ports, from 0
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
  /** Added to the environment, which is that of the test without its MUSTER_* variables. @default none */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether the process gets a channel to this one, by which it notices the end of this process. @default false */
  readonly channel?: boolean;
}

const alive = new Set<Child>();

/** One process and all its output. */
export class Child {
  stdout = "";
  stderr = "";
  /** Null while the process runs. */
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

  /** Waits for the process to end. When it does not end in time, kills it and fails. */
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

/** Removes MUSTER_* variables, which would change the configuration of every process that a test starts. */
function withoutMusterVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("MUSTER_")));
}

export function tail(text: string): string {
  return text.trimEnd().split("\n").slice(-SHOWN_LINES).join("\n");
}

/** Kills processes that a failed test left running. Called in afterAll of every file. */
export async function killLeftovers(): Promise<void> {
  const left = [...alive];
  for (const child of left) child.signal("SIGKILL");
  await Promise.all(left.map((child) => child.exited));
}

/** The outcome of one run of the command. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `muster` with these arguments and waits for its end. */
export async function muster(words: readonly string[], options: SpawnOptions = {}): Promise<Outcome> {
  const child = new Child(process.execPath, [MAIN, ...words], options);
  const { code } = await child.end();
  return { code, stdout: child.stdout, stderr: child.stderr };
}

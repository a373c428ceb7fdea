/**
 * The processes and folders of a benchmark run. Invariant: when the run ends, for whatever reason, every process that was
 * started here is killed and every folder that was created here is removed. No other process is ever signalled.
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";

const children = new Set<ChildProcess>();
const folders = new Set<string>();

function cleanUp(): void {
  for (const child of children) child.kill("SIGKILL");
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
}

process.on("exit", cleanUp);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(130));

/** A new empty folder below the operating system's folder for temporary files. */
export function temporaryFolder(label: string): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `muster-bench-${label}-`));
  folders.add(folder);
  return folder;
}

/** Removes a folder made by temporaryFolder. */
export function removeFolder(folder: string): void {
  fs.rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}

/** Different ports on loopback that were free when they were checked. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<net.Server>((resolve, reject) => {
          const server = net.createServer().once("error", reject);
          server.listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** The process of one member. */
export class MemberProcess {
  private child: ChildProcess | null = null;

  constructor(
    readonly name: string,
    private readonly file: string,
    private readonly args: readonly string[],
    private readonly logFile: string,
  ) {}

  get pid(): number {
    if (this.child?.pid === undefined) throw new Error(`${this.name} does not run`);
    return this.child.pid;
  }

  get running(): boolean {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null;
  }

  start(): void {
    const log = fs.openSync(this.logFile, "a");
    const child = spawn(this.file, this.args, { stdio: ["ignore", log, log] });
    fs.closeSync(log);
    children.add(child);
    child.on("exit", () => children.delete(child));
    child.on("error", () => children.delete(child));
    this.child = child;
  }

  /** Sends the signal and waits for the exit; sends SIGKILL after five seconds. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.child;
    if (child === null || !this.running) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    const limit = setTimeout(() => child.kill("SIGKILL"), 5000);
    child.kill(signal);
    await ended;
    clearTimeout(limit);
  }

  /** The last part of the process's output, for an error message. */
  logTail(): string {
    const lines = fs.existsSync(this.logFile)
      ? fs.readFileSync(this.logFile, "utf8").trimEnd().split("\n")
      : [];
    return lines.slice(-5).join("\n");
  }

  /** Resident memory in MiB; null on systems without /proc. */
  residentMib(): number | null {
    try {
      const match = /^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${this.pid}/status`, "utf8"));
      return match === null ? null : Number(match[1]) / 1024;
    } catch {
      return null;
    }
  }

  /** CPU time so far, in milliseconds; null on systems without /proc. */
  cpuMs(): number | null {
    try {
      // The name of the program, in parentheses, may have spaces. After it come state, and as 12th and 13th utime and stime.
      const fields = fs
        .readFileSync(`/proc/${this.pid}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ");
      return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
    } catch {
      return null;
    }
  }
}

/** Clock ticks of the kernel in /proc: 100 in a second on every Linux that Node runs on. */
const MS_PER_TICK = 10;

/** The first file of this name on PATH, or null. */
export function findOnPath(name: string): string | null {
  for (const folder of (process.env["PATH"] ?? "").split(path.delimiter)) {
    const file = path.join(folder, name);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return file;
    } catch {
      // Not in this folder: try the next.
    }
  }
  return null;
}

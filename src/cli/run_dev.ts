/**
 * `muster dev`: runs a local cluster, each member in its own process.
 *
 * A member that ends is reported and not started again, so that one can see how the cluster behaves without it. The
 * first request to stop ends all members gracefully, the second kills them. Members also end when this process ends,
 * because their IPC channel closes. The command returns when all members have ended.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative, resolve } from "node:path";
import { MusterClient, systemClock } from "../client";
import type { Clock, GetClusterResponse } from "../client";
import { isFree, spawnMember } from "./dev_process";
import type { MemberExit, MemberProcess } from "./dev_process";
import type { DevFlags } from "./dev_options";
import { planMembers, welcome } from "./dev_plan";
import type { DevMember } from "./dev_plan";
import { reportFailure } from "./failure";
import { ExitCode, UsageError } from "./io";
import type { Io } from "./io";

/** How long the cluster may take until all members are in contact with a leader. */
const READY_TIMEOUT_MS = 30_000;
/** Pause between two polls of the cluster. */
const POLL_MS = 100;
/** Timeout of one poll: much longer than an answer takes, so that polls also succeed on a slow machine. */
const POLL_TIMEOUT_MS = 2000;
/** How long members may take to stop before they are killed. */
const STOP_TIMEOUT_MS = 20_000;

/** File in the data directory with the flags that the directory was made with. */
const MARKER = "muster-dev.json";

/** The parts that a test replaces. */
export interface DevDeps {
  spawn(member: DevMember): MemberProcess;
  isFree(port: number): Promise<boolean>;
  newClient(endpoints: readonly string[]): Pick<MusterClient, "getCluster" | "close">;
  readonly clock: Clock;
  /** The command line that starts this program, for the examples that are printed. */
  readonly command: string;
}

const processDeps: DevDeps = {
  spawn: spawnMember,
  isFree,
  newClient: (endpoints) =>
    new MusterClient({
      endpoints,
      timeoutMs: POLL_TIMEOUT_MS,
      waitForConnection: false,
      followRoster: false,
    }),
  clock: systemClock,
  command: commandName(),
};

/** Runs a cluster until all its members have ended. @returns the exit code */
export async function runDev(flags: DevFlags, io: Io, deps: DevDeps = processDeps): Promise<number> {
  const { nodes, basePort } = flags;
  for (const member of planMembers(nodes, basePort, "")) {
    for (const [port, use] of [[member.adminPort, "admin"] as const, [member.peerPort, "peer"] as const]) {
      if (await deps.isFree(port)) continue;
      const text = `port ${String(port)} (${member.name}, ${use}) is in use`;
      return reportFailure(new Error(`${text}: stop what listens there, or give another --base-port`), io);
    }
  }
  const temporary = flags.dataDir === undefined;
  const dataDir = temporary ? mkdtempSync(join(tmpdir(), "muster-dev-")) : resolve(flags.dataDir ?? "");
  try {
    if (!temporary) claimDirectory(dataDir, { nodes, basePort });
    io.stderr.write(`data and logs: ${dataDir}${temporary ? " (removed at exit)" : ""}\n`);
    return await new DevCluster(planMembers(nodes, basePort, dataDir), io, deps).run();
  } catch (error) {
    return reportFailure(error, io);
  } finally {
    if (temporary) rmSync(dataDir, { recursive: true, force: true });
  }
}

/** Marks a new data directory with its flags. @throws UsageError when the directory was made with other flags */
function claimDirectory(dataDir: string, made: { nodes: number; basePort: number }): void {
  const marker = join(dataDir, MARKER);
  const content = `${JSON.stringify(made)}\n`;
  if (!existsSync(marker)) {
    mkdirSync(dataDir, { recursive: true });
    writeFileSync(marker, content);
    return;
  }
  const found = readFileSync(marker, "utf8").trim();
  if (found === content.trim()) return;
  throw new UsageError(
    `${dataDir} holds the cluster ${found}: ` +
      "start it with the same --nodes and --base-port, or give another --data-dir",
  );
}

/** The member processes of one run. */
class DevCluster {
  private readonly running = new Map<DevMember, MemberProcess>();
  private readonly allEnded: Promise<void>;
  private stopping = false;
  private readonly stopped: Promise<void>;
  private stop: () => void = () => undefined;
  private code: number = ExitCode.Ok;

  constructor(
    private readonly members: readonly DevMember[],
    private readonly io: Io,
    private readonly deps: DevDeps,
  ) {
    this.stopped = new Promise((resolve) => (this.stop = resolve));
    const processes = members.map((member) => [member, deps.spawn(member)] as const);
    for (const [member, process] of processes) this.running.set(member, process);
    const exits = processes.map(([member, process]) =>
      process.exited.then((exit) => this.ended(member, exit)),
    );
    this.allEnded = Promise.all(exits).then(() => undefined);
  }

  async run(): Promise<number> {
    const unsubscribe = this.io.onStop(["SIGINT", "SIGTERM", "SIGHUP"], () => {
      this.requestStop();
    });
    try {
      const cluster = await this.firstAnswer();
      if (cluster !== undefined) this.io.stdout.write(welcome(cluster, this.members, this.deps.command));
      await Promise.race([this.allEnded, this.stopped]);
      if (this.running.size > 0) await this.stopMembers();
      return this.code;
    } finally {
      unsubscribe();
    }
  }

  /** Polls until all running members are in contact with a leader. Undefined when the run ends before that. */
  private async firstAnswer(): Promise<GetClusterResponse | undefined> {
    const { clock } = this.deps;
    const client = this.deps.newClient(this.members.map((member) => member.endpoint));
    // A request to stop cancels the poll in flight.
    void this.stopped.then(() => {
      client.close();
    });
    const deadline = clock.now() + READY_TIMEOUT_MS;
    let problem = "";
    try {
      for (;;) {
        if (this.stopping || this.running.size === 0) return undefined;
        let answer: GetClusterResponse | undefined;
        try {
          answer = await client.getCluster();
          if (this.complete(answer)) return answer;
        } catch (error) {
          problem = error instanceof Error ? error.message : String(error);
        }
        if (clock.now() >= deadline) {
          if (answer !== undefined) return answer;
          this.io.stderr.write(`muster: the cluster does not answer: ${problem}\n`);
          this.code = ExitCode.Refused;
          this.requestStop();
          return undefined;
        }
        await clock.sleep(POLL_MS);
      }
    } finally {
      client.close();
    }
  }

  private complete(cluster: GetClusterResponse): boolean {
    return [...this.running.keys()].every(({ name }) =>
      cluster.members.some(
        (status) => status.member?.name === name && status.member.started && status.reachable === true,
      ),
    );
  }

  private ended(member: DevMember, exit: MemberExit): void {
    this.running.delete(member);
    if (this.stopping) return;
    const how = exit.error ?? (exit.signal === null ? `exit code ${String(exit.code)}` : exit.signal);
    const last = lastLine(member.logFile);
    this.io.stderr.write(
      `muster: ${member.name} ended: ${how}${last === "" ? "" : `; its last words: ${last}`}\n`,
    );
    if (this.running.size > 0) return;
    this.io.stderr.write("muster: all members have ended\n");
    this.code = ExitCode.Refused;
  }

  private requestStop(): void {
    if (!this.stopping) {
      this.stopping = true;
      this.stop();
      return;
    }
    this.code = ExitCode.Interrupted;
    this.killAll();
  }

  private async stopMembers(): Promise<void> {
    for (const process of this.running.values()) process.kill("SIGTERM");
    const enough = new AbortController();
    const late = this.deps.clock.sleep(STOP_TIMEOUT_MS, enough.signal).then(() => "late" as const);
    if ((await Promise.race([this.allEnded, late])) === "late") {
      const names = [...this.running.keys()].map((member) => member.name).join(", ");
      this.io.stderr.write(`muster: ${names} did not stop in time: killed\n`);
      this.code = ExitCode.Refused;
      this.killAll();
    }
    enough.abort();
    await this.allEnded;
  }

  private killAll(): void {
    for (const process of this.running.values()) process.kill("SIGKILL");
  }
}

/** The message of the last line of a log; empty when the log can't be read. */
function lastLine(file: string): string {
  try {
    const line = readFileSync(file, "utf8").trimEnd().split("\n").at(-1) ?? "";
    const parsed: unknown = line.startsWith("{") ? JSON.parse(line) : undefined;
    const message = parsed !== null && typeof parsed === "object" && "msg" in parsed ? parsed.msg : undefined;
    return typeof message === "string" ? message : line;
  } catch {
    return "";
  }
}

/** `muster` when the program was started by that name, else the command line that starts it from this directory. */
function commandName(): string {
  const script = process.argv[1] ?? "";
  if (basename(script) === "muster") return "muster";
  return ["node", ...process.execArgv, relative(process.cwd(), script)].join(" ");
}

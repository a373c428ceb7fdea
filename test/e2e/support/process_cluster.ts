/**
 * A cluster of real processes: each member is `node dist/cli/main.js server ...` with its own data directory and ports
 * on loopback, started, stopped, killed and restarted as an operator would.
 *
 * Invariants: a member ends with the test, even when the test's process is killed, because the channel between them
 * closes then. Tests wait for conditions, never for time. Intervals have their default values, as in production.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Consistency, MemberRole, MemberTarget, MusterClient } from "../../../src/client";
import type { GetClusterResponse, GetMembersResponse, Member } from "../../../src/client";
import { Child, freePortBlock, MAIN, tail, until } from "./processes";
import type { Exit } from "./processes";

// --- Members ------------------------------------------------------------------------------------------------------

/** The configuration of a member. */
export interface MemberSpec {
  readonly name: string;
  readonly adminPort: number;
  readonly peerUrl: string;
  readonly dataDir: string;
  readonly initialCluster: string;
  readonly initialClusterState: "new" | "existing";
  /** What it joins by, in place of initialCluster: the flags of `--join`. */
  readonly join?: readonly string[];
}

/** One member, running or not. */
export class MemberProcess {
  readonly client: MusterClient;
  /** The command that runs it, of whatever version. */
  main = MAIN;
  private child: Child | null = null;
  private earlier = "";

  constructor(public spec: MemberSpec) {
    this.client = new MusterClient({
      endpoints: [this.endpoint],
      timeoutMs: 3000,
      waitForConnection: false,
      followRoster: false,
    });
  }

  get name(): string {
    return this.spec.name;
  }

  /** `host:port` of the admin listener. */
  get endpoint(): string {
    return `127.0.0.1:${this.spec.adminPort}`;
  }

  get adminUrl(): string {
    return `http://${this.endpoint}`;
  }

  get running(): boolean {
    return this.child !== null && this.child.exit === null;
  }

  get wasStarted(): boolean {
    return this.child !== null;
  }

  /** The current process, or the last one. */
  get process(): Child {
    if (this.child === null) throw new Error(`${this.name} was never started`);
    return this.child;
  }

  /** The output of all its processes. */
  get output(): string {
    return this.earlier + (this.child === null ? "" : this.child.stdout + this.child.stderr);
  }

  /** The arguments of `muster` that start the member. */
  get words(): string[] {
    const { name, peerUrl, dataDir, initialCluster, initialClusterState, join } = this.spec;
    const words = ["server", "--name", name, "--admin-url", this.adminUrl, "--peer-url", peerUrl];
    words.push("--data-dir", dataDir);
    if (join !== undefined) return [...words, ...join];
    return [...words, "--initial-cluster", initialCluster, "--initial-cluster-state", initialClusterState];
  }

  /** Starts the process; returns before the member is ready. */
  start(): Child {
    if (this.running) throw new Error(`${this.name} runs already`);
    this.earlier = this.output;
    this.child = new Child(process.execPath, [this.main, ...this.words], { channel: true });
    return this.child;
  }

  /** Stops the process as a service manager does. */
  stop(): Promise<Exit> {
    this.process.signal("SIGTERM");
    return this.process.end();
  }

  /** Kills the process with SIGKILL. */
  async kill(): Promise<void> {
    this.process.signal("SIGKILL");
    await this.process.end();
  }

  /** The member's answer to GetCluster, by default of its local state; null when it does not answer. */
  async cluster(consistency: Consistency = Consistency.SERIALIZABLE): Promise<GetClusterResponse | null> {
    try {
      return await this.client.getCluster({ consistency });
    } catch {
      return null;
    }
  }

  members(consistency: Consistency = Consistency.SERIALIZABLE): Promise<GetMembersResponse> {
    return this.client.getMembers({ consistency });
  }
}

// --- Clusters -----------------------------------------------------------------------------------------------------

/** Whether the leader is still to make a voter of it. */
function isOnItsWay({ role, target }: Member): boolean {
  return role === MemberRole.LEARNER && target === MemberTarget.VOTER;
}

export class ProcessCluster {
  readonly members: MemberProcess[] = [];

  private constructor(readonly folder: string) {}

  /** `size` members n1, n2, ... of a new cluster, not started. */
  static async prepare(size: number): Promise<ProcessCluster> {
    const cluster = new ProcessCluster(mkdtempSync(join(tmpdir(), "muster-e2e-")));
    const base = await freePortBlock(Array.from({ length: 2 * size }, (_, i) => i));
    const names = Array.from({ length: size }, (_, i) => `n${i + 1}`);
    const peerUrl = (i: number): string => `http://127.0.0.1:${base + 2 * i + 1}`;
    const initialCluster = names.map((name, i) => `${name}=${peerUrl(i)}`).join(",");
    for (const [i, name] of names.entries()) {
      cluster.add({
        name,
        adminPort: base + 2 * i,
        peerUrl: peerUrl(i),
        initialCluster,
        initialClusterState: "new",
      });
    }
    return cluster;
  }

  /** Prepares the members, starts them and waits until they are ready. */
  static async start(size: number): Promise<ProcessCluster> {
    const cluster = await ProcessCluster.prepare(size);
    try {
      for (const member of cluster.members) member.start();
      await cluster.ready();
      return cluster;
    } catch (error) {
      cluster.printOutput();
      await cluster.destroy();
      throw error;
    }
  }

  private add(spec: Omit<MemberSpec, "dataDir">): MemberProcess {
    const member = new MemberProcess({ ...spec, dataDir: join(this.folder, spec.name) });
    this.members.push(member);
    return member;
  }

  /** A member that can join the running ones, with its own ports; not started. */
  async joiner(name: string): Promise<MemberProcess> {
    const base = await freePortBlock([0, 1]);
    const peerUrl = `http://127.0.0.1:${base + 1}`;
    const known = this.running.map((member) => `${member.name}=${member.spec.peerUrl}`);
    const initialCluster = [...known, `${name}=${peerUrl}`].join(",");
    return this.add({ name, adminPort: base, peerUrl, initialCluster, initialClusterState: "existing" });
  }

  get running(): MemberProcess[] {
    return this.members.filter((member) => member.running);
  }

  /** The value for --endpoints. */
  get endpoints(): string {
    return this.members.map((member) => member.endpoint).join(",");
  }

  member(name: string): MemberProcess {
    const found = this.members.find((member) => member.name === name);
    if (found === undefined) throw new Error(`no member ${name}`);
    return found;
  }

  /** Waits until every running member is started, a voter if it is to be one, in contact with one leader, at the same index. */
  async ready(): Promise<void> {
    let seen = "";
    const isReady = async (): Promise<boolean> => {
      const gone = this.members.find((member) => member.wasStarted && !member.running);
      const all = await Promise.all(this.running.map((member) => member.cluster()));
      const [leaders, applied] = [
        all.map((c) => c?.header?.leaderId),
        all.map((c) => String(c?.appliedIndex)),
      ];
      seen = `leaders ${leaders.join()}, applied ${applied.join()}${gone === undefined ? "" : `, ${gone.name} ended`}`;
      if (new Set(leaders).size !== 1 || !leaders[0] || new Set(applied).size !== 1) return false;
      const leading = await this.running[0]?.cluster(Consistency.LINEARIZABLE);
      return this.running.every(({ name }) =>
        leading?.members.some(
          ({ member, reachable }) =>
            member?.name === name && member.started && reachable && !isOnItsWay(member),
        ),
      );
    };
    await until("all members are ready", isReady, () => seen);
  }

  /** Waits until the cluster has these voters and no other members, all in contact with the leader. Also under load. */
  async voting(names: readonly string[], timeoutMs = 120_000): Promise<void> {
    let seen = "";
    const vote = async (): Promise<boolean> => {
      const answers = await Promise.all(
        this.running.map((member) => member.cluster(Consistency.LINEARIZABLE)),
      );
      const members = answers.find((answer) => answer !== null)?.members ?? [];
      seen = JSON.stringify(
        members.map((m) => [m.member?.name, m.member?.role, m.member?.started, m.reachable]),
      );
      const voters = members.flatMap(({ member, reachable }) =>
        member?.role === MemberRole.VOTER && member.started && reachable === true ? [member.name] : [],
      );
      return members.length === names.length && voters.sort().join() === [...names].sort().join();
    };
    await until(`${names.join()} vote`, vote, () => seen, timeoutMs);
  }

  /** Waits until all running members know the same leader, and returns it. */
  async leader(): Promise<MemberProcess> {
    let found: MemberProcess | undefined;
    await until("a leader that all running members know", async () => {
      const all = await Promise.all(this.running.map((member) => member.cluster()));
      const names = all.map((c) => c?.members.find((status) => status.isLeader)?.member?.name);
      found = this.running.find(({ name }) => names.every((other) => other === name));
      return found !== undefined;
    });
    if (found === undefined) throw new Error("no leader");
    return found;
  }

  /** A running member that is not the leader. */
  async follower(): Promise<MemberProcess> {
    const leader = await this.leader();
    const follower = this.running.find((member) => member !== leader);
    if (follower === undefined) throw new Error("no follower");
    return follower;
  }

  /** Waits until all running members have applied the same index. Call it when the load has ended. */
  async settled(): Promise<void> {
    let seen = "";
    await until(
      "all members have applied the same",
      async () => {
        const all = await Promise.all(this.running.map((member) => member.cluster()));
        seen = all.map((c) => `${c?.appliedIndex}/${c?.commitIndex}`).join(", ");
        const wanted = all[0]?.commitIndex;
        return all.every((c) => c !== null && c.appliedIndex === wanted && c.commitIndex === wanted);
      },
      () => `applied/committed: ${seen}`,
    );
  }

  /** A path in the cluster's folder for the files of a test. */
  path(name: string): string {
    mkdirSync(this.folder, { recursive: true });
    return join(this.folder, name);
  }

  /** Prints the last output of every member, for a failed test. */
  printOutput(): void {
    for (const member of this.members) {
      process.stderr.write(`--- ${member.name} (${this.folder}) ---\n${tail(member.output)}\n`);
    }
  }

  /** Ends every process, and removes every file unless `keepFiles`. */
  async destroy(keepFiles = false): Promise<void> {
    for (const member of this.running) member.process.signal("SIGKILL");
    const ends = this.members.flatMap((member) => (member.wasStarted ? [member.process.exited] : []));
    await Promise.all(ends);
    for (const member of this.members) member.client.close();
    if (!keepFiles) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Runs a test with a new cluster. Prints the members' output when the test fails, and always ends them. */
export async function withCluster(
  size: number,
  test: (cluster: ProcessCluster) => Promise<void>,
): Promise<void> {
  const cluster = await ProcessCluster.start(size);
  try {
    await test(cluster);
  } catch (error) {
    cluster.printOutput();
    throw error;
  } finally {
    await cluster.destroy();
  }
}

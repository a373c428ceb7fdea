/**
 * Three etcd members with the same heartbeat, election timeout and snapshot interval as the Muster members; fsync is on.
 *
 * MemberList is linearizable since etcd 3.5. Before that it answers from the member's local state, so a linearizable
 * Range of one value that is as long as Muster's response is compared with our linearizable read.
 */
import { execFileSync } from "node:child_process";
import * as path from "node:path";
import { MemberClient } from "./client";
import { findOnPath, freePorts, MemberProcess, removeFolder, temporaryFolder } from "./processes";
import {
  Contract,
  ELECTION_TIMEOUT_MS,
  endMembers,
  eventually,
  HEARTBEAT_MS,
  type Member,
  SNAPSHOT_ENTRIES,
  soon,
  type System,
} from "./system";

const [KV, CLUSTER, MAINTENANCE] = [
  "etcdserverpb.KV",
  "etcdserverpb.Cluster",
  "etcdserverpb.Maintenance",
] as const;
const WATCH = "etcdserverpb.Watch";
const READ_KEY = Buffer.from("read");
const WRITE_KEY = Buffer.from("write");

/** Lengths of Muster's messages, so that etcd's can be made equally long. Unit: bytes. */
export interface Sizes {
  /** Muster's encoded write request. */
  readonly writeRequest: number;
  /** Muster's encoded response to a read. */
  readonly readAnswer: number;
}

interface StatusAnswer {
  readonly header: { readonly member_id: string } | null;
  readonly leader: string;
}

interface EtcdMember {
  readonly ID: string;
  readonly name: string;
  readonly peerURLs: readonly string[];
  readonly isLearner: boolean;
}

interface AddAnswer {
  readonly member: { readonly ID: string } | null;
}

class EtcdSystem implements System {
  readonly name = "etcd";
  readonly callNames;
  readonly members: readonly Member[];
  readonly calls;
  readonly watch;
  private readonly joined = new Set<Member>();
  private readonly contract = new Contract("rpc.proto", "etcd");

  constructor(
    private readonly file: string,
    readonly version: string,
    private readonly sizes: Sizes,
    private readonly folder: string,
    ports: readonly number[],
  ) {
    this.members = this.planMembers(ports);
    const [major = 0, minor = 0] = version.split(".").map(Number);
    const listsLinearizably = major > 3 || (major === 3 && minor >= 5);
    const read = listsLinearizably ? "MemberList" : "Range";
    this.callNames = { read, serializable: "Range", write: "Put", change: "MemberAdd, MemberRemove" };
    const { contract } = this;
    // Its first answer says that the watch was created. The client's side stays open: etcd ends the stream with it.
    const create = { create_request: { key: WRITE_KEY } };
    const { path: watchPath, body: watchBody } = contract.fixedCall(WATCH, "Watch", create);
    this.watch = { path: watchPath, body: watchBody(0), ends: false };
    // Tags and lengths of key and value take four bytes, the key takes five, and eight are kept for the number.
    const value = "v".repeat(Math.max(1, this.sizes.writeRequest - 4 - 5 - 8));
    this.calls = {
      linearizableRead: listsLinearizably
        ? contract.fixedCall(CLUSTER, "MemberList", { linearizable: true })
        : contract.fixedCall(KV, "Range", { key: READ_KEY }),
      serializableRead: contract.fixedCall(KV, "Range", { key: READ_KEY, serializable: true }),
      write: contract.call(KV, "Put", (n) => ({
        key: WRITE_KEY,
        value: Buffer.from(value + String(n % 100_000_000).padStart(8, "0")),
      })),
    };
  }

  private planMembers(ports: readonly number[]): Member[] {
    const plan = ["e1", "e2", "e3"].map((name, i) => ({
      name,
      client: `http://127.0.0.1:${ports[2 * i] ?? 0}`,
      peer: `http://127.0.0.1:${ports[2 * i + 1] ?? 0}`,
    }));
    const initial = plan.map(({ name, peer }) => `${name}=${peer}`).join(",");
    return plan.map((member) => this.planMember(member, initial, "new"));
  }

  private planMember(
    { name, client, peer }: { name: string; client: string; peer: string },
    initial: string,
    state: "new" | "existing",
  ): Member {
    const args = [
      ...["--name", name, "--data-dir", path.join(this.folder, name)],
      ...["--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
      ...["--initial-cluster", initial, "--initial-cluster-state", state],
      ...["--heartbeat-interval", String(HEARTBEAT_MS), "--election-timeout", String(ELECTION_TIMEOUT_MS)],
      ...["--snapshot-count", String(SNAPSHOT_ENTRIES), "--logger", "zap", "--log-level", "error"],
    ];
    const address = client.slice("http://".length);
    return {
      name,
      address,
      process: new MemberProcess(name, this.file, args, path.join(this.folder, `${name}.log`)),
      client: new MemberClient(address),
    };
  }

  spawn(): void {
    for (const member of this.members) member.process.start();
  }

  async prepare(): Promise<void> {
    const [first] = this.members;
    if (first === undefined) return;
    // Header, key, revisions and tags of the response take about fifty bytes.
    const value = Buffer.alloc(Math.max(1, this.sizes.readAnswer - 50), "v");
    await eventually("etcd: first write", 20_000, () =>
      this.contract.ask(first.client, KV, "Put", { key: READ_KEY, value }),
    );
  }

  async leaderIndex(): Promise<number> {
    for (const [index, { client, process }] of this.members.entries()) {
      if (!process.running) continue;
      const status = await this.contract.ask<StatusAnswer>(client, MAINTENANCE, "Status", {});
      if (status.leader !== "0" && status.leader === status.header?.member_id) return index;
    }
    throw new Error("etcd: no leader");
  }

  async addAndRemove({ client }: Member, n: number): Promise<void> {
    const peerURLs = [`http://127.1.1.1:${10_000 + (n % 50_000)}`];
    const added = await this.contract.ask<{ member: { ID: string } | null }>(client, CLUSTER, "MemberAdd", {
      peerURLs,
    });
    await this.contract.ask(client, CLUSTER, "MemberRemove", { ID: added.member?.ID ?? "0" });
  }

  async join(leader: Member, name: string, dead: Member | null): Promise<Member> {
    const [clientPort = 0, peerPort = 0] = await freePorts(2);
    const peer = `http://127.0.0.1:${peerPort}`;
    const before = await this.list(leader);
    const old = before.find((member) => member.name === dead?.name);
    if (old !== undefined) await this.ask(leader, "MemberRemove", { ID: old.ID });
    const { member } = await this.ask<AddAnswer>(leader, "MemberAdd", { peerURLs: [peer], isLearner: true });
    const id = member?.ID ?? "0";
    const others = before
      .filter(({ ID }) => ID !== old?.ID)
      .map((other) => `${other.name}=${other.peerURLs[0] ?? ""}`);
    const plan = { name, client: `http://127.0.0.1:${clientPort}`, peer };
    const joiner = this.planMember(plan, [...others, `${name}=${peer}`].join(","), "existing");
    this.joined.add(joiner);
    joiner.process.start();
    await soon(() => this.ask(leader, "MemberPromote", { ID: id }));
    await soon(async () => {
      const votes = (await this.list(joiner)).some(({ ID, isLearner }) => ID === id && !isLearner);
      if (!votes) throw new Error(`${name} does not vote yet`);
    });
    return joiner;
  }

  async leave(leader: Member, { name, client, process }: Member): Promise<void> {
    const found = (await this.list(leader)).find((member) => member.name === name);
    await this.ask(leader, "MemberRemove", { ID: found?.ID ?? "0" });
    client.close();
    await process.end("SIGKILL");
  }

  async transferLeadership(leader: Member): Promise<void> {
    const target = this.members.find((member) => member !== leader && member.process.running);
    const id = (await this.list(leader)).find(({ name }) => name === target?.name)?.ID ?? "0";
    const { client } = target ?? leader;
    await this.contract.ask(leader.client, MAINTENANCE, "MoveLeader", { targetID: id });
    await soon(async () => {
      const status = await this.contract.ask<StatusAnswer>(client, MAINTENANCE, "Status", {});
      if (status.leader !== id) throw new Error(`${id} does not lead yet`);
    });
  }

  private ask<T>({ client }: Member, method: string, request: object): Promise<T> {
    return this.contract.ask<T>(client, CLUSTER, method, request);
  }

  private async list(member: Member): Promise<readonly EtcdMember[]> {
    return (await this.ask<{ members: EtcdMember[] }>(member, "MemberList", { linearizable: true })).members;
  }

  async destroy(): Promise<void> {
    await endMembers([...this.members, ...this.joined]);
    removeFolder(this.folder);
  }
}

/** Finds etcd and its version. @throws Error when it is not on PATH */
export function findEtcd(): { readonly file: string; readonly version: string } {
  const file = findOnPath("etcd");
  if (file === null) throw new Error("--peer etcd: there is no etcd on PATH");
  const output = execFileSync(file, ["--version"], { encoding: "utf8", timeout: 10_000 });
  return { file, version: /etcd Version: (\S+)/.exec(output)?.[1] ?? "unknown" };
}

/** A cluster of three members, not started. */
export async function createEtcd(sizes: Sizes): Promise<System> {
  const { file, version } = findEtcd();
  return new EtcdSystem(file, version, sizes, temporaryFolder("etcd"), await freePorts(6));
}

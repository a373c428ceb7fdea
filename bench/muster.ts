/**
 * Three Muster members, each a process that runs dist.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { MemberClient } from "./client";
import { freePorts, MemberProcess, removeFolder, temporaryFolder } from "./processes";
import {
  Contract,
  ELECTION_TIMEOUT_MS,
  endMembers,
  HEARTBEAT_MS,
  type Member,
  soon,
  type System,
} from "./system";

const SERVICE = "muster.v1.MembershipService";
const root = path.resolve(__dirname, "..");

/**
 * A URL of constant length that differs for each of a million numbers. It is on loopback, and nothing listens there.
 */
function changingUrl(n: number): string {
  const part = (shift: number): number => 100 + (Math.floor(n / shift) % 100);
  return `http://127.${part(10_000)}.${part(100)}.${part(1)}:1`;
}

interface ClusterAnswer {
  readonly header: { readonly member_id: string; readonly leader_id: string } | null;
  readonly members: readonly { readonly member: { readonly name: string; readonly id: string } | null }[];
}

interface MembersAnswer {
  readonly members: readonly { readonly name: string; readonly role: string }[];
}

class MusterSystem implements System {
  readonly version: string;
  readonly callNames = {
    read: "GetMembers",
    serializable: "GetMembers",
    write: "UpdateAdminURL",
    change: "AddMember, DeleteMember",
  };
  readonly members: readonly Member[];
  readonly calls;
  readonly watch;
  private readonly initial: string;
  private readonly joined = new Set<Member>();
  private readonly contract = new Contract("muster/v1/membership_service.proto", "../proto");

  /** @param checkout whose build is started */
  constructor(
    readonly name: string,
    private readonly checkout: string,
    private readonly folder: string,
    ports: readonly number[],
  ) {
    const manifest = JSON.parse(fs.readFileSync(path.join(checkout, "package.json"), "utf8")) as {
      version: string;
    };
    this.version = manifest.version;
    const plan = ["n1", "n2", "n3"].map((name, i) => ({
      name,
      adminPort: ports[2 * i] ?? 0,
      peerPort: ports[2 * i + 1] ?? 0,
    }));
    const initial = plan.map(({ name, peerPort }) => `${name}=http://127.0.0.1:${peerPort}`).join(",");
    this.initial = initial;
    this.members = plan.map((member) => this.planMember(member, initial, "new"));
    const { contract } = this;
    const { path: watchPath, body: watchBody } = contract.fixedCall(SERVICE, "WatchMembers", {});
    this.watch = { path: watchPath, body: watchBody(0), ends: true };
    this.calls = {
      linearizableRead: contract.fixedCall(SERVICE, "GetMembers", {
        consistency: "CONSISTENCY_LINEARIZABLE",
      }),
      serializableRead: contract.fixedCall(SERVICE, "GetMembers", {
        consistency: "CONSISTENCY_SERIALIZABLE",
      }),
      write: contract.call(SERVICE, "UpdateAdminURL", (n) => ({ name: "n1", admin_urls: [changingUrl(n)] })),
    };
  }

  private planMember(
    { name, adminPort, peerPort }: { name: string; adminPort: number; peerPort: number },
    initial: string,
    state: "new" | "existing",
  ): Member {
    const args = [
      path.join(this.checkout, "dist", "cli", "main.js"),
      "server",
      ...["--name", name, "--data-dir", path.join(this.folder, name), "--log-level", "warn"],
      ...["--admin-url", `http://127.0.0.1:${adminPort}`, "--peer-url", `http://127.0.0.1:${peerPort}`],
      ...["--initial-cluster", initial, "--initial-cluster-state", state],
      ...["--heartbeat-interval", String(HEARTBEAT_MS), "--election-timeout", String(ELECTION_TIMEOUT_MS)],
    ];
    const address = `127.0.0.1:${adminPort}`;
    return {
      name,
      address,
      process: new MemberProcess(name, process.execPath, args, path.join(this.folder, `${name}.log`)),
      client: new MemberClient(address),
    };
  }

  spawn(): void {
    for (const member of this.members) member.process.start();
  }

  async prepare(): Promise<void> {
    // Nothing to do: the roster exists from the first entry on.
  }

  async leaderIndex(): Promise<number> {
    for (const { client, process } of this.members) {
      if (!process.running) continue;
      const request = { consistency: "CONSISTENCY_LINEARIZABLE" };
      const answer = await this.contract.ask<ClusterAnswer>(client, SERVICE, "GetCluster", request);
      const leader = answer.members.find(({ member }) => member?.id === answer.header?.leader_id)?.member;
      const index = this.members.findIndex(({ name }) => name === leader?.name);
      if (index !== -1) return index;
    }
    throw new Error("muster: no leader");
  }

  async addAndRemove({ client }: Member, n: number): Promise<void> {
    const name = `bench-${n}`;
    await this.contract.ask(client, SERVICE, "AddMember", { name, peer_url: changingUrl(n) });
    await this.contract.ask(client, SERVICE, "DeleteMember", { name });
  }

  async join(leader: Member, name: string, dead: Member | null): Promise<Member> {
    const [adminPort = 0, peerPort = 0] = await freePorts(2);
    const peer = `http://127.0.0.1:${peerPort}`;
    const joiner = this.planMember(
      { name, adminPort, peerPort },
      `${this.initial},${name}=${peer}`,
      "existing",
    );
    this.joined.add(joiner);
    joiner.process.start();
    if (dead === null) await this.contract.ask(leader.client, SERVICE, "AddMember", { name, peer_url: peer });
    else {
      // Another name: the machine is new, and the dead one is not waited for.
      const change = { name: dead.name, new_name: name, peer_url: peer };
      await this.contract.ask(leader.client, SERVICE, "ReplaceMember", change);
    }
    await soon(async () => {
      const request = { consistency: "CONSISTENCY_LINEARIZABLE" };
      const { members } = await this.contract.ask<MembersAnswer>(
        joiner.client,
        SERVICE,
        "GetMembers",
        request,
      );
      const votes = members.some((member) => member.name === name && member.role === "MEMBER_ROLE_VOTER");
      if (!votes) throw new Error(`${name} does not vote yet`);
    });
    return joiner;
  }

  async leave(leader: Member, member: Member): Promise<void> {
    await this.contract.ask(leader.client, SERVICE, "DeleteMember", { name: member.name });
    member.client.close();
    await member.process.end("SIGKILL");
    this.joined.delete(member);
  }

  async transferLeadership(leader: Member): Promise<void> {
    await this.contract.ask(leader.client, SERVICE, "TransferLeadership", {});
  }

  async destroy(): Promise<void> {
    await endMembers([...this.members, ...this.joined]);
    removeFolder(this.folder);
  }
}

/** A cluster of three members, not started. */
export async function createMuster(): Promise<System> {
  return new MusterSystem("muster", root, temporaryFolder("muster"), await freePorts(6));
}

/** The same of another checkout, which must have been built: for a comparison in one run. */
export function createMusterOf(checkout: string): () => Promise<System> {
  if (!fs.existsSync(path.join(checkout, "dist", "cli", "main.js")))
    throw new Error(`${checkout} has no dist/cli/main.js: build it first`);
  return async () => new MusterSystem("other", checkout, temporaryFolder("other"), await freePorts(6));
}

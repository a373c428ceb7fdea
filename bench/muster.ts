/**
 * Three Muster members, each a process that runs dist.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { MemberClient } from "./client";
import { freePorts, MemberProcess, removeFolder, temporaryFolder } from "./processes";
import { Contract, ELECTION_TIMEOUT_MS, endMembers, HEARTBEAT_MS, type Member, type System } from "./system";

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
  private readonly contract = new Contract("muster/v1/membership_service.proto", "../proto");

  /** @param checkout whose build is started */
  constructor(
    readonly name: string,
    checkout: string,
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
    this.members = plan.map(({ name, adminPort, peerPort }) => {
      const args = [
        path.join(checkout, "dist", "cli", "main.js"),
        "server",
        ...["--name", name, "--data-dir", path.join(folder, name), "--log-level", "warn"],
        ...["--admin-url", `http://127.0.0.1:${adminPort}`, "--peer-url", `http://127.0.0.1:${peerPort}`],
        ...["--initial-cluster", initial, "--initial-cluster-state", "new"],
        ...["--heartbeat-interval", String(HEARTBEAT_MS), "--election-timeout", String(ELECTION_TIMEOUT_MS)],
      ];
      const address = `127.0.0.1:${adminPort}`;
      return {
        name,
        address,
        process: new MemberProcess(name, process.execPath, args, path.join(folder, `${name}.log`)),
        client: new MemberClient(address),
      };
    });
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

  async destroy(): Promise<void> {
    await endMembers(this.members);
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

/** `muster dev` with fake processes: what it starts, prints, and leaves on disk. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { status } from "@grpc/grpc-js";
import { MusterError } from "../../src/client";
import type { DevFlags } from "../../src/cli/dev_options";
import { planMembers, welcome } from "../../src/cli/dev_plan";
import type { DevMember } from "../../src/cli/dev_plan";
import { isFree } from "../../src/cli/dev_process";
import type { MemberExit, MemberProcess } from "../../src/cli/dev_process";
import { runDev } from "../../src/cli/run_dev";
import type { DevDeps } from "../../src/cli/run_dev";
import { GetClusterResponse } from "../../src/generated/muster/v1/membership_service";
import { FakeClock } from "../client/support/fake_clock";
import { FakeProcess, muster, until } from "./support/harness";

/** A fake process that ends on a signal or when the test ends it. */
class StandIn implements MemberProcess {
  readonly signals: string[] = [];
  end: (exit: MemberExit) => void = () => undefined;
  readonly exited = new Promise<MemberExit>((resolve) => (this.end = resolve));

  constructor(
    readonly member: DevMember,
    private readonly stubborn: boolean,
  ) {}

  kill(signal: "SIGTERM" | "SIGKILL"): void {
    this.signals.push(signal);
    if (this.stubborn && signal === "SIGTERM") return;
    this.end(signal === "SIGTERM" ? { code: 0, signal: null } : { code: null, signal });
  }
}

/** A clock whose long sleeps end only when they are cancelled or when the test advances the time. */
class StopClock extends FakeClock {
  passStopTimeout: () => void = () => undefined;

  override sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms < 1000) return super.sleep(ms);
    return new Promise((resolve) => {
      this.passStopTimeout = resolve;
      signal?.addEventListener("abort", () => {
        resolve();
      });
    });
  }
}

class World {
  readonly io = new FakeProcess();
  readonly clock = new StopClock();
  readonly spawned: StandIn[] = [];
  readonly busy = new Set<number>();
  stubborn = false;
  closed = 0;
  answer: () => GetClusterResponse = () => this.cluster();
  readonly deps: DevDeps = {
    spawn: (member) => {
      const process = new StandIn(member, this.stubborn);
      this.spawned.push(process);
      return process;
    },
    isFree: (port) => Promise.resolve(!this.busy.has(port)),
    newClient: () => ({
      // Each call takes a turn of the event loop, like a real one.
      getCluster: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        return this.answer();
      },
      close: () => {
        this.closed++;
      },
    }),
    clock: this.clock,
    command: "muster",
  };

  run(flags: Partial<DevFlags> = {}): Promise<number> {
    return runDev({ nodes: 3, basePort: 7460, ...flags }, this.io, this.deps);
  }

  cluster(reachable = true): GetClusterResponse {
    const members = this.spawned.map(({ member }, i) => ({
      member: {
        id: `a${String(i + 1)}`,
        name: member.name,
        peerUrls: [member.peerUrl],
        adminUrls: [member.adminUrl],
        role: 1 as const,
        started: true,
      },
      isLeader: i === 0,
      reachable,
    }));
    const header = { clusterId: "c1", memberId: "a1", revision: 5n, raftTerm: 2n, leaderId: "a1" };
    return GetClusterResponse.create({ header, members, quorumSize: 2, failuresTolerated: 1 });
  }

  async welcomed(): Promise<void> {
    await until(() => this.io.out.includes("Ctrl-C"));
  }
}

let world: World;
let directory: string;

beforeEach(() => {
  world = new World();
  directory = mkdtempSync(join(tmpdir(), "muster-test-"));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

test("the ports of successive members differ by ten, and initial-cluster lists all of them", () => {
  const [n1, n2, n3] = planMembers(3, 9000, "/data");
  expect([n1?.adminPort, n1?.peerPort, n2?.adminPort, n2?.peerPort, n3?.adminPort, n3?.peerPort]).toEqual([
    9000, 9001, 9010, 9011, 9020, 9021,
  ]);
  expect(n2?.args.join(" ")).toBe(
    "server --name n2 --admin-url http://127.0.0.1:9010 --peer-url http://127.0.0.1:9011 --data-dir /data/n2 " +
      "--initial-cluster n1=http://127.0.0.1:9001,n2=http://127.0.0.1:9011,n3=http://127.0.0.1:9021",
  );
});

test("prints the cluster, its leader and example calls at a follower; Ctrl-C stops every member once: exit code 0", async () => {
  const code = world.run();
  await world.welcomed();
  const { out } = world.io;
  expect(out).toContain("leader: n1 (a1) at http://127.0.0.1:7460\n");
  expect(out.slice(out.indexOf("from another terminal"))).toBe(`from another terminal:
  muster member list --endpoints 127.0.0.1:7470
  muster cluster --output json --endpoints 127.0.0.1:7470
  muster member add n4 --peer-url http://127.0.0.1:7491 --endpoints 127.0.0.1:7470
  muster member remove n4 --endpoints 127.0.0.1:7470

  npx buf curl --protocol grpc --http2-prior-knowledge http://127.0.0.1:7470/muster.v1.MembershipService/GetMembers
  npx buf curl --protocol grpc --http2-prior-knowledge -d '{"name":"n4","peerUrl":"http://127.0.0.1:7491","validateOnly":true}' http://127.0.0.1:7470/muster.v1.MembershipService/AddMember

  grpcurl -plaintext 127.0.0.1:7470 muster.v1.MembershipService/GetMembers

Ctrl-C stops the cluster.
`);
  const dataDir = dirname(world.spawned[0]?.member.logFile ?? "");
  expect(existsSync(dataDir)).toBe(true);
  expect(world.io.err).toBe(`data and logs: ${dataDir} (removed at exit)\n`);
  world.io.signal("SIGINT");
  expect(await code).toBe(0);
  expect(world.spawned.map((process) => process.signals)).toEqual([["SIGTERM"], ["SIGTERM"], ["SIGTERM"]]);
  expect(existsSync(dataDir)).toBe(false);
  expect([world.io.listening("SIGINT"), world.closed > 0]).toEqual([0, true]);
});

test("a single member: prints the same calls, and no --endpoints when the default is right", async () => {
  const code = world.run({ nodes: 1 });
  await world.welcomed();
  const calls = ["member list", "cluster --output json", "member add n2 --peer-url http://127.0.0.1:7471"];
  expect(world.io.out).toContain(calls.map((call) => `\n  muster ${call}`).join(""));
  world.io.signal("SIGTERM");
  expect(await code).toBe(0);
});

test("waits until every member is in contact", async () => {
  let answers = 0;
  world.answer = () => {
    answers++;
    if (answers === 1) throw new MusterError({ code: status.UNAVAILABLE, message: "not yet" });
    return world.cluster(answers > 2);
  };
  const code = world.run();
  await world.welcomed();
  expect([answers, world.clock.sleeps]).toEqual([3, [100, 100]]);
  world.io.signal("SIGINT");
  await code;
});

test("a member that ends is not restarted, and its last output is printed", async () => {
  const code = world.run({ dataDir: directory });
  await world.welcomed();
  const [one, two, three] = world.spawned;
  if (one === undefined || two === undefined || three === undefined)
    throw new Error("three members were started");
  writeFileSync(two.member.logFile, '{"msg":"started"}\n{"level":50,"msg":"removed from the cluster"}\n');
  two.end({ code: 1, signal: null });
  await until(() => world.io.err.includes("n2"));
  expect(world.io.err).toContain("muster: n2 ended: exit code 1; its last words: removed from the cluster\n");
  writeFileSync(three.member.logFile, "Killed\n");
  three.end({ code: null, signal: "SIGKILL" });
  one.end({ code: null, signal: null, error: "spawn ENOENT" });
  expect(await code).toBe(1);
  expect(world.io.err).toContain("muster: n3 ended: SIGKILL; its last words: Killed\n");
  expect(world.io.err).toContain("muster: n1 ended: spawn ENOENT\n");
  expect(world.io.err).toMatch(/muster: all members have ended\n$/);
  expect(world.spawned).toHaveLength(3);
});

test("all members end before the cluster answers: exit code 1, no start message", async () => {
  world.answer = () => {
    for (const process of world.spawned) process.end({ code: 2, signal: null });
    throw new MusterError({ code: status.UNAVAILABLE, message: "nobody" });
  };
  expect(await world.run()).toBe(1);
  expect(world.io.out).toBe("");
});

test("a cluster that never answers is stopped: exit code 1", async () => {
  world.answer = () => {
    throw new MusterError({ code: status.UNAVAILABLE, message: "nobody leads" });
  };
  expect(await world.run()).toBe(1);
  expect(world.io.err).toContain("muster: the cluster does not answer: nobody leads\n");
  expect(world.spawned.map((process) => process.signals)).toEqual([["SIGTERM"], ["SIGTERM"], ["SIGTERM"]]);
});

test("a second Ctrl-C kills what has not stopped: exit code 130", async () => {
  world.stubborn = true;
  const code = world.run();
  await world.welcomed();
  world.io.signal("SIGINT");
  await until(() => world.spawned.every((process) => process.signals.length === 1));
  world.io.signal("SIGINT");
  expect(await code).toBe(130);
  expect(world.spawned.map((process) => process.signals[1])).toEqual(["SIGKILL", "SIGKILL", "SIGKILL"]);
});

test("members that do not stop in time are killed, and named", async () => {
  world.stubborn = true;
  const code = world.run({ nodes: 2 });
  await world.welcomed();
  world.io.signal("SIGTERM");
  await until(() => world.spawned.every((process) => process.signals.length === 1));
  world.clock.passStopTimeout();
  expect(await code).toBe(1);
  expect(world.io.err).toContain("muster: n1, n2 did not stop in time: killed\n");
});

test("Ctrl-C while the cluster is starting", async () => {
  world.answer = () => {
    world.io.signal("SIGINT");
    throw new MusterError({ code: status.CANCELLED, message: "closed" });
  };
  expect(await world.run()).toBe(0);
  expect(world.io.out).toBe("");
});

describe("before anything is started", () => {
  test("a port in use is one line, exit code 1", async () => {
    world.busy.add(7471);
    expect(await world.run()).toBe(1);
    expect(world.io.err).toBe(
      "muster: port 7471 (n2, peer) is in use: stop what listens there, or give another --base-port\n",
    );
    expect(world.spawned).toEqual([]);
  });

  test("the check for free ports binds real ports", async () => {
    const socket = createServer();
    await new Promise<void>((resolve) => socket.listen(0, "127.0.0.1", resolve));
    const { port } = socket.address() as AddressInfo;
    expect(await isFree(port)).toBe(false);
    const { code, err } = await muster(["dev", "--base-port", String(port)]);
    expect([code, err]).toEqual([
      1,
      expect.stringContaining(`muster: port ${String(port)} (n1, admin) is in use`),
    ]);
    await new Promise((resolve) => socket.close(resolve));
    expect(await isFree(port)).toBe(true);
  });

  test("a data directory is kept, and used again only with the flags of its first start", async () => {
    const dataDir = join(directory, "new", "cluster");
    const first = world.run({ dataDir });
    await world.welcomed();
    world.io.signal("SIGINT");
    expect(await first).toBe(0);
    expect(readFileSync(join(dataDir, "muster-dev.json"), "utf8")).toBe('{"nodes":3,"basePort":7460}\n');

    world = new World();
    expect(await world.run({ dataDir, nodes: 5 })).toBe(2);
    expect(world.io.err).toContain('holds the cluster {"nodes":3,"basePort":7460}: start it with the same');
    expect(world.spawned).toEqual([]);

    world = new World();
    const again = world.run({ dataDir });
    await world.welcomed();
    world.io.signal("SIGINT");
    expect(await again).toBe(0);
  });
});

test("the start message of a cluster without a leader has no leader's address", () => {
  const cluster = GetClusterResponse.create({ header: { clusterId: "c1" }, members: [] });
  expect(welcome(cluster, planMembers(3, 7460, ""), "muster")).toContain("\nleader: -\n");
});

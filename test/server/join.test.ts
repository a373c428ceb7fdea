/** A member adds itself to a running cluster: one thing a round, from wherever an earlier try stopped. */
import { RETRY, UNKNOWN } from "../../src/base/outcome";
import { MemberTarget } from "../../src/generated/muster/v1/member";
import type { JoinConfig } from "../../src/server/config";
import { StartRefusedError } from "../../src/server/errors";
import { joinByItself } from "../../src/server/join";
import type { Reason } from "../../src/roster/index";
import { readDataDirState } from "../../src/storage/data_dir";
import type { PeerAddress } from "../../src/transport/transport";
import { ManualClock } from "../base/support/manual_clock";
import { settle } from "../base/support/until";
import { DeterministicRandom } from "../cluster/support/deterministic_random";
import { ListLog } from "../replica/support/list_log";
import { CrashFs } from "../storage/support/crash_fs";
import { FakeCluster, adminUrlOf, peerUrlOf, refusal } from "./support/fake_cluster";

const DIR = "/data";
const CONFIG = {
  name: "n4",
  adminUrl: adminUrlOf("n4"),
  peerUrl: peerUrlOf("n4"),
  initialCluster: [],
  dataDir: DIR,
  electionMs: 1000,
};

/** A joiner in a world of its own. */
class World {
  readonly cluster = new FakeCluster();
  readonly clock = new ManualClock();
  readonly log = new ListLog();
  readonly fs = new CrashFs();
  stopped = false;
  others: readonly PeerAddress[] | null = null;
  error: unknown = null;

  constructor(
    private readonly join: Partial<JoinConfig> = {},
    private readonly config: Partial<typeof CONFIG> = {},
  ) {}

  /** Starts a process of the member. */
  start(seed = 1): void {
    const config = { ...CONFIG, ...this.config };
    const join = {
      urls: [adminUrlOf("n1"), peerUrlOf("n2")],
      target: "voter",
      replaceIfWiped: false,
      ...this.join,
    } as const;
    const { cluster: peers, clock, log, fs } = this;
    const random = new DeterministicRandom(seed);
    const deps = {
      peers,
      clock,
      log,
      fs,
      random,
      wal: {},
      stopped: () => this.stopped,
      onJoining: () => undefined,
    };
    joinByItself({ ...config, join }, join, deps).then(
      (others) => (this.others = others),
      (error: unknown) => (this.error = error),
    );
  }

  /** Lets rounds happen until the joiner has ended, or the condition holds. */
  async rounds(until: () => boolean = () => false): Promise<void> {
    for (let i = 0; i < 400; i++) {
      await settle();
      if (this.others !== null || this.error !== null || until()) return;
      this.clock.advance(100);
    }
    throw new Error(`nothing came of it: ${this.log.texts.join("; ")}`);
  }

  async joined(): Promise<void> {
    await this.rounds();
    expect(this.error).toBeNull();
    const own = this.cluster.member(this.config.name ?? "n4");
    const state = await readDataDirState(this.fs, DIR);
    expect(typeof state === "string" ? state : state.identity).toMatchObject({
      clusterId: 0xc1n,
      memberId: BigInt(`0x${own?.id ?? "0"}`),
    });
    expect(this.others?.map(({ id }) => id)).toEqual(
      this.cluster.members.filter((member) => member !== own).map(({ id }) => BigInt(`0x${id}`)),
    );
  }

  /** The error with which the start ended. */
  async refused(): Promise<StartRefusedError> {
    await this.rounds();
    expect(this.error).toBeInstanceOf(StartRefusedError);
    expect(await readDataDirState(this.fs, DIR)).toBe("absent");
    const error = this.error as StartRefusedError;
    expect(error.message).not.toContain("\n");
    return error;
  }

  get rpcs(): string[] {
    return this.cluster.changes.map(({ rpc }) => rpc);
  }

  said(part: string): boolean {
    return this.log.texts.some((text) => text.includes(part));
  }
}

test("it adds itself at the leader, which need not be one of the addresses, and takes the id", async () => {
  const world = new World();
  world.cluster.leader = "n3";
  world.start();
  await world.joined();
  expect(world.cluster.changes).toMatchObject([{ rpc: "AddMember", url: peerUrlOf("n3"), attempt: "1" }]);
  expect(world.cluster.requests).toMatchObject([
    {
      request: {
        name: "n4",
        peerUrl: CONFIG.peerUrl,
        adminUrl: CONFIG.adminUrl,
        target: MemberTarget.UNSPECIFIED,
      },
    },
  ]);
});

test.each([
  ["learner", MemberTarget.LEARNER],
  ["standby", MemberTarget.STANDBY],
] as const)("target %s", async (target, wanted) => {
  const world = new World({ target });
  world.start();
  await world.joined();
  expect(world.cluster.requests).toMatchObject([{ request: { target: wanted } }]);
});

test("addresses of initial-cluster are asked too, its own are not", async () => {
  const world = new World(
    { urls: [CONFIG.adminUrl, CONFIG.peerUrl] },
    { initialCluster: [CONFIG, { name: "n3", peerUrl: peerUrlOf("n3") }] as never },
  );
  world.start();
  await world.joined();
  expect(new Set(world.cluster.asked)).toEqual(new Set(["n1", "n2", "n3"].map(peerUrlOf)));
});

describe("waiting", () => {
  test("until one of the addresses answers, with a line once in a while and pauses that grow", async () => {
    const world = new World();
    world.cluster.down.add(adminUrlOf("n1")).add(peerUrlOf("n2"));
    world.start();
    const lines = (): number =>
      world.log.texts.filter((text) => text.includes("none of n1:7460, n2:7461 answers")).length;
    await world.rounds(() => lines() === 3);
    expect(world.clock.now()).toBeGreaterThanOrEqual(20_000);
    expect(world.clock.now()).toBeLessThan(25_000);
    // Two addresses a round; the pause is half a second at least once it has grown.
    expect(world.cluster.asked.length / 2).toBeLessThan(45);
    world.cluster.down.clear();
    await world.joined();
  });

  test("for a leader, and for a quorum", async () => {
    const world = new World();
    world.cluster.leader = null;
    world.start();
    await world.rounds(() => world.said("knows a leader"));
    expect(world.rpcs).toEqual([]);
    [world.cluster.leader, world.cluster.quorum] = ["n2", false];
    await world.rounds(() => world.said("no quorum"));
    world.cluster.quorum = true;
    await world.joined();
  });

  test("members that it learned of are asked when the given ones are gone", async () => {
    const world = new World({ urls: [adminUrlOf("n1")] });
    world.cluster.leader = null;
    world.start();
    await world.rounds(() => world.said("knows a leader"));
    world.cluster.down.add(adminUrlOf("n1")).add(peerUrlOf("n1"));
    world.cluster.leader = "n3";
    await world.joined();
  });

  test("a leader that can't be reached, and one that does not lead any more", async () => {
    const world = new World();
    world.cluster.down.add(peerUrlOf("n1"));
    world.start();
    // At its admin URL it answers.
    await world.joined();
    expect(world.cluster.changes).toMatchObject([{ url: adminUrlOf("n1") }]);
  });

  test.each<Reason>(["NO_LEADER", "SERVER_STOPPING", "TOO_MANY_REQUESTS", "DISK_FULL", "NOT_PROPOSED"])(
    "%s is retried, as the same attempt",
    async (reason) => {
      const world = new World();
      const rest = [refusal(reason), refusal(reason)];
      world.cluster.disturb = () => rest.pop() ?? null;
      world.start();
      await world.joined();
      expect(world.rpcs).toEqual(["AddMember", "AddMember", "AddMember"]);
      expect(new Set(world.cluster.changes.map(({ requestId }) => requestId)).size).toBe(1);
      expect(world.cluster.changes.map(({ attempt }) => attempt)).toEqual(["1", "1", "1"]);
      expect(world.said(`refused: ${reason}`)).toBe(true);
    },
  );

  test("it ends when the process is stopped", async () => {
    const world = new World();
    world.cluster.leader = null;
    world.start();
    await world.rounds(() => world.said("knows a leader"));
    world.stopped = true;
    expect((await world.refused()).message).toContain("stopped");
  });
});

describe("an attempt of unknown outcome", () => {
  test.each([
    ["a lost answer", UNKNOWN],
    ["OUTCOME_UNKNOWN", refusal("OUTCOME_UNKNOWN")],
  ])("%s, not done: repeated with the same request id, and it says so", async (_what, outcome) => {
    const world = new World();
    const rest = [outcome];
    world.cluster.disturb = () => rest.pop() ?? null;
    world.start();
    await world.joined();
    const [first, second] = world.cluster.changes;
    expect(world.cluster.changes).toHaveLength(2);
    expect([first?.attempt, second?.attempt]).toEqual(["1", "2"]);
    expect(second?.requestId).toBe(first?.requestId);
  });

  test("a lost answer, done: the next round finds itself listed", async () => {
    const world = new World();
    const rest = [UNKNOWN];
    world.cluster.disturb = (_rpc, apply) => {
      apply();
      return rest.pop() ?? null;
    };
    world.start();
    await world.joined();
    expect(world.rpcs).toEqual(["AddMember"]);
    expect(world.cluster.members.filter(({ name }) => name === "n4")).toHaveLength(1);
  });

  test("nothing was sent: the same request id, and no repeat", async () => {
    const world = new World();
    const rest = [RETRY];
    world.cluster.disturb = () => rest.pop() ?? null;
    world.start();
    await world.joined();
    expect(world.cluster.changes.map(({ attempt }) => attempt)).toEqual(["1", "1"]);
  });
});

describe("where an earlier try stopped", () => {
  test("listed with this URL: it goes on with that id", async () => {
    const world = new World();
    world.cluster.add("n4", CONFIG.peerUrl);
    world.start();
    await world.joined();
    expect(world.rpcs).toEqual([]);
  });

  test("killed between AddMember and the data directory: the next process takes the id", async () => {
    const world = new World();
    world.cluster.disturb = (_rpc, apply) => {
      apply();
      world.stopped = true;
      return UNKNOWN;
    };
    world.start();
    await world.refused();
    [world.stopped, world.error] = [false, null];
    world.cluster.disturb = () => null;
    world.start(2);
    await world.joined();
    expect(world.rpcs).toEqual(["AddMember"]);
  });

  test("listed with another URL, where nobody answers: it corrects it", async () => {
    const world = new World();
    world.cluster.add("n4", "http://wrong:7461");
    const id = world.cluster.member("n4")?.id;
    world.start();
    await world.joined();
    expect(world.rpcs).toEqual(["UpdateMember"]);
    expect(world.cluster.member("n4")).toMatchObject({ id, peerUrl: CONFIG.peerUrl });
  });

  test("listed with another URL, where a process of the same name waits to join: refused", async () => {
    const world = new World();
    world.cluster.add("n4", "http://twin:7461");
    world.cluster.waiting.set("http://twin:7461", "n4");
    world.start();
    const error = await world.refused();
    expect(error.message).toContain("another process is, or joins as, n4");
    expect(error.message).toContain("http://twin:7461");
    expect(error.wiped).toBe(false);
    expect(world.rpcs).toEqual([]);
  });

  test("another process of the same name is faster: refused, and one member", async () => {
    const world = new World();
    let first = true;
    world.cluster.disturb = () => {
      if (first) world.cluster.add("n4", "http://twin:7461");
      first = false;
      return null;
    };
    world.cluster.waiting.set("http://twin:7461", "n4");
    world.start();
    expect((await world.refused()).message).toContain("another process");
    expect(world.cluster.members.filter(({ name }) => name === "n4")).toHaveLength(1);
  });

  test("removed by an operator before it took the id: it adds itself anew, as another request", async () => {
    const world = new World();
    let removed = false;
    world.cluster.disturb = (_rpc, apply) => {
      if (removed) return null;
      removed = true;
      apply();
      world.cluster.members = world.cluster.members.filter(({ name }) => name !== "n4");
      return UNKNOWN;
    };
    world.start();
    await world.joined();
    const ids = world.cluster.changes.map(({ requestId }) => requestId);
    expect([ids.length, new Set(ids).size, ids[0] === ids[1]]).toEqual([3, 2, true]);
  });
});

describe("a member whose disk is lost", () => {
  const COMMAND = "muster member replace n2 --endpoints n1:7460,n3:7460";
  const OF_N2 = { name: "n2", adminUrl: adminUrlOf("n2"), peerUrl: peerUrlOf("n2") };
  const lost = (join: Partial<JoinConfig> = {}): World => {
    const world = new World({ urls: ["n1", "n3"].map(adminUrlOf), ...join }, OF_N2);
    world.cluster.down.add(peerUrlOf("n2")).add(adminUrlOf("n2"));
    return world;
  };

  test("is refused with the command that replaces it, for good", async () => {
    const world = lost();
    world.start();
    const error = await world.refused();
    expect(error.message).toContain(COMMAND);
    expect(error.wiped).toBe(true);
  });

  test("replaced by that command it goes on", async () => {
    const world = lost();
    world.cluster.members = world.cluster.members.filter(({ name }) => name !== "n2");
    world.cluster.add("n2", peerUrlOf("n2"));
    world.start();
    await world.joined();
  });

  test("with replace-if-wiped it replaces itself, once it is out of contact", async () => {
    const world = lost({ replaceIfWiped: true });
    const rest = [
      refusal("MEMBER_IN_CONTACT", "still in contact"),
      refusal("UNHEALTHY_CLUSTER", "not healthy"),
    ];
    world.cluster.disturb = () => rest.pop() ?? null;
    world.start();
    await world.joined();
    expect(world.rpcs).toEqual(["ReplaceMember", "ReplaceMember", "ReplaceMember"]);
    // A refusal may be remembered under the request id.
    expect(new Set(world.cluster.changes.map(({ requestId }) => requestId)).size).toBe(3);
    expect([world.said("waiting to join: still in contact"), world.said("not healthy")]).toEqual([
      true,
      true,
    ]);
    expect(world.cluster.requests.at(-1)).toMatchObject({
      request: { id: "2", name: "n2", newName: "", peerUrl: "", adminUrl: adminUrlOf("n2") },
    });
    expect(world.cluster.member("n2")?.id).not.toBe("2");
  });

  test.each([true, false])(
    "that was met and never published, replace-if-wiped %p",
    async (replaceIfWiped) => {
      const world = new World({ replaceIfWiped });
      world.cluster.add("n4", CONFIG.peerUrl);
      const id = world.cluster.member("n4")?.id ?? "";
      world.cluster.met.add(id);
      world.start();
      if (replaceIfWiped) {
        await world.joined();
        expect(world.rpcs).toEqual(["ReplaceMember"]);
      } else
        expect((await world.refused()).message).toContain(
          "muster member replace n4 --endpoints n1:7460,n2:7460,n3:7460",
        );
    },
  );

  test.each([true, false])(
    "the name of a member elsewhere is refused, replace-if-wiped %p",
    async (replaceIfWiped) => {
      const world = new World({ replaceIfWiped }, { ...OF_N2, peerUrl: "http://elsewhere:7461" });
      world.start();
      const error = await world.refused();
      expect(error.message).toContain("n2 (2) is a member already, at http://n2:7461: choose another name");
      expect(error.wiped).toBe(false);
      expect(world.rpcs).toEqual([]);
    },
  );
});

describe("refusals that will not change end it", () => {
  test.each<Reason>([
    "TOO_MANY_LEARNERS",
    "FEATURE_NOT_READY",
    "CLUSTER_ID_MISMATCH",
    "INVALID_REQUEST",
    "PEER_URL_EXISTS",
    "LAST_VOTER",
    "REPLACEMENT_UNDER_WAY",
  ])("%s", async (reason) => {
    const world = new World();
    world.cluster.disturb = () => refusal(reason);
    world.start();
    expect((await world.refused()).message).toContain(`refused: ${reason} (${reason})`);
    expect(world.rpcs).toHaveLength(1);
  });

  test("addresses of two clusters", async () => {
    const world = new World({ urls: [adminUrlOf("n1"), "http://other:7461"] });
    world.cluster.others.set("http://other:7461", "c2");
    world.start();
    const { message } = await world.refused();
    expect(message).toContain("n1:7460 of c1, other:7461 of c2 (CLUSTER_ID_MISMATCH)");
  });
});

/** A refusal that was answered after an attempt of unknown outcome holds for that attempt too, whenever it arrives. */
import { UNKNOWN } from "../../src/base/outcome";
import type { Call } from "../../src/base/call";
import { OpenCall } from "../../src/base/call";
import { ATTEMPT_KEY, Attempts, BASE_KEY } from "../../src/cluster/attempts";
import { decided } from "../../src/cluster/leader/submission";
import { CommandKind, decodeCommand, publishCommand } from "../../src/roster/index";
import type { RosterCommand } from "../../src/roster/index";
import type { PeerRequest } from "../../src/transport/peer_calls";
import { adminUrls, envelope, publish, remove, request } from "../roster/support/log";
import { MemoryCluster, adminUrlOf } from "./support/memory_cluster";
import type { TestCallOptions } from "./support/test_calls";
import { callOf, why, writeOf } from "./support/test_calls";

const REPEATED: TestCallOptions = { headers: [[ATTEMPT_KEY, "2"]] };

const removal = (): RosterCommand => remove({ id: 2n }, "", request("late"));

/** Member 1 leads; member 3 is cut off, so that the removal of member 2 is refused. */
async function unhealthy(): Promise<MemoryCluster> {
  const cluster = await new MemoryCluster().startLedBy(1);
  cluster.network.isolate(3n);
  await cluster.run(30);
  return cluster;
}

async function heal(cluster: MemoryCluster): Promise<void> {
  cluster.network.heal();
  await cluster.run(60);
}

async function outcomeOf(
  cluster: MemoryCluster,
  n: number,
  command: RosterCommand,
  options: TestCallOptions & { readonly validateOnly?: boolean } = {},
): Promise<string> {
  const { tracked } = cluster.write(n, command, options);
  for (let tick = 0; tracked.state === "open" && tick < 200; tick++) await cluster.run(1);
  return tracked.state === "done" ? "done" : why(tracked.error);
}

const hasMember2 = (cluster: MemoryCluster): boolean => cluster.roster().some(({ id }) => id === 2n);

describe("an early refusal", () => {
  test.each([1, 2])(
    "of a repeated attempt at member %d is logged: the late first attempt gets it too",
    async (n) => {
      const cluster = await unhealthy();
      const { lastIndex } = cluster.leader().replica;
      expect(await outcomeOf(cluster, n, removal(), REPEATED)).toBe("UNHEALTHY_CLUSTER");
      expect(cluster.leader().replica.lastIndex).toBe(lastIndex + 1);
      await heal(cluster);
      expect(await outcomeOf(cluster, 1, removal())).toBe("UNHEALTHY_CLUSTER");
      expect(hasMember2(cluster)).toBe(true);
      // Another request id is another request.
      expect(await outcomeOf(cluster, 1, remove({ id: 2n }, "", request("next")))).toBe("done");
    },
  );

  test("of an only attempt is not: nothing of it can arrive later", async () => {
    const cluster = await unhealthy();
    const { lastIndex } = cluster.leader().replica;
    expect(await outcomeOf(cluster, 2, removal())).toBe("UNHEALTHY_CLUSTER");
    expect(cluster.leader().replica.lastIndex).toBe(lastIndex);
    await heal(cluster);
    expect(await outcomeOf(cluster, 1, removal())).toBe("done");
  });

  test("after a forwarded attempt that was lost on its way is logged", async () => {
    const cluster = await unhealthy();
    const lost: PeerRequest[] = [];
    const { peers } = cluster.member(2);
    peers.answer = (_url, sent) => {
      lost.push(sent);
      peers.answer = null;
      return Promise.resolve(UNKNOWN);
    };
    expect(await outcomeOf(cluster, 2, removal())).toBe("UNHEALTHY_CLUSTER");
    await heal(cluster);
    // What was lost arrives at the leader at last.
    const [late] = lost;
    if (late === undefined) throw new Error("nothing was forwarded");
    const call = callOf(cluster.clock, { mayForward: false });
    const arrived = cluster.leader().writes.execute(writeOf(decodeCommand(late.body)), call);
    const refusal = arrived.then(() => "done", why);
    await cluster.run(5);
    expect(await refusal).toBe("UNHEALTHY_CLUSTER");
    expect(hasMember2(cluster)).toBe(true);
  });

  test("for a reason of the roster is logged as well", async () => {
    const cluster = await unhealthy();
    const unknown = remove({ name: "n9" }, "", request("late"));
    expect(await outcomeOf(cluster, 2, unknown, REPEATED)).toBe("MEMBER_NOT_FOUND");
    const outcome = cluster.leader().rosterMachine.roster.outcome("late");
    expect(outcome).toMatchObject({ accepted: false, refusal: { reason: "MEMBER_NOT_FOUND" } });
  });

  test("of a dry run is not logged", async () => {
    const cluster = await unhealthy();
    const { lastIndex } = cluster.leader().replica;
    const dry = { ...REPEATED, validateOnly: true };
    expect(await outcomeOf(cluster, 1, removal(), dry)).toBe("UNHEALTHY_CLUSTER");
    expect(cluster.leader().replica.lastIndex).toBe(lastIndex);
  });

  test("that a member of version 0.1 could not read is not logged, and the outcome stays unknown", async () => {
    const cluster = await unhealthy();
    const facts = {
      id: 2n,
      instanceId: new Uint8Array(16).fill(2),
      adminUrls: [adminUrlOf(2)],
      version: "0.1.0",
    };
    await cluster.write(1, publishCommand(envelope(), facts)).settled();
    const { lastIndex } = cluster.leader().replica;
    for (const n of [1, 2])
      expect(await outcomeOf(cluster, n, removal(), { ...REPEATED, timeoutMs: 5000 })).toBe(
        "OUTCOME_UNKNOWN",
      );
    expect(cluster.leader().replica.lastIndex).toBe(lastIndex);
  });
});

test("a repeated attempt of a write that was done gets its outcome", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  expect(await outcomeOf(cluster, 1, removal())).toBe("done");
  expect(await outcomeOf(cluster, 1, removal(), REPEATED)).toBe("done");
  expect(await outcomeOf(cluster, 3, remove({ id: 2n }, "", request("other")), REPEATED)).toBe(
    "MEMBER_REMOVED",
  );
});

test("a repeated publish that changes nothing is logged, so that a late one can't undo a later change", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  const { lastIndex } = cluster.leader().replica;
  const same: RosterCommand = { ...publish(2), requestId: "p" };
  expect(await outcomeOf(cluster, 1, same, REPEATED)).toBe("done");
  expect(cluster.leader().replica.lastIndex).toBe(lastIndex + 1);
  expect(await outcomeOf(cluster, 1, adminUrls({ id: 2n }, ["http://later:1"]))).toBe("done");
  expect(await outcomeOf(cluster, 1, same)).toBe("done");
  expect(cluster.roster().find(({ id }) => id === 2n)?.adminUrls).toEqual(["http://later:1"]);
});

describe("a request id that this member drew", () => {
  /** What the leader logs of a write without a request id that member `n` takes. */
  async function logged(cluster: MemoryCluster, n: number): Promise<RosterCommand> {
    const { writes } = cluster.member(n);
    const write = writeOf(adminUrls({ id: 2n }, ["http://drawn:1"], request("drawn")));
    await Promise.all([
      writes.execute({ ...write, drewRequestId: true }, callOf(cluster.clock)),
      cluster.run(5),
    ]);
    const { storage, replica } = cluster.leader();
    const entries = storage.entries(replica.lastIndex, replica.lastIndex + 1, Infinity);
    if (typeof entries === "string" || entries[0] === undefined) throw new Error("the log can't be read");
    return decodeCommand(entries[0].data);
  }

  test.each([1, 2])("is marked in the command, with what member %d had applied", async (n) => {
    const cluster = await new MemoryCluster().startLedBy(1);
    const { applied } = cluster.member(n).replica;
    expect(await logged(cluster, n)).toMatchObject({ generatedRequestId: true, requestBase: applied });
  });

  test("is marked as repeated after a lost forward, with what was applied before that", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    const { peers, replica } = cluster.member(2);
    const { applied } = replica;
    peers.answer = async () => {
      peers.answer = null;
      await cluster.write(1, adminUrls({ id: 3n }, ["http://between:1"])).settled();
      return UNKNOWN;
    };
    expect(await logged(cluster, 2)).toMatchObject({
      kind: CommandKind.UPDATE_ADMIN_URLS,
      generatedRequestId: false,
      requestBase: applied,
    });
  });
});

describe("the headers of attempts", () => {
  const call = (...headers: [string, string][]): Call => {
    const { deadline } = callOf({ now: () => 0, setTimeout: () => ({ cancel: () => undefined }) });
    return new OpenCall({ method: "Test", deadline, headers: () => new Map(headers) });
  };
  const never: [string, string] = ["muster-forward", "never"];

  test("come before the caller's, which keep their values", () => {
    const attempts = new Attempts(call(["traceparent", "t"], ["muster-x", "y"], [ATTEMPT_KEY, "7"]), true);
    attempts.begin(12);
    expect([...attempts.forwarded().headers]).toEqual([
      [ATTEMPT_KEY, "7"],
      [BASE_KEY, "12"],
      ["traceparent", "t"],
      ["muster-x", "y"],
    ]);
  });

  test("name the base of the first attempt of unknown outcome", () => {
    const attempts = new Attempts(call(), true);
    const base = (): string | undefined => attempts.forwarded().headers.get(BASE_KEY);
    attempts.begin(12);
    expect(base()).toBe("12");
    attempts.begin(13);
    expect(base()).toBe("13");
    attempts.ambiguous = true;
    attempts.begin(14);
    expect(base()).toBe("13");
    expect(attempts.forwarded().headers.get(ATTEMPT_KEY)).toBe("2");
  });

  test.each<[string, Call, boolean, object]>([
    ["a client can't say that a member drew its id", call([BASE_KEY, "3"]), false, {}],
    [
      "a member that forwards can",
      call([BASE_KEY, "3"], never),
      false,
      { generatedRequestId: true, requestBase: 3 },
    ],
    ["what is no number is none", call([BASE_KEY, "x"], [ATTEMPT_KEY, "-2"], never), false, {}],
    [
      "a repeat is remembered like one of the caller's own",
      call([BASE_KEY, "3"], [ATTEMPT_KEY, "2"], never),
      false,
      { generatedRequestId: false, requestBase: 3 },
    ],
  ])("%s", (_what, given, drew, expected) => {
    const command = adminUrls({ id: 2n }, ["http://a:1"], request("r"));
    expect(new Attempts(given, drew).mark(command)).toEqual({ ...command, ...expected });
  });
});

test.each([
  ["TOO_MANY_REQUESTS" as const, 1000],
  ["NOT_PROPOSED" as const, null],
])("apply's %s says nothing of the write: it may be tried again", (reason, retryDelayMs) => {
  const refusal = { reason, message: "", metadata: {} };
  expect(decided({ accepted: false, repeated: false, refusal })).toMatchObject({
    kind: "retry",
    because: { refusal, retryDelayMs },
  });
});

/** Writes on the member that leads: what becomes of each, and what a cancellation, a deadline or a stop takes back. */
import type { PendingSubmission } from "../../src/cluster/leader/submissions";
import type { Accepted } from "../../src/cluster/leader/submission";
import type { Outcome } from "../../src/base/outcome";
import { RefusedError } from "../../src/roster/index";
import type { RosterCommand } from "../../src/roster/index";
import { add, adminUrls, publish, request } from "../roster/support/log";
import { ELECTION_TICKS, MemoryCluster } from "./support/memory_cluster";
import { callOf } from "./support/test_calls";
import { Tracked } from "./support/tracked";

const urls = (port: number): RosterCommand => adminUrls({ id: 2n }, [`http://10.0.0.2:${port}`]);

interface Submitted {
  readonly pending: PendingSubmission;
  readonly tracked: Tracked<Outcome<Accepted>>;
}

let lastProposal = 9000n;

function submit(
  cluster: MemoryCluster,
  n: number,
  command: RosterCommand,
  { timeoutMs = 10_000, validateOnly = false } = {},
): Submitted {
  const { deadline } = callOf(cluster.clock, { timeoutMs });
  const own = { ...command, proposalId: ++lastProposal };
  const pending = cluster.member(n).submissions.submit({ command: own, validateOnly, deadline });
  return { pending, tracked: new Tracked(pending.outcome) };
}

/** The kind of the outcome, with the reason of an error. */
async function shown(cluster: MemoryCluster, { tracked }: Submitted): Promise<string> {
  await cluster.settle();
  return shownNow(tracked);
}

function shownNow({ value }: Tracked<Outcome<Accepted>>): string {
  if (value === null) return "open";
  const error = value.kind === "refused" ? value.error : value.kind === "retry" ? value.because : null;
  return error instanceof RefusedError ? `${value.kind} ${error.refusal.reason}` : value.kind;
}

const healthy = (limits = {}): Promise<MemoryCluster> => new MemoryCluster({ limits }).startLedBy(1);

test("commands that change no configuration are appended together, and each has its own outcome", async () => {
  const cluster = await healthy();
  const { replica, submissions, storage } = cluster.member(1);
  const { length } = storage.batches;
  const writes = [submit(cluster, 1, urls(1)), submit(cluster, 1, urls(2)), submit(cluster, 1, add(9))];
  expect([submissions.size, replica.writesWaiting]).toEqual([3, 2]);
  for (const write of writes) expect(await shown(cluster, write)).toBe("done");
  const sizes = storage.batches.slice(length).map(({ entries }) => entries.length);
  expect(sizes.filter((size) => size > 0)).toEqual([2, 1]);
  expect(submissions.size).toBe(0);
});

test("the roster refuses with its reason", async () => {
  const cluster = await healthy();
  expect(await shown(cluster, submit(cluster, 1, adminUrls({ id: 9n }, ["http://h:1"])))).toBe(
    "refused MEMBER_NOT_FOUND",
  );
  expect(await shown(cluster, submit(cluster, 1, add(2)))).toBe("refused MEMBER_ID_EXISTS");
});

test("a publish that changes nothing is answered without an entry, when a quorum has confirmed", async () => {
  const cluster = await healthy();
  const { lastIndex } = cluster.member(1).replica;
  const again = submit(cluster, 1, publish(2));
  expect(again.tracked.value).toBeNull();
  expect(await shown(cluster, again)).toBe("done");
  expect(cluster.member(1).replica.lastIndex).toBe(lastIndex);
});

test("a dry run appends nothing", async () => {
  const cluster = await healthy();
  const { lastIndex } = cluster.member(1).replica;
  for (const command of [urls(7), add(9)])
    expect(await shown(cluster, submit(cluster, 1, command, { validateOnly: true }))).toBe("done");
  expect(await shown(cluster, submit(cluster, 1, add(2), { validateOnly: true }))).toBe(
    "refused MEMBER_ID_EXISTS",
  );
  expect(cluster.member(1).replica.lastIndex).toBe(lastIndex);
  expect(cluster.roster()).toHaveLength(3);
});

test("a repeat is answered with the first outcome, and changes nothing", async () => {
  const cluster = await healthy();
  const command = adminUrls({ id: 2n }, ["http://h:1"], request("r1"));
  const first = submit(cluster, 1, command);
  await cluster.settle();
  const second = submit(cluster, 1, command);
  await cluster.settle();
  expect(first.tracked.value).toMatchObject({ kind: "done", value: { repeated: false } });
  expect(second.tracked.value).toMatchObject({ kind: "done", value: { repeated: true } });
});

describe("turned away, to be tried again", () => {
  test("on a member that does not lead", async () => {
    const cluster = await healthy();
    expect(await shown(cluster, submit(cluster, 2, urls(1)))).toBe("retry");
    expect(cluster.member(2).submissions.size).toBe(0);
  });

  test("when the disk is full", async () => {
    const cluster = await healthy();
    cluster.member(1).storage.space = false;
    // Another member is about to lead, until it is known that too few others have space.
    expect(await shown(cluster, submit(cluster, 1, urls(1)))).toBe("retry");
    cluster.member(1).replica.disks.heard(2n, true);
    expect(await shown(cluster, submit(cluster, 1, urls(1)))).toBe("retry DISK_FULL");
  });

  test("when too many wait", async () => {
    const cluster = await healthy({ writesWaitingMax: 2 });
    const writes = [1, 2, 3].map((port) => submit(cluster, 1, urls(port)));
    expect(await Promise.all(writes.map((write) => shown(cluster, write)))).toEqual([
      "done",
      "done",
      "retry TOO_MANY_REQUESTS",
    ]);
    expect(await shown(cluster, submit(cluster, 1, urls(4)))).toBe("done");
  });
});

describe("given up", () => {
  test("before it is appended: nothing was changed, and nothing will be", async () => {
    const cluster = await healthy();
    const { replica, rosterMachine } = cluster.member(1);
    const write = submit(cluster, 1, urls(1));
    write.pending.cancel();
    write.pending.cancel();
    expect(await shown(cluster, write)).toBe("retry");
    expect(replica.writesWaiting).toBe(0);
    await cluster.run(2);
    expect(rosterMachine.roster.member(2n)?.adminUrls).toEqual(["http://10.0.0.2:7460"]);
  });

  test("after it was appended: its outcome is unknown, and nobody waits for it", async () => {
    const cluster = await healthy();
    cluster.network.isolate(1n);
    const write = submit(cluster, 1, urls(1));
    await cluster.settle();
    write.pending.cancel();
    expect(await shown(cluster, write)).toBe("unknown");
    expect(cluster.member(1).replica.writesWaiting).toBe(0);
  });

  test("by its deadline, in the same way", async () => {
    const cluster = await healthy();
    cluster.network.isolate(1n);
    const appended = submit(cluster, 1, urls(1), { timeoutMs: 300 });
    const waiting = submit(cluster, 1, add(9), { timeoutMs: 300 });
    await cluster.run(2);
    expect(await shown(cluster, appended)).toBe("open");
    await cluster.run(1);
    expect([await shown(cluster, appended), await shown(cluster, waiting)]).toEqual([
      "unknown",
      "retry NOT_PROPOSED",
    ]);
    expect(cluster.member(1).submissions.size).toBe(0);
  });

  test("a dry run that waits for confirmation", async () => {
    const cluster = await healthy();
    cluster.network.isolate(1n);
    const write = submit(cluster, 1, urls(1), { validateOnly: true });
    await cluster.settle();
    write.pending.cancel();
    expect(await shown(cluster, write)).toBe("retry");
    cluster.network.heal();
    await cluster.run(3);
    expect(shownNow(write.tracked)).toBe("retry");
  });

  test("after it is done: nothing happens, and no timer is left", async () => {
    const cluster = await healthy();
    const { timerCount } = cluster.clock;
    const write = submit(cluster, 1, urls(1));
    expect(await shown(cluster, write)).toBe("done");
    write.pending.cancel();
    expect(await shown(cluster, write)).toBe("done");
    expect(cluster.clock.timerCount).toBe(timerCount);
  });
});

test("one that is lost with its leader's log may be tried again", async () => {
  const cluster = await healthy();
  cluster.network.isolate(1n);
  const write = submit(cluster, 1, urls(1), { timeoutMs: 60_000 });
  await cluster.run(4 * ELECTION_TICKS);
  expect(await shown(cluster, write)).toBe("open");
  cluster.network.heal();
  await cluster.run(ELECTION_TICKS);
  expect(await shown(cluster, write)).toBe("retry");
});

describe("a member that stops", () => {
  test("refuses what comes and what is not in the log, and lets the rest finish", async () => {
    const cluster = await healthy();
    const { submissions } = cluster.member(1);
    cluster.member(1).storage.hold();
    cluster.network.isolate(1n);
    const appended = submit(cluster, 1, urls(1));
    const change = submit(cluster, 1, add(9));
    await cluster.settle();
    const queued = submit(cluster, 1, urls(2));
    submissions.stop();
    const late = submit(cluster, 1, urls(3));
    const shownAll = [];
    for (const write of [appended, change, queued, late]) shownAll.push(await shown(cluster, write));
    expect(shownAll).toEqual(["open", ...Array<string>(3).fill("retry SERVER_STOPPING")]);
    expect(submissions.size).toBe(1);
    cluster.network.heal();
    cluster.member(1).storage.release();
    await cluster.run(2);
    expect(await shown(cluster, appended)).toBe("done");
  });

  test("abandons what is in the log: its outcome is unknown", async () => {
    const cluster = await healthy();
    cluster.network.isolate(1n);
    const appended = submit(cluster, 1, urls(1));
    await cluster.settle();
    const queued = submit(cluster, 1, urls(2));
    cluster.member(1).submissions.abandon();
    expect(await shown(cluster, appended)).toBe("unknown");
    expect(await shown(cluster, queued)).toBe("retry SERVER_STOPPING");
  });
});

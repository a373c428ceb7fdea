/**
 * The effect of a follower that catches up by snapshot, after missing 100,000 entries, on the write latency of the
 * leader: measured before the follower is started, and from its start until it has applied what the leader had then.
 *
 * Calls begin at a fixed rate, whether or not earlier ones were answered, and each latency counts from the time at which
 * the call was due, so that a leader that stalls is seen in every call of the stall. For comparison, the same is measured
 * with a follower that missed nothing: that is the cost of one more starting process on this machine. The starting
 * process also takes processor time from the others, which it would not on a machine of its own, so each case is measured
 * with normal and with the lowest process priority.
 */
import * as os from "node:os";
import * as path from "node:path";
import { readLogOffline } from "../src/storage/offline";
import { MemberClient, Recorder, requestNumber } from "./client";
import { MemberProcess } from "./processes";
import {
  appendNext,
  close,
  History,
  openAfter,
  planMembers,
  serverArgs,
  writeFirstEntries,
  type PlannedMember,
} from "./storage_data";
import { Contract, eventually } from "./system";
import { figure, table } from "./table";

const MISSED_ENTRIES = 100_000;
/** Entries in the leader's log after its snapshot. So few that the leader takes no other snapshot during a round. */
const KEPT_ENTRIES = 1_000;
const WRITES_PER_SECOND = 400;
const WARM_UP_MS = 3_000;
const BEFORE_MS = 5_000;
const ROUNDS = 5;

const contract = new Contract("muster/v1/membership_service.proto", "../proto");
const SERVICE = "muster.v1.MembershipService";

interface ClusterAnswer {
  readonly header: { readonly leader_id: string } | null;
  readonly members: readonly { readonly member: { readonly name: string; readonly id: string } | null }[];
  readonly applied_index: string;
}

interface Running {
  readonly process: MemberProcess;
  readonly client: MemberClient;
  readonly dataDir: string;
}

/** Writes at a fixed rate to one member. Each latency goes to the recorder that is current when the call is due. */
class PacedLoad {
  recorder = new Recorder();
  private readonly startMs = performance.now();
  private readonly timer: NodeJS.Timeout;
  private readonly calls = new Set<Promise<void>>();
  private begun = 0;

  constructor(private readonly client: MemberClient) {
    this.timer = setInterval(() => {
      const dueCount = ((performance.now() - this.startMs) * WRITES_PER_SECOND) / 1000;
      while (this.begun < dueCount) this.begin(this.startMs + (this.begun++ * 1000) / WRITES_PER_SECOND);
    }, 1);
  }

  private begin(dueMs: number): void {
    const { recorder } = this;
    const n = requestNumber();
    const request = {
      name: "n1",
      admin_urls: [`http://127.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}:1`],
    };
    const body = contract.encode(SERVICE, "UpdateAdminURL", request);
    const call = this.client.call(contract.path(SERVICE, "UpdateAdminURL"), body).then(
      () => recorder.record(performance.now() - dueMs),
      (error: unknown) => recorder.fail(error),
    );
    this.calls.add(call);
    void call.then(() => this.calls.delete(call));
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.calls);
  }
}

function ask(client: MemberClient, consistency: string): Promise<ClusterAnswer> {
  return contract.ask<ClusterAnswer>(client, SERVICE, "GetCluster", { consistency });
}

/** The latencies of all rounds, and how long the follower took in each. */
interface Measured {
  readonly before: Recorder;
  readonly during: Recorder;
  readonly beforeMs: number[];
  readonly duringMs: number[];
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Scenario {
  /** Whether the follower missed 100,000 entries; otherwise it missed none. */
  readonly isBehind: boolean;
  /** Whether the follower has the lowest process priority, so that it leaves the processor to the others. */
  readonly isLowPriority: boolean;
}

async function runRound(
  root: string,
  { isBehind, isLowPriority }: Scenario,
  measured: Measured,
): Promise<void> {
  const settings = { "heartbeat-interval": "100", "election-timeout": "1000" };
  const plan = await planMembers(3, settings);
  const running = await prepare(root, plan, isBehind);
  const [first, second, away] = running;
  if (first === undefined || second === undefined || away === undefined) throw new Error("three members");
  try {
    for (const { process } of [first, second]) process.start();
    const leader = await eventually("a leader", 30_000, async () => {
      const answer = await ask(first.client, "CONSISTENCY_LINEARIZABLE");
      const name = answer.members.find(({ member }) => member?.id === answer.header?.leader_id)?.member?.name;
      return name === "n1" ? first : second;
    });
    const load = new PacedLoad(leader.client);
    await pause(WARM_UP_MS);
    load.recorder = measured.before;
    await pause(BEFORE_MS);
    measured.beforeMs.push(BEFORE_MS);
    const wanted = Number((await ask(leader.client, "CONSISTENCY_SERIALIZABLE")).applied_index);
    load.recorder = measured.during;
    const startMs = performance.now();
    away.process.start();
    if (isLowPriority) os.setPriority(away.process.pid, os.constants.priority.PRIORITY_LOW);
    await eventually("the follower has caught up", 60_000, async () => {
      const { applied_index } = await ask(away.client, "CONSISTENCY_SERIALIZABLE");
      if (Number(applied_index) < wanted) throw new Error(`applied ${applied_index} of ${wanted}`);
    });
    measured.duringMs.push(performance.now() - startMs);
    load.recorder = new Recorder();
    await load.stop();
    await checkHow(away, isBehind, wanted);
  } finally {
    for (const { client } of running) client.close();
    await Promise.all(running.map(({ process }) => process.end("SIGKILL")));
  }
}

/** Checks that a follower that was behind did catch up by snapshot; otherwise the figures would mean nothing. */
async function checkHow({ process, dataDir }: Running, isBehind: boolean, wanted: number): Promise<void> {
  await process.end("SIGTERM");
  const { report } = await readLogOffline(dataDir);
  const [newest] = report.snapshots;
  if (isBehind && (newest === undefined || report.firstIndex < wanted - MISSED_ENTRIES / 2))
    throw new Error(`no snapshot came: the log begins at ${report.firstIndex}`);
}

/** Prepares two members with all entries and a third one, which has only the first entries when it is to be behind. */
async function prepare(root: string, plan: readonly PlannedMember[], isBehind: boolean): Promise<Running[]> {
  const folder = path.join(root, `catch-up-${plan[0]?.adminPort ?? 0}`);
  const history = new History(plan);
  const dirOf = ({ name }: PlannedMember): string => path.join(folder, name);
  const whole = isBehind ? plan.slice(0, 2) : plan;
  history.skip(MISSED_ENTRIES - KEPT_ENTRIES);
  const snapshot = history.snapshot();
  const storages = await Promise.all(
    whole.map((member) => openAfter(history, member, dirOf(member), snapshot)),
  );
  await appendNext(history, storages, KEPT_ENTRIES);
  await Promise.all(storages.map(close));
  for (const member of plan.slice(whole.length)) await writeFirstEntries(history, member, dirOf(member));
  return plan.map((member) => ({
    process: new MemberProcess(
      member.name,
      process.execPath,
      serverArgs(member.flags(dirOf(member))),
      path.join(folder, `${member.name}.log`),
    ),
    client: new MemberClient(`127.0.0.1:${member.adminPort}`),
    dataDir: dirOf(member),
  }));
}

async function measure(root: string, scenario: Scenario): Promise<Measured> {
  const measured = { before: new Recorder(), during: new Recorder(), beforeMs: [], duringMs: [] };
  for (let round = 0; round < ROUNDS; round++) await runRound(root, scenario, measured);
  return measured;
}

const SCENARIOS: readonly Scenario[] = [
  { isBehind: false, isLowPriority: false },
  { isBehind: true, isLowPriority: false },
  { isBehind: false, isLowPriority: true },
  { isBehind: true, isLowPriority: true },
];

/** Runs all rounds and prints the table. */
export async function catchUp(root: string): Promise<void> {
  const rows: string[][] = [];
  for (const scenario of SCENARIOS) {
    const { before, during, beforeMs, duringMs } = await measure(root, scenario);
    const sum = (times: readonly number[]): number => times.reduce((all, ms) => all + ms, 0);
    const [was, is] = [before.result(sum(beforeMs)), during.result(sum(duringMs))];
    rows.push([
      `missed ${scenario.isBehind ? `${figure(MISSED_ENTRIES)} entries` : "nothing"}`,
      scenario.isLowPriority ? "lowest" : "as the others",
      ...[was.p50, was.p99, is.p50, is.p99, is.p99 / was.p99, sum(duringMs) / ROUNDS].map(figure),
      String(was.errors + is.errors),
    ]);
  }
  const head = [
    "the follower that returns",
    "its priority",
    "p50 before",
    "p99 before",
    "p50 during",
    "p99 during",
  ];
  console.log(
    `write latency at the leader in ms, ${WRITES_PER_SECOND} writes/s, ${ROUNDS} rounds, each on new directories`,
  );
  console.log(table([...head, "p99 ratio", "return ms", "errors"], rows));
  console.log("goal: the ratio is at most 2\n");
}

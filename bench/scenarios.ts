/**
 * The rows of the benchmark. A scenario measures one system once; run.ts repeats it, alternating between the systems.
 */
import { closedLoop, type LoadResult, requestNumber, timeToFirstAnswer } from "./client";
import { h2load } from "./h2load";
import {
  type Calls,
  ELECTION_TIMEOUT_MS,
  eventually,
  type Member,
  type System,
  type SystemFactory,
} from "./system";
import { watchRows } from "./watch";

export interface Settings {
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** Path of h2load; null where it is not installed. */
  readonly h2loadFile: string | null;
}

/** A running system, and the factory for another one of its kind. */
export interface Subject {
  readonly system: System;
  readonly create: SystemFactory;
}

export interface LoadScenario {
  readonly kind: "load";
  readonly id: string;
  readonly label: string;
  /** The calls that this row makes, as a key of the systems' callNames. */
  readonly names: keyof System["callNames"];
  measure(subject: Subject, settings: Settings): Promise<LoadResult>;
}

export interface ValueScenario {
  readonly kind: "value";
  readonly id: string;
  readonly label: string;
  readonly unit: "ms" | "MiB" | "KiB";
  /** True for a row that is measured once, because repeats would give the same result. */
  readonly once: boolean;
  measure(subject: Subject): Promise<number>;
}

export type Scenario = LoadScenario | ValueScenario;

type Place = "leader" | "follower";

/** The leader, or the first follower. Looked up before each measurement, because the leader may have changed. */
async function memberAt(system: System, place: Place): Promise<Member> {
  const leader = await eventually(`${system.name}: a leader`, 20_000, () => system.leaderIndex());
  const index = place === "leader" ? leader : (leader + 1) % system.members.length;
  const member = system.members[index];
  if (member === undefined) throw new Error(`${system.name}: no member ${index}`);
  return member;
}

function readScenario(
  consistency: "linearizable" | "serializable",
  place: Place,
  inFlight: number,
): LoadScenario {
  const key: keyof Calls = consistency === "linearizable" ? "linearizableRead" : "serializableRead";
  return {
    kind: "load",
    id: `read.${consistency}.${place}.${inFlight}`,
    label: `${consistency} read, ${place}, ${inFlight} in flight`,
    names: consistency === "linearizable" ? "read" : "serializable",
    async measure({ system }, { seconds, warmUpSeconds, h2loadFile }) {
      const { address, client } = await memberAt(system, place);
      const call = system.calls[key];
      const answer = await client.call(call.path, call.body(0));
      if (h2loadFile === null) {
        const body = call.body(0);
        return closedLoop(inFlight, seconds, warmUpSeconds, async () => {
          await client.call(call.path, body);
        });
      }
      return h2load(h2loadFile, address, call, answer.length, { inFlight, seconds, warmUpSeconds });
    },
  };
}

function writeScenario(place: Place, inFlight: number): LoadScenario {
  return {
    kind: "load",
    id: `write.${place}.${inFlight}`,
    label: `write, ${place}, ${inFlight} in flight`,
    names: "write",
    async measure({ system }, { seconds, warmUpSeconds }) {
      const { client } = await memberAt(system, place);
      const { path, body } = system.calls.write;
      return closedLoop(inFlight, seconds, warmUpSeconds, async () => {
        await client.call(path, body(requestNumber()));
      });
    },
  };
}

const change: LoadScenario = {
  kind: "load",
  id: "change",
  label: "add a member and remove it, leader",
  names: "change",
  async measure({ system }, { seconds, warmUpSeconds }) {
    const leader = await memberAt(system, "leader");
    // Changes are refused until members have been in contact long enough. That wait is not measured.
    await eventually(`${system.name}: a membership change`, 30_000, () =>
      system.addAndRemove(leader, requestNumber()),
    );
    return closedLoop(1, seconds, warmUpSeconds, () => system.addAndRemove(leader, requestNumber()));
  },
};

/** Waits until the member answers a linearizable read, which means that it has caught up. */
async function untilServing(system: System, member: Member): Promise<void> {
  const { path, body } = system.calls.linearizableRead;
  await eventually(`${system.name}: ${member.name} serves`, 30_000, () =>
    member.client.call(path, body(0), 1000),
  );
}

const failover: ValueScenario = {
  kind: "value",
  id: "failover",
  label: "kill -9 of the leader to the next acknowledged write",
  unit: "ms",
  once: false,
  async measure({ system }) {
    const leader = await memberAt(system, "leader");
    const others = system.members.filter((member) => member !== leader);
    const dead = leader.process.end("SIGKILL");
    const elapsedMs = await timeToFirstAnswer(
      others.map(({ client }) => client),
      system.calls.write,
      30_000,
    );
    await dead;
    leader.process.start();
    await untilServing(system, leader);
    // Wait until the cluster has settled before the next kill.
    await new Promise((resolve) => setTimeout(resolve, 2 * ELECTION_TIMEOUT_MS));
    return elapsedMs;
  },
};

const coldStart: ValueScenario = {
  kind: "value",
  id: "cold-start",
  label: "start of three new members to the first acknowledged write",
  unit: "ms",
  once: false,
  async measure({ create }) {
    const system = await create();
    try {
      system.spawn();
      const clients = system.members.map(({ client }) => client);
      return await timeToFirstAnswer(clients, system.calls.write, 30_000);
    } finally {
      await system.destroy();
    }
  },
};

function memoryScenario(place: Place): ValueScenario {
  return {
    kind: "value",
    id: `memory.${place}`,
    label: `resident memory after the rows above, ${place}`,
    unit: "MiB",
    once: true,
    async measure({ system }) {
      const { process } = await memberAt(system, place);
      const mib = process.residentMib();
      if (mib === null) throw new Error("this system does not tell a process's memory");
      return mib;
    },
  };
}

/** Names that no member of this run had: a removed member's data stays in its folder. */
let joiners = 0;

const join: ValueScenario = {
  kind: "value",
  id: "member.join",
  label: "add of a member to its being a voter that serves",
  unit: "ms",
  once: false,
  async measure({ system }) {
    const leader = await memberAt(system, "leader");
    const startMs = performance.now();
    const joiner = await system.join(leader, `j${++joiners}`, null);
    const elapsedMs = performance.now() - startMs;
    await settled(system, (member) => system.leave(member, joiner));
    return elapsedMs;
  },
};

const replace: ValueScenario = {
  kind: "value",
  id: "member.replace",
  label: "replacement of a dead member to a voter that serves",
  unit: "ms",
  once: false,
  async measure({ system }) {
    const leader = await memberAt(system, "leader");
    const victim = await system.join(leader, `j${++joiners}`, null);
    await new Promise((resolve) => setTimeout(resolve, 2 * ELECTION_TIMEOUT_MS));
    await victim.process.end("SIGKILL");
    const startMs = performance.now();
    const replacement = await system.join(leader, `j${++joiners}`, victim);
    const elapsedMs = performance.now() - startMs;
    await settled(system, (member) => system.leave(member, replacement));
    return elapsedMs;
  },
};

const transfer: ValueScenario = {
  kind: "value",
  id: "transfer",
  label: "leader transfer, to the next acknowledged write",
  unit: "ms",
  once: false,
  async measure({ system }) {
    const leader = await memberAt(system, "leader");
    const startMs = performance.now();
    await system.transferLeadership(leader);
    const clients = system.members.map(({ client }) => client);
    await timeToFirstAnswer(clients, system.calls.write, 30_000);
    const elapsedMs = performance.now() - startMs;
    await new Promise((resolve) => setTimeout(resolve, 2 * ELECTION_TIMEOUT_MS));
    return elapsedMs;
  },
};

/** Changes are refused until members have been in contact long enough. That wait is not measured. */
function settled(system: System, change: (leader: Member) => Promise<void>): Promise<void> {
  return eventually(`${system.name}: a membership change`, 30_000, async () =>
    change(await memberAt(system, "leader")),
  );
}

/** All rows in the order in which they run. */
export function allScenarios(): Scenario[] {
  const places: readonly Place[] = ["leader", "follower"];
  const loads = [1, 64];
  return [
    ...(["linearizable", "serializable"] as const).flatMap((consistency) =>
      places.flatMap((place) => loads.map((inFlight) => readScenario(consistency, place, inFlight))),
    ),
    ...places.flatMap((place) => loads.map((inFlight) => writeScenario(place, inFlight))),
    change,
    ...places.map(memoryScenario),
    failover,
    transfer,
    join,
    replace,
    coldStart,
    ...watchRows,
  ];
}

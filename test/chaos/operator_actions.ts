/**
 * What the random operator does, one function per kind of operation. An action returns a text for the report. Refusals are
 * fine outcomes everywhere; what must hold afterwards is in operator_run.ts.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { ELECTION_MS } from "./operator_member";
import type { OperatedMember } from "./operator_member";
import { muster, until } from "../e2e/support/processes";
import type { Operation, Kind } from "./operator_plan";
import { restoreCluster } from "./operator_restore";
import { Violation } from "./operator_world";
import type { OperatorWorld, Verdict } from "./operator_world";

type Action = (world: OperatorWorld, op: Operation) => Promise<string>;

/** How long something is watched that need not come: 10 election timeouts. Milliseconds. */
const WATCH_MS = 10 * ELECTION_MS;
/** How `muster server` ends when the cluster has removed the member. */
const EXIT_REMOVED = 8;
/** How it ends when its data directory must not be used again. */
const EXIT_UNUSABLE = 9;
/** 8 KiB each: more than enough to use up what a log has reserved. */
const BULK_WRITES_MAX = 400;
const BULK_URLS = 31;

/** Waits for something that need not come. @returns whether it came */
export async function comes(condition: () => boolean | Promise<boolean>, ms = WATCH_MS): Promise<boolean> {
  try {
    await until("", condition, () => "", ms);
    return true;
  } catch {
    return false;
  }
}

function target(world: OperatorWorld, op: Operation): OperatedMember {
  const found = world.members.get(op.target);
  if (found === undefined) throw new Error(`the operator holds no member ${op.target}`);
  return found;
}

// --- Calls ------------------------------------------------------------------------------------------------------------

async function addNamed(world: OperatorWorld, name: string, startFirst: boolean): Promise<Verdict> {
  const member = await world.prepare(name, "existing");
  const { peerUrl } = member.spec;
  world.members.set(name, member);
  if (startFirst) world.start(member);
  if (startFirst) await comes(() => member.output.includes("waiting to join"), 4 * WATCH_MS);
  const verdict = await world.change(`add ${name}`, (client, requestId) =>
    client.addMember({ name, peerUrl, requestId }),
  );
  const isAdded = async (): Promise<boolean> => (await world.refresh()) && world.listing(name) !== null;
  if (verdict === "accepted" || (verdict === "unknown" && (await comes(isAdded)))) {
    if (!startFirst) world.start(member);
    return verdict;
  }
  // An outcome that is still unknown may add it later: then it is a member that never started.
  await world.end(member, true);
  member.release(null);
  world.members.delete(name);
  return verdict;
}

const add: Action = async (world, op) => {
  const name = `m${world.next()}`;
  return `${name}: ${await addNamed(world, name, op.draw % 2 === 0)}`;
};

const addNever: Action = async (world) => {
  const [name, peerUrl] = [`x${world.next()}`, await world.freePeerUrl()];
  return `${name}: ${await world.change(`add ${name}`, (client, requestId) => client.addMember({ name, peerUrl, requestId }))}`;
};

const addAlias: Action = async (world) => {
  const name = `a${world.next()}`;
  const member = await world.prepare(name, "existing");
  world.members.set(name, member);
  world.start(member);
  await comes(() => member.output.includes("waiting to join"), 4 * WATCH_MS);
  const peerUrl = member.spec.peerUrl.replace("127.0.0.1", "localhost");
  const verdict = await world.change(`add ${name}`, (client, requestId) =>
    client.addMember({ name, peerUrl, requestId }),
  );
  if (verdict !== "accepted" && verdict !== "unknown") {
    await world.end(member, true);
    member.release(null);
    world.members.delete(name);
  }
  return `${name}: ${verdict}`;
};

/** The roster follows a member that is at the new URL by itself, so that the call may have nothing left to change. */
function updateTo(
  world: OperatorWorld,
  name: string,
  newPeerUrl: string,
  isThere: boolean,
): Promise<Verdict> {
  return world.change(
    `update ${name}`,
    (client, requestId) => client.updateMember({ name, newPeerUrl, requestId }),
    !isThere,
  );
}

const updateBad: Action = async (world, op) => {
  const verdict = await updateTo(world, op.target, await world.freePeerUrl(), false);
  const member = world.members.get(op.target);
  if (verdict !== "accepted" && verdict !== "unknown") return verdict;
  if (member !== undefined) member.follows = false;
  return verdict;
};

const updateBack: Action = async (world, op) =>
  updateTo(world, op.target, target(world, op).spec.peerUrl, true);

/** The call before the member moves, which a cluster without failures to spare refuses, or when it is there. */
const updateGood: Action = async (world, op) => {
  const member = target(world, op);
  const peerUrl = await world.freePeerUrl();
  const hard = op.draw % 2 === 0;
  if (op.draw % 4 < 2) {
    await moveTo(world, member, peerUrl, hard);
    await comes(async () => (await member.cluster()) !== null);
    return `restarted there, then ${await updateTo(world, op.target, peerUrl, true)}`;
  }
  const verdict = await updateTo(world, op.target, peerUrl, false);
  if (verdict !== "accepted") return verdict;
  await world.end(member, hard);
  member.spec = { ...member.spec, peerUrl };
  world.start(member);
  return `${verdict}, and restarted there`;
};

async function removeNamed(world: OperatorWorld, name: string): Promise<Verdict> {
  const member = world.members.get(name);
  const followed = member !== undefined && world.isHealthy(member);
  const verdict = await world.change(`remove ${name}`, (client, requestId) =>
    client.deleteMember({ name, requestId }),
  );
  if (verdict !== "accepted") return verdict;
  if (member === undefined) return verdict;
  world.members.delete(name);
  world.removed.push(member);
  // It ends by itself unless nobody can tell it; then the operator ends it.
  const told = followed && (await world.refresh()) && world.hasHealthyMajority();
  if (member.running) await comes(() => !member.running, told ? 8 * WATCH_MS : WATCH_MS);
  if (told && (member.running || member.process.exit?.code !== EXIT_REMOVED))
    throw new Violation(`${name} was removed and ${describeEnd(member, !member.running)}`);
  await member.end(false);
  return verdict;
}

const remove: Action = (world, op) => removeNamed(world, op.target);

/** Out and in under the same name for a member that is down; in and out under a new name for one that serves. */
const replace: Action = async (world, op) => {
  const member = world.members.get(op.target);
  if (member !== undefined && world.isHealthy(member)) {
    const name = `m${world.next()}`;
    const added = await addNamed(world, name, false);
    if (added !== "accepted") return `add ${name}: ${added}`;
    await world.serves();
    return `add ${name}: accepted, remove: ${await removeNamed(world, op.target)}`;
  }
  const removed = await removeNamed(world, op.target);
  if (removed !== "accepted") return `remove: ${removed}`;
  await world.serves();
  return `remove: accepted, add: ${await addNamed(world, op.target, op.draw % 2 === 0)}`;
};

/**
 * Leadership goes to the named voter, or in one of four cases to nobody in particular. By the call or by the command: the one
 * that is acknowledged names the leader of its term.
 */
const transfer: Action = async (world, op) => {
  const name = op.draw % 4 === 0 ? "" : op.target;
  const asked = [...world.members.values()].filter(({ running, tampered }) => running && tampered === null);
  if (asked.length === 0) return "nobody runs";
  if (op.draw % 8 < 4) {
    const { verdict, leader } = await world.transfer(asked, name);
    if (verdict === "accepted" && name !== "" && leader !== name)
      throw new Violation(`the transfer to ${name} was acknowledged, and ${leader} leads`);
    return `to ${name || "anybody"} by the call: ${verdict}`;
  }
  const words = ["leader", "transfer", ...(name === "" ? [] : [name])];
  const endpoints = asked.map(({ endpoint }) => endpoint).join(",");
  const { code, stdout, stderr } = await muster([...words, "--endpoints", endpoints]);
  if (code === 0 && !stdout.startsWith(name)) throw new Violation(`muster ${words.join(" ")}: ${stdout}`);
  if (code !== 0 && code !== 1 && code !== 3)
    throw new Violation(`muster ${words.join(" ")} ended with ${String(code)}: ${stderr}`);
  return `to ${name || "anybody"} by the command: ${code === 0 ? "accepted" : stderr.trim()}`;
};

// --- Processes --------------------------------------------------------------------------------------------------------

const endOne =
  (hard: boolean): Action =>
  async (world, op) => {
    await world.end(target(world, op), hard);
    return "ended";
  };

const start: Action = async (world, op) => {
  world.start(target(world, op));
  return "started";
};

/** The members that can be started: those in the roster that have an intact directory. */
function startable(world: OperatorWorld): OperatedMember[] {
  return [...world.members.values()].filter(
    (member) => world.listing(member.name) !== null && member.hasDirectory,
  );
}

const endAll =
  (hard: boolean): Action =>
  async (world) => {
    // Stopped one after the other the last ones have no quorum: that must not keep them from ending.
    await Promise.all([...world.members.values()].map((member) => world.end(member, hard)));
    const all = startable(world);
    for (const member of all) world.start(member);
    return `${all.length} started again`;
  };

async function moveTo(
  world: OperatorWorld,
  member: OperatedMember,
  peerUrl: string,
  hard: boolean,
): Promise<void> {
  await world.end(member, hard);
  member.spec = { ...member.spec, peerUrl };
  member.follows = true;
  world.start(member);
}

const moveOne: Action = async (world, op) => {
  const member = target(world, op);
  await moveTo(world, member, await world.freePeerUrl(), op.draw % 2 === 0);
  return `to ${member.spec.peerUrl}`;
};

const moveAll: Action = async (world, op) => {
  await Promise.all([...world.members.values()].map((member) => world.end(member, op.draw % 2 === 0)));
  const all = startable(world);
  for (const member of all) {
    member.spec = { ...member.spec, peerUrl: await world.freePeerUrl() };
    member.follows = member.tampered === null;
  }
  for (const member of all) world.start(member);
  return `${all.length} started at other addresses`;
};

// --- Directories ------------------------------------------------------------------------------------------------------

const copy: Action = async (world, op) => {
  const member = target(world, op);
  await world.end(member, op.draw % 2 === 0);
  const dir = join(world.folder, `copy.${world.next()}`);
  member.copyTo(dir);
  member.copies.push(dir);
  world.start(member);
  return "copied and started again";
};

/** Reads the directories before one of them is replaced, so that nothing committed in it is forgotten. */
async function beforeDamage(world: OperatorWorld, member: OperatedMember, why: string): Promise<void> {
  await world.caughtUp();
  await member.end(true);
  await world.check();
  member.tampered = why;
  world.disks.forget(member.spec.dataDir);
}

const rollBack: Action = async (world, op) => {
  const member = target(world, op);
  const older = member.copies[op.draw % member.copies.length];
  if (older === undefined) throw new Error(`no copy of ${member.name}`);
  await world.load.without(() => beforeDamage(world, member, "rolled back"));
  member.replaceDirectory(older);
  world.start(member);
  // It learns from the others that it is an older copy, so this takes as long as they need to find each other.
  return refusedOrRuns(member, await comes(() => !member.running, 4 * WATCH_MS));
};

/** The copy listens elsewhere. After a while the operator notices and ends it. */
const twin: Action = async (world, op) => {
  const member = target(world, op);
  await world.load.without(() => beforeDamage(world, member, "doubled"));
  const double = await world.prepare(member.name, "existing");
  double.tampered = "a copy";
  world.twins.push(double);
  double.mountDisk();
  member.copyTo(double.spec.dataDir);
  const both = op.draw % 2 === 0 ? [member, double] : [double, member];
  for (const one of both) one.startWith(world.hints(one));
  const ended = await comes(() => both.some((one) => !one.running));
  await double.end(true);
  return ended ? "one of the two ended" : "both ran until the copy was ended";
};

const wipe: Action = async (world, op) => {
  const member = target(world, op);
  await world.load.without(() => beforeDamage(world, member, "wiped"));
  member.replaceDirectory(null);
  const initialClusterState = op.draw % 2 === 0 ? "new" : "existing";
  member.spec = { ...member.spec, initialClusterState };
  member.copies.length = 0;
  world.start(member);
  return `${initialClusterState}, ${refusedOrRuns(member, await comes(() => !member.running))}`;
};

/**
 * A member whose directory is another one than the cluster knows may end by itself only in one way, or because it was started
 * to form a new cluster with members that have one. @throws Violation
 */
function refusedOrRuns(member: OperatedMember, ended: boolean): string {
  const code = member.process.exit?.code;
  const formed = code === 1 && member.process.stderr.includes("belongs to another cluster");
  if (ended && code !== EXIT_UNUSABLE && !formed)
    throw new Violation(`${member.name} was ${member.tampered ?? "?"} and ended with ${String(code)}`);
  return describeEnd(member, ended);
}

function describeEnd(member: OperatedMember, ended: boolean): string {
  return ended ? `ended with ${String(member.process.exit?.code)}` : "runs";
}

/** A directory whose member was told of its removal is marked: it ends with the code for that, at every start. */
const startRemoved: Action = async (world, op) => {
  const member = world.removed.find(({ spec }) => spec.dataDir === op.target);
  if (member === undefined) throw new Error(`no removed member has ${op.target}`);
  const marked = member.wasStarted && member.process.exit?.code === EXIT_REMOVED;
  world.start(member);
  const ended = await comes(() => !member.running, marked ? 4 * WATCH_MS : WATCH_MS);
  const text = describeEnd(member, ended);
  if (marked && member.process.exit?.code !== EXIT_REMOVED)
    throw new Violation(`${member.name} was removed and ended so before; started again it ${text}`);
  await member.end(true);
  return `${member.name} ${text}`;
};

// --- Disks ------------------------------------------------------------------------------------------------------------

const fillDisk: Action = async (world, op) => {
  const member = target(world, op);
  member.fillDisk();
  try {
    const before = member.output.length;
    const isFull = (): boolean => member.output.slice(before).includes("the disk is full");
    let wrote = 0;
    for (let n = 0; n < BULK_WRITES_MAX && !isFull(); n++)
      if (await world.load.write(undefined, BULK_URLS)) wrote++;
    if (!isFull()) return `not noticed after ${wrote} writes`;
    // The others have space, and are a majority.
    const writes = async (): Promise<boolean> => world.load.write();
    if (!(await comes(writes, 4 * WATCH_MS)))
      throw new Violation(
        `${member.name} has a full disk, and no write is acknowledged though the others have space`,
      );
    if (op.draw % 2 === 0) return `full after ${wrote} writes`;
    await world.end(member, true);
    world.start(member);
    if (!(await comes(writes, 4 * WATCH_MS)))
      throw new Violation(`${member.name} was started with a full disk, and no write is acknowledged`);
    return `full after ${wrote} writes, and restarted`;
  } finally {
    member.freeDisk();
  }
};

// --- Backups ----------------------------------------------------------------------------------------------------------

/** A member of a restored cluster is started by mistake, with the name and, if that is free, the address of a member. */
const strayRestore: Action = async (world, op) => {
  const file = await backup(world);
  if (file === null) return "no backup";
  const names = [...world.members.keys()];
  const model = world.members.get(names[op.draw % names.length] ?? "");
  if (model === undefined) return "nobody to restore";
  const stray = await world.prepare(model.name, "existing");
  if (!model.running) stray.spec = { ...stray.spec, peerUrl: model.spec.peerUrl };
  stray.tampered = "of another cluster";
  const { name, peerUrl, dataDir } = stray.spec;
  const words = ["snapshot", "restore", file, "--name", name, "--peer-url", peerUrl, "--data-dir", dataDir];
  stray.mountDisk();
  const { code, stderr } = await muster([...words, "--initial-cluster-token", `stray-${world.next()}`]);
  if (code !== 0) throw new Violation(`muster ${words.join(" ")}: ${stderr}`);
  world.twins.push(stray);
  stray.startWith(world.hints(stray));
  const ended = await comes(() => !stray.running);
  const text = describeEnd(stray, ended);
  // It keeps no healthy member from starting, and no majority of them from serving.
  const again = op.draw % 3 === 0 && !ended ? world.healthy() : [];
  await Promise.all(again.map((member) => world.end(member, true)));
  for (const member of again) world.start(member);
  if (again.length > 0) await world.serves();
  await stray.end(true);
  return `${name} of the restored cluster ${text}${again.length > 0 ? ", while all were started again" : ""}`;
};

/** Saves the cluster's state; null when nobody gives it. */
export async function backup(world: OperatorWorld): Promise<string | null> {
  const file = join(world.folder, `backup.${world.next()}`);
  const endpoints = [...world.members.values()].filter(({ running }) => running).map((m) => m.endpoint);
  if (endpoints.length === 0) return null;
  const { code } = await muster(["snapshot", "save", file, "--endpoints", endpoints.join(",")]);
  if (code === 0) return file;
  rmSync(file, { force: true });
  return null;
}

/** All members end, and a new cluster begins from a backup. */
const restoreAll: Action = async (world) => {
  const floor = world.history.floor(world.clusterId);
  const file = await backup(world);
  return file === null ? "no backup" : restoreCluster(world, file, floor);
};

/**
 * All disks but those of one or two voters are lost. The longest log of theirs makes a new cluster, in which nothing
 * acknowledged is missing, since the healthy voters had all of it.
 */
const rescue: Action = async (world, op) => {
  if (!world.hasHealthyMajority()) return rescueRest(world);
  const left = await world.load.without(async () => {
    await world.caughtUp();
    const healthy = world.healthy();
    await Promise.all([...world.members.values()].map((member) => member.end(op.draw % 2 === 0)));
    await world.check();
    const first = Math.floor(op.draw / 4) % healthy.length;
    return [...healthy.slice(first), ...healthy.slice(0, first)].slice(0, 1 + (Math.floor(op.draw / 2) % 2));
  });
  for (const member of world.members.values()) {
    if (left.includes(member)) continue;
    member.replaceDirectory(null);
    member.tampered = "lost";
  }
  return rescueFrom(world, left, world.history.floor(world.clusterId));
};

/** Without a healthy majority the directories that are left make a new cluster of what they have, those damaged if need be. */
async function rescueRest(world: OperatorWorld): Promise<string> {
  await Promise.all([...world.members.values()].map((member) => member.end(false)));
  const rest = startable(world);
  const intact = rest.filter(({ tampered }) => tampered === null);
  const left = intact.length > 0 ? intact : rest;
  return left.length === 0 ? "nobody is left" : rescueFrom(world, left, 0n);
}

async function rescueFrom(
  world: OperatorWorld,
  left: readonly OperatedMember[],
  floor: bigint,
): Promise<string> {
  const file = join(world.folder, `rescued.${world.next()}`);
  const words = ["rescue", ...left.map(({ spec }) => spec.dataDir), "--out", file];
  const { code, stderr } = await muster(words);
  if (code !== 0) throw new Violation(`muster ${words.join(" ")}: ${stderr}`);
  const names = left.map(({ name }) => name).join(" and ");
  return `from the directories of ${names}: ${await restoreCluster(world, file, floor)}`;
}

const write: Action = async (world) => {
  let wrote = 0;
  for (let n = 0; n < 20; n++) if (await world.load.write()) wrote++;
  return `${wrote} acknowledged`;
};

export const ACTIONS: Readonly<Record<Kind, Action>> = {
  write,
  add,
  addNever,
  addAlias,
  updateGood,
  updateBad,
  updateBack,
  remove,
  replace,
  transfer,
  stop: endOne(false),
  kill: endOne(true),
  start,
  stopAll: endAll(false),
  killAll: endAll(true),
  moveOne,
  moveAll,
  copy,
  rollBack,
  twin,
  wipe,
  startRemoved,
  fillDisk,
  fillLeader: fillDisk,
  strayRestore,
  restoreAll,
  rescue,
};

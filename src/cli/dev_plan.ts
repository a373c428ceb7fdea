/**
 * What `muster dev` starts, and what it tells people to try. Pure: no process, no disk.
 */
import { join } from "node:path";
import type { GetClusterResponse } from "../client";
import { PORT_STEP } from "./dev_options";
import { nameOf, clusterText } from "./output";

const HOST = "127.0.0.1";
/** Where `muster` asks by itself: calls for it need no --endpoints. */
const DEFAULT_ADMIN_PORT = 7460;

/** One member of a local cluster. */
export interface DevMember {
  /** n1, n2, n3. */
  readonly name: string;
  readonly adminPort: number;
  readonly peerPort: number;
  /** `host:port` of its admin listener. */
  readonly endpoint: string;
  readonly adminUrl: string;
  readonly peerUrl: string;
  readonly logFile: string;
  /** The words after `muster`. */
  readonly args: readonly string[];
}

/** Lays out a cluster: names, ports, directories, command lines. */
export function planMembers(nodes: number, basePort: number, dataDir: string): DevMember[] {
  const names = Array.from({ length: nodes }, (_, i) => `n${String(i + 1)}`);
  const peerPort = (i: number): number => basePort + i * PORT_STEP + 1;
  const initialCluster = names.map((name, i) => `${name}=http://${HOST}:${String(peerPort(i))}`).join(",");
  return names.map((name, i) => {
    const adminPort = basePort + i * PORT_STEP;
    const endpoint = `${HOST}:${String(adminPort)}`;
    const peerUrl = `http://${HOST}:${String(peerPort(i))}`;
    const adminUrl = `http://${endpoint}`;
    const args = ["server", "--name", name, "--admin-url", adminUrl, "--peer-url", peerUrl];
    args.push("--data-dir", join(dataDir, name), "--initial-cluster", initialCluster);
    const logFile = join(dataDir, `${name}.log`);
    return { name, adminPort, peerPort: peerPort(i), endpoint, adminUrl, peerUrl, logFile, args };
  });
}

/**
 * What is printed once the cluster answers: its state, and calls that work when pasted into another terminal.
 */
export function welcome(cluster: GetClusterResponse, members: readonly DevMember[], command: string): string {
  const roster = cluster.members.flatMap(({ member }) => (member === undefined ? [] : [member]));
  const leaderId = cluster.header?.leaderId ?? "";
  const leader = roster.find((member) => member.id === leaderId);
  const leaderUrl = leader?.adminUrls[0];
  const at = leaderUrl === undefined ? "" : ` at ${leaderUrl}`;
  const lines = [
    clusterText(cluster),
    `leader: ${nameOf(roster, leaderId)}${at}`,
    "",
    "from another terminal:",
  ];
  const calls = callsToTry(members, leader?.name, command).map((call) => (call === "" ? "" : `  ${call}`));
  return `${[...lines, ...calls].join("\n")}\n\nCtrl-C stops the cluster.\n`;
}

function callsToTry(members: readonly DevMember[], leader: string | undefined, command: string): string[] {
  const last = members.at(-1);
  // Calls go to a follower where there is one: to show that any member takes them.
  const asked = members.find((member) => member.name !== leader) ?? last;
  if (asked === undefined || last === undefined) return [];
  const endpoints = asked.adminPort === DEFAULT_ADMIN_PORT ? "" : ` --endpoints ${asked.endpoint}`;
  const muster = (words: string): string => `${command} ${words}${endpoints}`;
  const service = "muster.v1.MembershipService";
  const curl = "npx buf curl --protocol grpc --http2-prior-knowledge";
  const next = `n${String(members.length + 1)}`;
  const nextPeer = `http://${HOST}:${String(last.peerPort + PORT_STEP)}`;
  const calls = [muster("member list"), muster("cluster --output json")];
  // A single member lets another in only while that one is waiting to join: adding and removing needs more of
  // them.
  if (members.length > 1) {
    calls.push(muster(`member add ${next} --peer-url ${nextPeer}`), muster(`member remove ${next}`));
  }
  calls.push("", `${curl} ${asked.adminUrl}/${service}/GetMembers`);
  if (members.length > 1) {
    const body = JSON.stringify({ name: next, peerUrl: nextPeer, validateOnly: true });
    calls.push(`${curl} -d '${body}' ${asked.adminUrl}/${service}/AddMember`);
  }
  calls.push("", `grpcurl -plaintext ${asked.endpoint} ${service}/GetMembers`);
  return calls;
}

/**
 * The members that `muster dev` starts, and the text that it prints about them. Pure: no process, no disk.
 */
import { join } from "node:path";
import type { GetClusterResponse } from "../client";
import { PORT_STEP } from "./dev_options";
import { nameOf, clusterText } from "./output";

const HOST = "127.0.0.1";
/** The port of the default endpoint of client commands: a call to it needs no --endpoints. */
const DEFAULT_ADMIN_PORT = 7460;

/** One member of a local cluster. */
export interface DevMember {
  /** "n1", "n2" and so on. */
  readonly name: string;
  readonly adminPort: number;
  readonly peerPort: number;
  /** `host:port` of the admin listener. */
  readonly endpoint: string;
  readonly adminUrl: string;
  readonly peerUrl: string;
  readonly logFile: string;
  /** The command line of the member, without the program. */
  readonly args: readonly string[];
}

/** Chooses names, ports, directories and command lines for the members of one cluster. */
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
 * The text that is printed when the cluster is ready: its state, and calls that work when pasted into another terminal.
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
  // The examples call a follower, if there is one, because any member accepts any call.
  const asked = members.find((member) => member.name !== leader) ?? last;
  if (asked === undefined || last === undefined) return [];
  const endpoints = asked.adminPort === DEFAULT_ADMIN_PORT ? "" : ` --endpoints ${asked.endpoint}`;
  const muster = (words: string): string => `${command} ${words}${endpoints}`;
  const service = "muster.v1.MembershipService";
  const curl = "npx buf curl --protocol grpc --http2-prior-knowledge";
  const next = `n${String(members.length + 1)}`;
  const nextPeer = `http://${HOST}:${String(last.peerPort + PORT_STEP)}`;
  const calls = [muster("member list"), muster("cluster --output json")];
  calls.push(muster(`member add ${next} --peer-url ${nextPeer}`), muster(`member remove ${next}`));
  calls.push("", `${curl} ${asked.adminUrl}/${service}/GetMembers`);
  const body = JSON.stringify({ name: next, peerUrl: nextPeer, validateOnly: true });
  calls.push(
    `${curl} -d '${body}' ${asked.adminUrl}/${service}/AddMember`,
    "",
    `grpcurl -plaintext ${asked.endpoint} ${service}/GetMembers`,
  );
  return calls;
}

/**
 * What the answers of a survey mean: the members side by side, what is wrong, and what to do next, in order. Pure.
 */
import { MemberRole } from "../client";
import type { GetClusterResponse, Member, MemberStatus } from "../client";
import { milliseconds } from "./durations";
import type { Answer } from "./survey";

/** The overall state, and the command's exit code: healthy 0, degraded 1, "no quorum" and "no answer" 3. */
export type Verdict = "healthy" | "degraded" | "no quorum" | "no answer";

type FindingCode =
  | "NO_ANSWER"
  | "NO_QUORUM"
  | "LEADERS_DIFFER"
  | "DIFFERENT_CLUSTERS"
  | "NOT_REACHED"
  | "DOWN"
  | "NEVER_STARTED"
  | "DISK_FULL"
  | "FAR_BEHIND"
  | "NOT_SERVING"
  | "OTHER_MEMBER_ANSWERS"
  | "SURVIVES_LESS"
  | "ADDRESS_NOT_IN_ROSTER"
  | "ENDPOINT_SILENT"
  | "ROSTERS_DIFFER"
  | "VERSIONS_DIFFER"
  | "EVEN_VOTERS";

interface Finding {
  readonly code: FindingCode;
  /** "problem": the verdict can't be healthy. "note": worth knowing. */
  readonly level: "problem" | "note";
  readonly text: string;
  /** What to do about it; empty: nothing. */
  readonly next: string;
}

/** One member of the roster, as it and the leader describe it. Null: not known. */
export interface Patient {
  readonly id: string;
  readonly name: string;
  readonly role: "voter" | "learner";
  readonly started: boolean;
  /** Addresses at which this very member answered. */
  readonly answersAt: readonly string[];
  readonly serving: boolean | null;
  /** The leader's name as this member knows it; empty: it knows none. Null: it did not answer. */
  readonly leader: string | null;
  readonly term: number | null;
  readonly revision: number | null;
  readonly applied: number | null;
  /** By the leader. */
  readonly reachable: boolean | null;
  readonly lagEntries: number | null;
  readonly version: string;
  readonly diskFull: boolean | null;
  /** Milliseconds since this member heard from each other one, by id. Null: never. Empty: it did not answer. */
  readonly heard: Readonly<Record<string, number | null>>;
}

export interface Diagnosis {
  readonly verdict: Verdict;
  readonly clusterId: string;
  /** The leader's name, confirmed by a quorum; empty: none is. */
  readonly leader: string;
  /** How many more voters may fail now; null: not known. */
  readonly survives: number | null;
  /** How many may fail when all voters are well. */
  readonly shouldSurvive: number;
  readonly members: readonly Patient[];
  /** Most urgent first. */
  readonly findings: readonly Finding[];
}

/** Entries behind the leader from which a member counts as far behind; the leader counts by the same number. */
const FAR_BEHIND_ENTRIES = 5000;

export function diagnose(answers: readonly Answer[]): Diagnosis {
  const best = bestView(answers);
  if (best === null) return nobodyAnswered(answers);
  const clusterId = best.view.header?.clusterId ?? "";
  const ofCluster = answers.filter(({ own }) => own?.header?.clusterId === clusterId);
  const confirmed = best.confirmed ? best.view : null;
  const members = best.view.members.flatMap((status) => patientOf(status, ofCluster, confirmed, best.view));
  const voters = members.filter(({ role }) => role === "voter");
  const survives = confirmed?.failuresToleratedKnown === true ? confirmed.failuresTolerated : null;
  const shouldSurvive = Math.floor(Math.max(0, voters.length - 1) / 2);
  const leader = confirmed === null ? "" : nameOf(best.view, confirmed.header?.leaderId ?? "");
  const context = {
    answers,
    ofCluster,
    members,
    voters,
    view: best.view,
    confirmed,
    survives,
    shouldSurvive,
  };
  const findings = [
    ...quorumFindings(context),
    ...members.flatMap((member) => memberFindings(member, context)),
    ...addressFindings(context),
    ...comparisons(context),
  ];
  findings.sort((a, b) => Number(a.level === "note") - Number(b.level === "note"));
  const isWell = !findings.some(({ level }) => level === "problem");
  const verdict = confirmed === null ? "no quorum" : isWell ? "healthy" : "degraded";
  return { verdict, clusterId, leader, survives, shouldSurvive, members, findings };
}

interface Context {
  readonly answers: readonly Answer[];
  /** Answers of members of the cluster that is described. */
  readonly ofCluster: readonly Answer[];
  readonly members: readonly Patient[];
  readonly voters: readonly Patient[];
  readonly view: GetClusterResponse;
  readonly confirmed: GetClusterResponse | null;
  readonly survives: number | null;
  readonly shouldSurvive: number;
}

/** A confirmed view if there is one, else the one of the newest roster. */
function bestView(
  answers: readonly Answer[],
): { readonly view: GetClusterResponse; readonly confirmed: boolean } | null {
  const newest = (views: readonly (GetClusterResponse | null)[]): GetClusterResponse | null => {
    let found: GetClusterResponse | null = null;
    for (const view of views)
      if (view !== null && (found === null || rankOf(view) > rankOf(found))) found = view;
    return found;
  };
  const confirmed = newest(answers.map((answer) => answer.confirmed));
  if (confirmed !== null) return { view: confirmed, confirmed: true };
  const own = newest(answers.map((answer) => answer.own));
  return own === null ? null : { view: own, confirmed: false };
}

function rankOf({ header }: GetClusterResponse): bigint {
  return header?.revision ?? 0n;
}

function nobodyAnswered(answers: readonly Answer[]): Diagnosis {
  const finding: Finding = {
    code: "NO_ANSWER",
    level: "problem",
    text: `no member answered: ${answers.map(({ address, problem }) => `${address} (${problem})`).join("; ")}`,
    next: "start the members, or correct --endpoints: it takes the admin URLs of the members",
  };
  const none = { clusterId: "", leader: "", survives: null, shouldSurvive: 0, members: [] };
  return { verdict: "no answer", ...none, findings: [finding] };
}

// --- Members --------------------------------------------------------------------------------------------------------

function patientOf(
  { member }: MemberStatus,
  ofCluster: readonly Answer[],
  confirmed: GetClusterResponse | null,
  view: GetClusterResponse,
): Patient[] {
  if (member === undefined) return [];
  const { id, name, started } = member;
  const own = ofCluster.filter((answer) => answer.own?.header?.memberId === id);
  const header = own[0]?.own?.header;
  const byLeader = confirmed?.members.find((status) => status.member?.id === id);
  const others = (own[0]?.own?.members ?? []).filter((status) => status.member?.id !== id);
  const heard = others.map(({ member: other, lastHeard }) => [
    other?.id ?? "",
    lastHeard === undefined ? null : Math.round(milliseconds(lastHeard)),
  ]);
  return [
    {
      id,
      name,
      role: member.role === MemberRole.VOTER ? "voter" : "learner",
      started,
      answersAt: own.map(({ address }) => address),
      serving: own.find(({ serving }) => serving !== null)?.serving ?? null,
      leader: header === undefined ? null : nameOf(view, header.leaderId),
      term: header === undefined ? null : Number(header.raftTerm),
      revision: header === undefined ? null : Number(header.revision),
      applied: own[0]?.own == null ? null : Number(own[0].own.appliedIndex),
      reachable: byLeader?.reachable ?? null,
      lagEntries: byLeader?.lagEntries === undefined ? null : Number(byLeader.lagEntries),
      version: view.members.find((status) => status.member?.id === id)?.version ?? "",
      diskFull: byLeader === undefined ? null : diskFullOf(byLeader),
      heard: Object.fromEntries(heard) as Record<string, number | null>,
    },
  ];
}

/** Whether the leader knows that the member's disk is full; null where the member's version does not say. */
function diskFullOf(status: MemberStatus): boolean | null {
  return "diskFull" in status && typeof status.diskFull === "boolean" ? status.diskFull : null;
}

function memberFindings(member: Patient, { view, confirmed, voters }: Context): Finding[] {
  const { name } = member;
  const answers = member.answersAt.length > 0;
  if (!member.started && !answers) {
    const text = `${name} has never started`;
    const next = `start ${name}, or remove it: muster member remove ${name}`;
    return [problem("NEVER_STARTED", text, next)];
  }
  const found: Finding[] = [];
  if (confirmed !== null && member.reachable === false) {
    found.push(
      answers
        ? problem(
            "NOT_REACHED",
            `${name} answers at ${member.answersAt.join(", ")}, but the leader gets no answer at its peer URL ` +
              memberOf(view, member.id).peerUrls.join(", "),
            `check the peer-url in the configuration of ${name} against the roster's, its listener, and the network ` +
              "between it and the leader",
          )
        : problem(
            "DOWN",
            `${name} does not answer, neither here nor to the leader`,
            startOrRemove(name, voters.length),
          ),
    );
  } else if (confirmed === null && !answers) {
    found.push(problem("DOWN", `${name} does not answer`, `start ${name}, with its data directory as it is`));
  }
  if (member.diskFull === true)
    found.push(
      problem(
        "DISK_FULL",
        `the disk of ${name} is full`,
        `free space on the disk of ${name}; no restart is needed`,
      ),
    );
  if (member.reachable !== false && (member.lagEntries ?? 0) > FAR_BEHIND_ENTRIES) {
    const text = `${name} is ${String(member.lagEntries)} entries behind the leader, and does not count until it has them`;
    found.push(
      problem(
        "FAR_BEHIND",
        text,
        `wait until ${name} has caught up; if its lag does not fall, look at its log`,
      ),
    );
  }
  if (answers && member.serving === false && member.diskFull !== true && member.leader !== "") {
    const text = `${name} says of itself that it does not serve`;
    found.push(
      problem("NOT_SERVING", text, `look at the log of ${name}: its disk may be full, or it was removed`),
    );
  }
  return found;
}

function startOrRemove(name: string, voters: number): string {
  const start = `start ${name}, with its data directory as it is`;
  return voters < 2
    ? start
    : `${start}; if it is gone for good: muster member remove ${name}, then add another`;
}

// --- The cluster as a whole -----------------------------------------------------------------------------------------

function quorumFindings({ voters, ofCluster, view, confirmed, survives, shouldSurvive }: Context): Finding[] {
  const found: Finding[] = [];
  if (confirmed === null) {
    const answering = voters.filter(({ answersAt }) => answersAt.length > 0);
    const why = ofCluster.find(({ unconfirmed }) => unconfirmed !== "")?.unconfirmed ?? "";
    const text =
      `no quorum: ${String(answering.length)} of ${String(voters.length)} voters answer, ` +
      `${String(view.quorumSize)} are needed${why === "" ? "" : ` (${why})`}`;
    found.push(problem("NO_QUORUM", text, answering.length >= view.quorumSize ? RECONNECT : RESTART));
  }
  const leaders = new Set(
    ofCluster.flatMap(({ own }) =>
      (own?.header?.leaderId ?? "") === "" ? [] : [nameOf(view, own?.header?.leaderId ?? "")],
    ),
  );
  if (leaders.size > 1) {
    const text = `members name different leaders: ${[...leaders].join(", ")}`;
    const next =
      "an election may be going on: ask again in a few seconds; if it stays so, see who hears whom";
    found.push(problem("LEADERS_DIFFER", text, next));
  }
  if (survives !== null && survives < shouldSurvive) {
    const text = `the cluster survives ${failures(survives)} now, and should survive ${failures(shouldSurvive)}`;
    found.push(problem("SURVIVES_LESS", text, ""));
  }
  return found;
}

const RECONNECT =
  "enough voters run but do not form a quorum: see below who hears whom, and check their peer URLs and the network " +
  "between them; if they have just been started, ask again in a few seconds";
const RESTART =
  "start the voters that do not answer, with their data directories as they are; if they are lost for good, save what " +
  "is left (muster snapshot save FILE --serializable) and restore it as a new cluster";

/** How many failures, in words. */
export function failures(count: number): string {
  return count === 0 ? "no failure" : count === 1 ? "1 failure" : `${String(count)} failures`;
}

function addressFindings({ answers, ofCluster, members, view }: Context): Finding[] {
  const found: Finding[] = [];
  const clusters = new Set(
    answers.flatMap(({ own }) => (own?.header === undefined ? [] : [own.header.clusterId])),
  );
  if (clusters.size > 1) {
    const others = answers.filter((answer) => answer.own !== null && !ofCluster.includes(answer));
    const text = `${others.map(({ address }) => address).join(", ")} belong to another cluster than the others`;
    found.push(
      problem("DIFFERENT_CLUSTERS", text, "take them out of --endpoints, and ask each cluster apart"),
    );
  }
  const listed = new Map<string, string>();
  for (const { member } of view.members)
    for (const url of member?.adminUrls ?? []) listed.set(addressOf(url), member?.id ?? "");
  for (const { address, own, problem: why } of answers) {
    const owner = listed.get(address);
    const id = own?.header?.memberId;
    if (
      owner !== undefined &&
      id !== undefined &&
      owner !== id &&
      ofCluster.some((a) => a.address === address)
    ) {
      const text = `${nameOf(view, id)} answers at ${address}, which the roster has as an admin URL of ${nameOf(view, owner)}`;
      const next = `correct it: muster member update ${nameOf(view, owner)} --admin-url URL`;
      found.push(problem("OTHER_MEMBER_ANSWERS", text, next));
    } else if (owner === undefined && id !== undefined && members.some((member) => member.id === id)) {
      const text = `${nameOf(view, id)} answers at ${address}, which is none of its admin URLs in the roster`;
      found.push(note("ADDRESS_NOT_IN_ROSTER", text));
    } else if (owner === undefined && own === null) {
      found.push(
        note("ENDPOINT_SILENT", `${address} does not answer, and is no admin URL of the roster (${why})`),
      );
    }
  }
  return found;
}

function comparisons({ members, voters }: Context): Finding[] {
  const found: Finding[] = [];
  const list = (of: (member: Patient) => string | null): string =>
    members
      .flatMap((member) => (of(member) === null ? [] : [`${member.name} ${of(member) ?? ""}`]))
      .join(", ");
  const differ = (values: readonly (number | string | null)[]): boolean =>
    new Set(values.filter((value) => value !== null && value !== "")).size > 1;
  if (differ(members.map(({ revision }) => revision))) {
    const text = `rosters differ in their revision: ${list(({ revision }) => (revision === null ? null : String(revision)))}`;
    found.push(note("ROSTERS_DIFFER", `${text}; a member that lags catches up by itself`));
  }
  if (differ(members.map(({ version }) => version))) {
    const text = `versions differ: ${list(({ version }) => (version === "" ? null : version))}`;
    found.push(note("VERSIONS_DIFFER", `${text}; fine during an upgrade`));
  }
  if (voters.length > 0 && voters.length % 2 === 0) {
    const text = `${String(voters.length)} voters survive no more failures than ${String(voters.length - 1)}; use an odd number`;
    found.push(note("EVEN_VOTERS", text));
  }
  return found;
}

// --- Small parts ----------------------------------------------------------------------------------------------------

function problem(code: FindingCode, text: string, next: string): Finding {
  return { code, level: "problem", text, next };
}

function note(code: FindingCode, text: string): Finding {
  return { code, level: "note", text, next: "" };
}

function memberOf(view: GetClusterResponse, id: string): Member {
  const found = view.members.find((status) => status.member?.id === id)?.member;
  if (found === undefined) throw new Error(`no member ${id} in the roster`);
  return found;
}

/** The name of a member, or its id when the roster does not have it; empty for an empty id. */
function nameOf(view: GetClusterResponse, id: string): string {
  return view.members.find((status) => status.member?.id === id)?.member?.name ?? id;
}

function addressOf(url: string): string {
  return url.replace(/^https?:\/\//, "").toLowerCase();
}

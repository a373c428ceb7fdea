/** Each finding of `muster doctor`, from answers that lead to it, and the verdict. */
import { MemberRole } from "../../src/client";
import type { GetClusterResponse } from "../../src/client";
import { diagnose } from "../../src/cli/doctor_findings";
import type { Diagnosis } from "../../src/cli/doctor_findings";
import type { Answer } from "../../src/cli/survey";
import { MemberStatus } from "../../src/generated/muster/v1/member";
import { GetClusterResponse as ClusterMessage } from "../../src/generated/muster/v1/membership_service";

const NUMBERS = [1, 2, 3];

interface ViewOptions {
  readonly by: number;
  readonly leader?: number;
  readonly confirmed?: boolean;
  readonly tolerated?: number;
  readonly revision?: bigint;
  readonly cluster?: string;
  readonly size?: number;
  /** Changes the status of a member. */
  readonly change?: (n: number) => Partial<MemberStatus> & { started?: boolean; diskFull?: boolean };
}

function view(options: ViewOptions): GetClusterResponse {
  const {
    by,
    leader = 1,
    confirmed = false,
    tolerated = 1,
    revision = 9n,
    cluster = "c1",
    size = 3,
  } = options;
  const members = Array.from({ length: size }, (_, i) => i + 1).map((n) => {
    const { started = true, ...change } = options.change?.(n) ?? {};
    const known = confirmed ? { reachable: true, lagEntries: 0n, matchIndex: 20n } : {};
    const status = MemberStatus.fromPartial({
      member: {
        id: `a${String(n)}`,
        name: `n${String(n)}`,
        role: MemberRole.VOTER,
        started,
        peerUrls: [`http://10.0.0.${String(n)}:7461`],
        adminUrls: started ? [`http://10.0.0.${String(n)}:7460`] : [],
      },
      isLeader: n === leader,
      version: "1.0.0",
      ...known,
      ...(n === by ? {} : { lastHeard: { seconds: 0n, nanos: 80_000_000 } }),
    });
    return { ...status, ...change };
  });
  return {
    ...ClusterMessage.fromPartial({
      header: {
        clusterId: cluster,
        memberId: `a${String(by)}`,
        revision,
        raftTerm: 4n,
        leaderId: leader === 0 ? "" : `a${String(leader)}`,
      },
      quorumSize: Math.floor(size / 2) + 1,
      failuresTolerated: confirmed ? tolerated : 0,
      failuresToleratedKnown: confirmed,
    }),
    members,
  };
}

function answer(
  n: number,
  own: Partial<ViewOptions> = {},
  confirmed: Partial<ViewOptions> | null = {},
): Answer {
  return {
    address: `10.0.0.${String(n)}:7460`,
    own: view({ by: n, ...own }),
    confirmed: confirmed === null ? null : view({ by: 1, confirmed: true, ...own, ...confirmed }),
    serving: true,
    problem: "",
    unconfirmed: confirmed === null ? "NO_LEADER: nobody leads" : "",
  };
}

function silent(address: string): Answer {
  return { address, own: null, confirmed: null, serving: null, problem: "no connection", unconfirmed: "" };
}

const codes = ({ findings }: Diagnosis): string[] => findings.map(({ code }) => code);
const nextOf = ({ findings }: Diagnosis, code: string): string =>
  findings.find((finding) => finding.code === code)?.next ?? "";

test("a cluster that is well", () => {
  const found = diagnose(NUMBERS.map((n) => answer(n)));
  expect(found).toMatchObject({
    verdict: "healthy",
    leader: "n1",
    survives: 1,
    shouldSurvive: 1,
    findings: [],
  });
  expect(found.members[1]).toMatchObject({
    heard: { a1: 80, a3: 80 },
    answersAt: ["10.0.0.2:7460"],
    lagEntries: 0,
  });
});

test("NO_ANSWER: nobody answered", () => {
  const found = diagnose([silent("10.0.0.1:7460")]);
  expect([found.verdict, ...codes(found)]).toEqual(["no answer", "NO_ANSWER"]);
});

test("NO_QUORUM and DOWN: too few voters answer", () => {
  const found = diagnose([answer(1, { leader: 0 }, null), silent("10.0.0.2:7460"), silent("10.0.0.3:7460")]);
  expect([found.verdict, found.survives]).toEqual(["no quorum", null]);
  expect(codes(found)).toEqual(["NO_QUORUM", "DOWN", "DOWN"]);
  expect(nextOf(found, "NO_QUORUM")).toContain("start the voters");
});

test("NO_QUORUM: enough answer, but they do not reach each other", () => {
  const found = diagnose(NUMBERS.map((n) => answer(n, { leader: 0 }, null)));
  expect(codes(found)).toEqual(["NO_QUORUM"]);
  expect(nextOf(found, "NO_QUORUM")).toContain("who hears whom");
});

test("DOWN and SURVIVES_LESS: one member does not answer", () => {
  const change = (n: number) => (n === 3 ? { reachable: false } : {});
  const found = diagnose([
    ...[1, 2].map((n) => answer(n, {}, { change, tolerated: 0 })),
    silent("10.0.0.3:7460"),
  ]);
  expect([found.verdict, found.survives]).toEqual(["degraded", 0]);
  expect(codes(found).sort()).toEqual(["DOWN", "SURVIVES_LESS"]);
  expect(nextOf(found, "DOWN")).toContain("muster member remove n3");
});

test("NOT_REACHED: it answers here, and the leader does not reach it", () => {
  const change = (n: number) => (n === 3 ? { reachable: false } : {});
  const found = diagnose(NUMBERS.map((n) => answer(n, {}, { change, tolerated: 0 })));
  expect(codes(found).sort()).toEqual(["NOT_REACHED", "SURVIVES_LESS"]);
  expect(found.findings.map(({ text }) => text).join()).toContain("http://10.0.0.3:7461");
});

test("NEVER_STARTED", () => {
  const change = (n: number) => (n === 3 ? { started: false, reachable: false } : {});
  const found = diagnose([1, 2].map((n) => answer(n, { change }, { change, tolerated: 0 })));
  expect(codes(found).sort()).toEqual(["NEVER_STARTED", "SURVIVES_LESS"]);
});

test("DISK_FULL, where the members' version says so", () => {
  const change = (n: number) => (n === 2 ? { diskFull: true } : {});
  const found = diagnose(NUMBERS.map((n) => answer(n, {}, { change })));
  expect([found.verdict, ...codes(found)]).toEqual(["degraded", "DISK_FULL"]);
});

test("FAR_BEHIND", () => {
  const change = (n: number) => (n === 2 ? { lagEntries: 6000n } : {});
  const found = diagnose(NUMBERS.map((n) => answer(n, {}, { change })));
  expect(codes(found)).toEqual(["FAR_BEHIND"]);
});

test("NOT_SERVING", () => {
  const found = diagnose(NUMBERS.map((n) => ({ ...answer(n), serving: n !== 2 })));
  expect([found.verdict, ...codes(found)]).toEqual(["degraded", "NOT_SERVING"]);
});

test("LEADERS_DIFFER", () => {
  const found = diagnose([answer(1), answer(2), answer(3, { leader: 3 }, null)]);
  expect(codes(found)).toEqual(["LEADERS_DIFFER"]);
});

test("DIFFERENT_CLUSTERS", () => {
  const stranger = { ...answer(1, { cluster: "ff", revision: 1n }, null), address: "10.9.9.9:7460" };
  const found = diagnose([...NUMBERS.map((n) => answer(n)), stranger]);
  expect(codes(found)).toContain("DIFFERENT_CLUSTERS");
  expect(found.clusterId).toBe("c1");
});

test("OTHER_MEMBER_ANSWERS at an admin URL of the roster", () => {
  const found = diagnose([answer(1), answer(2), { ...answer(2), address: "10.0.0.3:7460" }]);
  expect(codes(found)).toContain("OTHER_MEMBER_ANSWERS");
});

test("notes do not make a cluster unhealthy", () => {
  const odd = { ...answer(1), address: "localhost:7460" };
  const behind = answer(3, { revision: 8n }, null);
  const found = diagnose([answer(1), answer(2), { ...behind, unconfirmed: "" }, odd, silent("10.9.9.9:1")]);
  expect(found.verdict).toBe("healthy");
  expect(codes(found).sort()).toEqual(["ADDRESS_NOT_IN_ROSTER", "ENDPOINT_SILENT", "ROSTERS_DIFFER"]);
});

test("VERSIONS_DIFFER and EVEN_VOTERS are notes", () => {
  const change = (n: number) => (n === 2 ? { version: "1.1.0" } : {});
  const all = [1, 2, 3, 4].map((n) => answer(n, { size: 4, change }, { size: 4, change }));
  expect(diagnose(all).verdict).toBe("healthy");
  expect(codes(diagnose(all)).sort()).toEqual(["EVEN_VOTERS", "VERSIONS_DIFFER"]);
});

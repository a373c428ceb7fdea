/**
 * A running cluster as a joiner sees it: who answers where, one roster, one leader. It keeps the roster's rules only as far
 * as a joiner meets them, and remembers outcomes by request id.
 */
import { RETRY, done, refusedBy } from "../../../src/base/outcome";
import type { Outcome } from "../../../src/base/outcome";
import type { Call } from "../../../src/base/call";
import { ATTEMPT_KEY } from "../../../src/cluster/attempts";
import {
  HelloRequest,
  HelloResponse,
  RaftServiceService,
} from "../../../src/generated/muster/raft/v1/raft_service";
import { Member, MemberRole, MemberTarget } from "../../../src/generated/muster/v1/member";
import {
  AddMemberRequest,
  AddMemberResponse,
  GetMembersRequest,
  GetMembersResponse,
  MembershipServiceService,
  ReplaceMemberRequest,
  ReplaceMemberResponse,
  UpdateMemberRequest,
  UpdateMemberResponse,
} from "../../../src/generated/muster/v1/membership_service";
import type { Reason } from "../../../src/roster/index";
import { methodName } from "../../../src/rpc/definition";
import { refusalError } from "../../../src/rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../../../src/transport/peer_calls";

export const CLUSTER_ID = "c1";

export interface ListedMember {
  id: string;
  name: string;
  peerUrl: string;
  started: boolean;
}

/** One change that arrived at the leader. */
export interface Change {
  readonly rpc: string;
  readonly url: string;
  readonly requestId: string;
  /** The number of the attempt, as the caller said. */
  readonly attempt: string;
}

/** What happens to a change in place of what the roster says; null: what the roster says. */
type Disturb = (rpc: string, apply: () => void) => Outcome<Uint8Array> | null;

export function refusal(reason: Reason, message = `refused: ${reason}`): Outcome<Uint8Array> {
  return refusedBy(refusalError({ reason, message, metadata: {} }));
}

const { getMembers, addMember, updateMember, replaceMember } = MembershipServiceService;

export class FakeCluster implements PeerCalls {
  members: ListedMember[] = ["n1", "n2", "n3"].map((name, i) => {
    return { id: String(i + 1), name, peerUrl: peerUrlOf(name), started: true };
  });
  revision = 10;
  /** The name of the member that leads; null: none. */
  leader: string | null = "n1";
  /** Whether the leader still has a quorum. */
  quorum = true;
  /** URLs where nobody answers, beside those that nobody has. */
  readonly down = new Set<string>();
  /** Cluster ids of other clusters, by the URL at which a member of one answers. */
  readonly others = new Map<string, string>();
  /** The names of processes that wait to join, by their URLs. */
  readonly waiting = new Map<string, string>();
  /** Ids of which some directory was met. */
  readonly met = new Set<string>();
  disturb: Disturb = () => null;
  readonly changes: Change[] = [];
  /** Every URL that was asked for the members. */
  readonly asked: string[] = [];
  /** Every request, by the name of its method. */
  readonly requests: { readonly rpc: string; readonly request: unknown }[] = [];
  private readonly outcomes = new Map<string, Outcome<Uint8Array>>();
  private nextId = 100;

  member(name: string): ListedMember | undefined {
    return this.members.find((member) => member.name === name);
  }

  ask(url: string, { path, body }: PeerRequest): Promise<Uint8Array | null> {
    return Promise.resolve(this.answerTo(url, path, body));
  }

  private answerTo(url: string, path: string, body: Uint8Array): Uint8Array | null {
    if (path === RaftServiceService.hello.path) return this.hello(url, HelloRequest.decode(body));
    this.asked.push(url);
    expect([path, GetMembersRequest.decode(body).consistency]).toEqual([getMembers.path, 2]);
    const other = this.others.get(url);
    if (other !== undefined)
      return GetMembersResponse.encode({ ...this.list(), ...this.header(other) }).finish();
    return this.at(url) === null ? null : GetMembersResponse.encode(this.list()).finish();
  }

  private hello(url: string, { memberId }: HelloRequest): Uint8Array | null {
    const waits = this.waiting.get(url);
    const member = this.at(url);
    if (waits === undefined && member === null) return null;
    const name = waits ?? member?.name ?? "";
    const metAnotherInstance = this.met.has(memberId.toString(16));
    return HelloResponse.encode(HelloResponse.create({ name, peerUrl: url, metAnotherInstance })).finish();
  }

  call(url: string, { path, body }: PeerRequest, { headers }: Call): Promise<Outcome<Uint8Array>> {
    const member = this.at(url);
    if (member === null) return Promise.resolve(RETRY);
    if (path === getMembers.path) {
      if (!this.quorum) return Promise.resolve(refusal("NO_QUORUM", "no quorum"));
      return Promise.resolve(done(GetMembersResponse.encode(this.list()).finish()));
    }
    if (member.name !== this.leader) return Promise.resolve(refusal("NOT_LEADER"));
    return Promise.resolve(this.change(url, path, body, headers.get(ATTEMPT_KEY) ?? "1"));
  }

  close(): void {
    // Nothing is open.
  }

  private change(url: string, path: string, body: Uint8Array, attempt: string): Outcome<Uint8Array> {
    const rpc = methodName(path);
    const { requestId } = decodeChange(path, body);
    this.changes.push({ rpc, url, requestId, attempt });
    let outcome: Outcome<Uint8Array> | undefined;
    const apply = (): Outcome<Uint8Array> => {
      outcome ??= this.outcomes.get(requestId) ?? this.apply(path, body);
      this.outcomes.set(requestId, outcome);
      return outcome;
    };
    return this.disturb(rpc, apply) ?? apply();
  }

  private apply(path: string, body: Uint8Array): Outcome<Uint8Array> {
    switch (path) {
      case addMember.path: {
        const request = AddMemberRequest.decode(body);
        this.requests.push({ rpc: "AddMember", request });
        if (this.member(request.name) !== undefined) return refusal("MEMBER_NAME_EXISTS");
        if (this.members.some(({ peerUrl }) => peerUrl === request.peerUrl))
          return refusal("PEER_URL_EXISTS");
        this.add(request.name, request.peerUrl);
        return done(AddMemberResponse.encode(AddMemberResponse.create(this.list())).finish());
      }
      case updateMember.path: {
        const request = UpdateMemberRequest.decode(body);
        this.requests.push({ rpc: "UpdateMember", request });
        const member = this.members.find(({ id }) => id === request.id);
        if (member === undefined) return refusal("MEMBER_REMOVED");
        member.peerUrl = request.newPeerUrl;
        return done(UpdateMemberResponse.encode(UpdateMemberResponse.create(this.list())).finish());
      }
      case replaceMember.path: {
        const request = ReplaceMemberRequest.decode(body);
        this.requests.push({ rpc: "ReplaceMember", request });
        const member = this.members.find(({ id }) => id === request.id);
        if (member === undefined) return refusal("MEMBER_REMOVED");
        this.members = this.members.filter((other) => other !== member);
        this.add(member.name, member.peerUrl);
        return done(ReplaceMemberResponse.encode(ReplaceMemberResponse.create(this.list())).finish());
      }
      default:
        throw new Error(`no such path: ${path}`);
    }
  }

  add(name: string, peerUrl: string, started = false): void {
    this.revision++;
    this.members.push({ id: (this.nextId++).toString(16), name, peerUrl, started });
  }

  private at(url: string): ListedMember | null {
    if (this.down.has(url)) return null;
    return (
      this.members.find(
        ({ name, peerUrl, started }) => started && [peerUrl, adminUrlOf(name)].includes(url),
      ) ?? null
    );
  }

  private header(clusterId: string): Pick<GetMembersResponse, "header"> {
    const leaderId = this.members.find(({ name }) => name === this.leader)?.id ?? "";
    return {
      header: { clusterId, memberId: "1", revision: BigInt(this.revision), raftTerm: 3n, leaderId },
    };
  }

  private list(): GetMembersResponse {
    const members = this.members.map(({ id, name, peerUrl, started }) =>
      Member.create({
        id,
        name,
        peerUrls: [peerUrl],
        adminUrls: started ? [adminUrlOf(name)] : [],
        role: MemberRole.VOTER,
        target: MemberTarget.VOTER,
        started,
      }),
    );
    return { ...this.header(CLUSTER_ID), members };
  }
}

export function peerUrlOf(name: string): string {
  return `http://${name}:7461`;
}

export function adminUrlOf(name: string): string {
  return `http://${name}:7460`;
}

function decodeChange(path: string, body: Uint8Array): { requestId: string } {
  if (path === addMember.path) return AddMemberRequest.decode(body);
  return path === updateMember.path ? UpdateMemberRequest.decode(body) : ReplaceMemberRequest.decode(body);
}

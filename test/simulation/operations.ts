/** The requests of clients and operators as plain values, used for both the call and the history. */
import {
  MembershipServiceService,
  type ResponseHeader,
} from "../../src/generated/muster/v1/membership_service";
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import type { Member } from "../../src/generated/muster/v1/member";
import { formatId, parseId } from "../../src/roster/index";
import type { Method } from "../../src/client/attempt";

/** Ports of the peer URLs that operators draw for members: from this one up, each once. */
export const DRAWN_PORTS = 8000;

/** What an operator says that a new member is to become. */
export type Target = "voter" | "learner" | "standby";

export type WriteBody =
  /** Adds a learner. */
  | { readonly rpc: "AddMember"; readonly name: string; readonly peerUrl: string; readonly target: Target }
  /** Selects by name and id, because another member may have the name by the time the call arrives. */
  | { readonly rpc: "UpdateMember"; readonly name: string; readonly id: bigint; readonly peerUrl: string }
  | { readonly rpc: "DeleteMember"; readonly name: string }
  | { readonly rpc: "UpdateAdminURL"; readonly name: string; readonly adminUrl: string }
  | { readonly rpc: "PromoteMember"; readonly name: string }
  | {
      readonly rpc: "ChangeMembers";
      readonly promote: readonly string[];
      readonly demote: readonly string[];
      readonly remove: readonly string[];
    }
  | {
      readonly rpc: "ReplaceMember";
      readonly name: string;
      /** The same name: in place. */
      readonly newName: string;
      /** Empty: that of the old member. */
      readonly peerUrl: string;
    }
  | { readonly rpc: "UpdateClusterSettings"; readonly settings: SettingsChange }
  /** A call that members make themselves. The simulation records it where the leader decides it. */
  | { readonly rpc: "Publish"; readonly name: string; readonly adminUrl: string };

/** What is not given stays as it is. Times in milliseconds. */
export interface SettingsChange {
  readonly autoPromote?: boolean;
  readonly standbyTakeoverAfterMs?: number;
  readonly removeUnstartedAfterMs?: number;
}

export interface WriteOperation {
  readonly body: WriteBody;
  readonly requestId: string;
  /** 0 for any revision. */
  readonly expectedRevision: number;
  readonly validateOnly: boolean;
}

/** A member in an answer. */
export interface MemberSeen {
  readonly id: bigint;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly adminUrls: readonly string[];
  readonly learner: boolean;
  readonly started: boolean;
  readonly updateRevision: number;
  /** Of a voter, and of a learner that is to become one, UNSPECIFIED or VOTER. */
  readonly target: MemberTarget;
  readonly replaces: bigint;
}

export interface WriteAnswer {
  readonly revision: number;
  readonly member: MemberSeen | null;
}

/** The roster in the answer to a read. */
export interface RosterAnswer {
  readonly revision: number;
  readonly members: readonly MemberSeen[];
}

/** The fields that the answers to writes have. */
interface WriteResponse {
  readonly header: ResponseHeader | undefined;
  /** Only in the answer to a change of one member. */
  readonly member?: Member | undefined;
}

/** A client's call: the method, the request, and a function that reads the answer. */
export interface WriteCall<Req, Res extends WriteResponse> {
  readonly method: Method<Req, Res>;
  readonly request: Req;
}

function call<Req, Res extends WriteResponse>(method: Method<Req, Res>, request: Req) {
  return { method, request } as unknown as WriteCall<never, WriteResponse>;
}

export function callOf(operation: WriteOperation): WriteCall<never, WriteResponse> {
  const { body, requestId, validateOnly } = operation;
  const service = MembershipServiceService;
  const write = { requestId, validateOnly, expectedRevision: BigInt(operation.expectedRevision), note: "" };
  switch (body.rpc) {
    case "AddMember": {
      const { name, peerUrl } = body;
      return call(service.addMember, {
        name,
        peerUrl,
        adminUrl: "",
        target: TARGETS[body.target],
        ...write,
      });
    }
    case "UpdateMember": {
      const { name, id, peerUrl } = body;
      return call(service.updateMember, { name, id: formatId(id), newPeerUrl: peerUrl, ...write });
    }
    case "DeleteMember":
      return call(service.deleteMember, { name: body.name, id: "", peerUrl: "", ...write });
    case "UpdateAdminURL":
      return call(service.updateAdminUrl, { name: body.name, id: "", adminUrls: [body.adminUrl], ...write });
    case "PromoteMember":
      return call(service.promoteMember, { name: body.name, id: "", ...write });
    case "ChangeMembers": {
      const { promote, demote, remove } = body;
      const selectors = { promote: named(promote), demote: named(demote), remove: named(remove) };
      return call(service.changeMembers, { ...selectors, ...write });
    }
    case "ReplaceMember": {
      const { name, newName, peerUrl } = body;
      return call(service.replaceMember, { name, id: "", newName, peerUrl, adminUrl: "", ...write });
    }
    case "UpdateClusterSettings": {
      const { autoPromote, standbyTakeoverAfterMs, removeUnstartedAfterMs } = body.settings;
      return call(service.updateClusterSettings, {
        autoPromote,
        standbyTakeoverAfter: duration(standbyTakeoverAfterMs),
        removeUnstartedAfter: duration(removeUnstartedAfterMs),
        ...write,
      });
    }
    case "Publish":
      throw new Error("only a member publishes itself");
  }
}

const TARGETS: Readonly<Record<Target, MemberTarget>> = {
  voter: MemberTarget.UNSPECIFIED,
  learner: MemberTarget.LEARNER,
  standby: MemberTarget.STANDBY,
};

function named(names: readonly string[]) {
  return names.map((name) => ({ name, id: "" }));
}

function duration(ms: number | undefined) {
  return ms === undefined ? undefined : { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1e6 };
}

export function writeAnswer({ header, member }: WriteResponse): WriteAnswer {
  return {
    revision: Number(header?.revision ?? 0n),
    member: member === undefined || member.id === "" ? null : seen(member),
  };
}

export function rosterAnswer(
  header: ResponseHeader | undefined,
  members: readonly (Member | undefined)[],
): RosterAnswer {
  return {
    revision: Number(header?.revision ?? 0n),
    members: members.flatMap((member) => (member === undefined ? [] : [seen(member)])),
  };
}

function seen(member: Member): MemberSeen {
  const { id, name, peerUrls, adminUrls, role, started, updateRevision, target, replaces } = member;
  return {
    id: parseId(id) ?? 0n,
    name,
    peerUrls,
    adminUrls,
    learner: role === MemberRole.LEARNER,
    started,
    updateRevision: Number(updateRevision),
    target,
    replaces: parseId(replaces) ?? 0n,
  };
}

/**
 * A service, used in the simulation only, for changes that the roster supports and the public service does not declare yet
 * (replacement). Its writes, forwarding and answers are those of the public service.
 */
import { sha256 } from "../../src/base/random";
import { MembershipServiceService } from "../../src/generated/muster/v1/membership_service";
import type { UpdateMemberResponse } from "../../src/generated/muster/v1/membership_service";
import { responseHeader } from "../../src/cluster/response_header";
import { fingerprint, laterMemberId, replaceMemberCommand, toMember } from "../../src/roster/index";
import type { CommandEnvelope, RosterCommand } from "../../src/roster/index";
import type { Handlers, MethodDefinition } from "../../src/rpc/definition";
import { notServing } from "../../src/services/backend";
import type { Member } from "./member";
import { OWN_PATH, ownMethod } from "./operations";
import type { OwnOperation } from "./operations";
import type { World } from "./world";

interface ChangeMethod extends MethodDefinition<OwnOperation, UpdateMemberResponse> {
  readonly requestStream: false;
  readonly responseStream: false;
}

const change: ChangeMethod = {
  path: OWN_PATH,
  requestStream: false,
  responseStream: false,
  requestSerialize: ownMethod.requestSerialize,
  requestDeserialize: (bytes) => JSON.parse(bytes.toString()) as OwnOperation,
  responseSerialize: MembershipServiceService.updateMember.responseSerialize,
  responseDeserialize: MembershipServiceService.updateMember.responseDeserialize,
};

export const operationService = { change } as const;

export function operationHandlers(member: Member): Handlers<typeof operationService> {
  return {
    change: async (operation, call) => {
      const { cluster } = member;
      if (cluster === null) throw notServing();
      const { replica, writes } = cluster;
      return writes.execute<UpdateMemberResponse>(
        {
          validateOnly: operation.validateOnly,
          command: () => commandOf(operation, member.world, member.host.time.wallMs()),
          forward: () => ({ path: OWN_PATH, body: change.requestSerialize(operation) }),
          answer: ({ revision, member: record }) => ({
            header: responseHeader(replica, revision),
            member: record === null ? undefined : toMember(record),
            members: [],
            quorumSteps: [],
          }),
        },
        call,
      );
    },
  };
}

function commandOf(operation: OwnOperation, { random }: World, timeMs: number): RosterCommand {
  const { body, requestId, expectedRevision, validateOnly } = operation;
  const fields = { ...body, requestId, expectedRevision, validateOnly, note: "" };
  const envelope: CommandEnvelope = {
    proposalId: random.u64(),
    timeMs,
    requestId,
    expectedRevision,
    fingerprint: fingerprint(sha256, body.rpc, fields),
  };
  const member = { id: 0n, name: body.name };
  const newId = (name: string, peerUrl: string): bigint =>
    laterMemberId(sha256, name, peerUrl, timeMs, random.bytes(16));
  const { newName: name, peerUrl } = body;
  const replacement = { id: newId(name, peerUrl), name, peerUrl, adminUrls: [] };
  return replaceMemberCommand(envelope, { member, peerUrl: "", replacement });
}

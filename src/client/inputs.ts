/**
 * What the methods of the client take: the requests of the contract, with their fields optional but for a few.
 */
import type {
  AddMemberRequest,
  ChangeMembersRequest,
  DeleteMemberRequest,
  GetClusterRequest,
  GetMembersRequest,
  PromoteMemberRequest,
  ReplaceMemberRequest,
  TransferLeadershipRequest,
  UpdateAdminURLRequest,
  UpdateClusterSettingsRequest,
  UpdateMemberRequest,
} from "../generated/muster/v1/membership_service";

/** A request whose fields are optional, except for those in `Required`. */
type Input<T, Required extends keyof T = never> = Readonly<Pick<T, Required>> & {
  readonly [K in Exclude<keyof T, Required>]?: T[K] | undefined;
};

/** `consistency`: LINEARIZABLE, or SERIALIZABLE for one member's own knowledge. @default LINEARIZABLE */
export type GetMembersInput = Input<GetMembersRequest>;
/** `consistency`: LINEARIZABLE, or SERIALIZABLE for one member's own knowledge. @default LINEARIZABLE */
export type GetClusterInput = Input<GetClusterRequest>;
/** Name and peer URL of the new member; `target`: what it is to become. @default target: a voter */
export type AddMemberInput = Input<AddMemberRequest, "name" | "peerUrl">;
/** Names the member by `name`, `id` or both. */
export type UpdateMemberInput = Input<UpdateMemberRequest, "newPeerUrl">;
/** Names the member by `name`, `id` or both. */
export type DeleteMemberInput = Input<DeleteMemberRequest>;
/** Names the member by `name`, `id` or both. */
export type PromoteMemberInput = Input<PromoteMemberRequest>;
/** A member by `name`, `id` or both. */
export interface MemberSelectorInput {
  readonly name?: string | undefined;
  readonly id?: string | undefined;
}
/** The members that one change promotes, demotes and removes; at least one, none of them twice. */
export interface ChangeMembersInput extends Omit<
  Input<ChangeMembersRequest>,
  "promote" | "demote" | "remove"
> {
  readonly promote?: readonly MemberSelectorInput[] | undefined;
  readonly demote?: readonly MemberSelectorInput[] | undefined;
  readonly remove?: readonly MemberSelectorInput[] | undefined;
}
/** Names the old member by `name`, `id` or both; the new one by `newName` and `peerUrl`, or by neither: in place. */
export type ReplaceMemberInput = Input<ReplaceMemberRequest>;
/** The settings to change; one that is left out stays as it is. A duration of 0 means never. */
export type UpdateClusterSettingsInput = Input<UpdateClusterSettingsRequest>;
/** Names the member by `name`, `id` or both. */
export type UpdateAdminURLInput = Input<UpdateAdminURLRequest, "adminUrls">;
/** Names the member by `name`, `id` or both. @default the most advanced voter in contact with the leader */
export type TransferLeadershipInput = Input<TransferLeadershipRequest>;

/** Leaves out undefined fields: the types of generated code accept a missing field, but not an undefined one. */
export function given<T extends object>(input: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(input).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

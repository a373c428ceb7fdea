/** The roster state machine: the only file of this layer that other layers import. */
export { CommandKind } from "../generated/muster/storage/v1/command";
export type { RosterCommand } from "../generated/muster/storage/v1/command";
export { RosterEvent_Kind } from "../generated/muster/storage/v1/snapshot";
export type { MemberRecord } from "../generated/muster/storage/v1/snapshot";
export { joinParts, sameBytes } from "./bytes";
export * from "./commands";
export * from "./ids";
export { MAX_VIOLATIONS, RefusedError, refused, refuseInvalid } from "./refusal";
export type { FieldViolation, Reason, Refusal } from "./refusal";
export type { Decision } from "./requests";
export * from "./roster";
export { RosterSnapshotError, SNAPSHOT_VERSION } from "./snapshot";
export { quote } from "./text";
export { normaliseUrl, URL_LENGTH_MAX } from "./url";
export * from "./validation";
export * from "./view";

/**
 * Validates requests field by field and normalises them, without reading the roster.
 *
 * A check never throws: it returns the normalised fields, or one INVALID_REQUEST refusal that names every invalid field.
 * Checks that depend on the roster are rules (rules.ts). Pure.
 */
import type { PublishRequest } from "../generated/muster/raft/v1/raft_service";
import { Consistency } from "../generated/muster/v1/membership_service";
import type {
  AddMemberRequest,
  ChangeMembersRequest,
  DeleteMemberRequest,
  PromoteMemberRequest,
  ReplaceMemberRequest,
  TransferLeadershipRequest,
  UpdateAdminURLRequest,
  UpdateClusterSettingsRequest,
  UpdateMemberRequest,
  WatchMembersRequest,
} from "../generated/muster/v1/membership_service";
import type { Duration } from "../generated/google/protobuf/duration";
import { MemberTarget } from "../generated/muster/v1/member";
import { parseId } from "./ids";
import { refuseInvalid } from "./refusal";
import type { FieldViolation, Refusal } from "./refusal";
import { quote } from "./text";
import { normalisePeerUrl, normaliseReachableUrl, normaliseUrl } from "./url";

/** Longest member name, in characters. */
const NAME_LENGTH_MAX = 128;
/** Longest request_id, in characters. */
const REQUEST_ID_LENGTH_MAX = 64;
/** Longest note, in characters (code points). */
const NOTE_LENGTH_MAX = 256;
/** Most admin URLs of one member. Bounded because each of the 10,000 remembered outcomes may contain them. */
export const ADMIN_URLS_MAX = 32;

/** Bytes of the id that a data directory is created with. */
const INSTANCE_ID_BYTES = 16;
/** Longest version that a member may publish, in characters. */
const VERSION_LENGTH_MAX = 64;

export type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly refusal: Refusal };

/** The fields that every write request has. */
export interface WriteFields {
  /** Empty: not given. */
  readonly requestId: string;
  /** 0: not given. */
  readonly expectedRevision: number;
  readonly validateOnly: boolean;
  /** Empty: not given. */
  readonly note: string;
}

/** Selects a member by id, by name or both; at least one is given. */
export interface SelectorFields {
  /** 0: not given. */
  readonly id: bigint;
  /** Empty: not given. */
  readonly name: string;
}

interface AddMemberFields extends WriteFields {
  readonly name: string;
  readonly peerUrl: string;
  /** At most one. */
  readonly adminUrls: readonly string[];
  /** Left out for a voter: the fingerprint of such a request is that of one from before there were targets. */
  readonly target?: MemberTarget;
}

interface PromoteMemberFields extends WriteFields {
  readonly member: SelectorFields;
}

interface ChangeMembersFields extends WriteFields {
  readonly promote: readonly SelectorFields[];
  readonly demote: readonly SelectorFields[];
  readonly remove: readonly SelectorFields[];
}

interface ReplaceMemberFields extends WriteFields {
  readonly member: SelectorFields;
  /** Empty: as the old member. */
  readonly newName: string;
  /** Empty: as the old member. */
  readonly peerUrl: string;
  /** At most one. */
  readonly adminUrls: readonly string[];
}

/** Settings to change; undefined: as it is. */
export interface SettingsFields {
  readonly autoPromote: boolean | undefined;
  readonly standbyTakeoverAfterMs: number | undefined;
  readonly removeUnstartedAfterMs: number | undefined;
}

interface UpdateSettingsFields extends WriteFields {
  readonly settings: SettingsFields;
}

interface UpdateMemberFields extends WriteFields {
  readonly member: SelectorFields;
  readonly newPeerUrl: string;
}

interface DeleteMemberFields extends WriteFields {
  readonly member: SelectorFields;
  /** Empty: not given. */
  readonly peerUrl: string;
}

interface UpdateAdminUrlFields extends WriteFields {
  readonly member: SelectorFields;
  readonly adminUrls: readonly string[];
}

/** The problem with a member's name, worded to follow the field's name in a message; null for a valid name. */
export function validateName(name: string): string | null {
  if (name === "") return "must not be empty";
  if (name.length > NAME_LENGTH_MAX)
    return `must be at most ${NAME_LENGTH_MAX} characters, not ${name.length}`;
  if (!/^[A-Za-z0-9._-]+$/.test(name)) return `must be letters, digits, '.', '_' or '-' only: ${quote(name)}`;
  return null;
}

/** The same for a request_id. The empty string means "not given" and is valid. */
export function validateRequestId(requestId: string): string | null {
  if (requestId.length > REQUEST_ID_LENGTH_MAX) {
    return `must be at most ${REQUEST_ID_LENGTH_MAX} characters, not ${requestId.length}`;
  }
  if (!/^[\x20-\x7e]*$/.test(requestId)) return `must be printable ASCII: ${quote(requestId)}`;
  return null;
}

/**
 * Control characters, line and paragraph separators, lone surrogates, and the marks that change the direction of the text
 * around them: a note is shown in tables and logs, and must not change how they look.
 */
const NOT_IN_NOTES = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** The same for a note. The empty string means "not given" and is valid. */
function validateNote(note: string): string | null {
  // Code points, as a person counts characters. A text of more UTF-16 units than two for each is longer in any case.
  const length = note.length > 2 * NOTE_LENGTH_MAX ? note.length : Array.from(note).length;
  if (length > NOTE_LENGTH_MAX) return `must be at most ${NOTE_LENGTH_MAX} characters, not ${length}`;
  if (NOT_IN_NOTES.test(note))
    return `must not have control characters, line breaks or marks of text direction: ${quote(note)}`;
  return null;
}

export function checkAddMember(request: AddMemberRequest): Checked<AddMemberFields> {
  const check = new FieldCheck();
  const value = {
    name: check.name("name", request.name),
    peerUrl: check.peerUrl("peer_url", request.peerUrl),
    adminUrls: request.adminUrl === "" ? [] : [check.url("admin_url", request.adminUrl)],
    ...check.target("target", request.target),
    ...check.write(request),
  };
  return check.result(value);
}

export function checkPromoteMember(request: PromoteMemberRequest): Checked<PromoteMemberFields> {
  const check = new FieldCheck();
  return check.result({ member: check.selector(request), ...check.write(request) });
}

export function checkReplaceMember(request: ReplaceMemberRequest): Checked<ReplaceMemberFields> {
  const check = new FieldCheck();
  const { newName, peerUrl, adminUrl } = request;
  return check.result({
    member: check.selector(request),
    newName: newName === "" ? "" : check.name("new_name", newName),
    peerUrl: peerUrl === "" ? "" : check.peerUrl("peer_url", peerUrl),
    adminUrls: adminUrl === "" ? [] : [check.url("admin_url", adminUrl)],
    ...check.write(request),
  });
}

/** Bounds of a setting that is a time and not 0, in milliseconds. */
const SETTING_MS_MIN = 1000;
const SETTING_MS_MAX = 365 * 24 * 3600 * 1000;

export function checkUpdateSettings(request: UpdateClusterSettingsRequest): Checked<UpdateSettingsFields> {
  const { autoPromote, standbyTakeoverAfter, removeUnstartedAfter } = request;
  if ([autoPromote, standbyTakeoverAfter, removeUnstartedAfter].every((value) => value === undefined)) {
    const description = "must be given, or standby_takeover_after, or remove_unstarted_after";
    return { ok: false, refusal: refuseInvalid([{ field: "auto_promote", description }]) };
  }
  const check = new FieldCheck();
  const settings = {
    autoPromote,
    standbyTakeoverAfterMs: check.settingMs("standby_takeover_after", standbyTakeoverAfter),
    removeUnstartedAfterMs: check.settingMs("remove_unstarted_after", removeUnstartedAfter),
  };
  return check.result({ settings, ...check.write(request) });
}

/** Most members that one change may name. More than any cluster of voters has, and few enough for one entry. */
const CHANGES_MAX = 64;

export function checkChangeMembers(request: ChangeMembersRequest): Checked<ChangeMembersFields> {
  const check = new FieldCheck();
  const { promote, demote, remove } = request;
  const count = promote.length + demote.length + remove.length;
  if (count === 0 || count > CHANGES_MAX) {
    const problem = `demote and remove must name 1 to ${CHANGES_MAX} members together, not ${count}`;
    return { ok: false, refusal: refuseInvalid([{ field: "promote", description: problem }]) };
  }
  return check.result({
    promote: check.selectors("promote", promote),
    demote: check.selectors("demote", demote),
    remove: check.selectors("remove", remove),
    ...check.write(request),
  });
}

export function checkUpdateMember(request: UpdateMemberRequest): Checked<UpdateMemberFields> {
  const check = new FieldCheck();
  const value = {
    member: check.selector(request),
    newPeerUrl: check.peerUrl("new_peer_url", request.newPeerUrl),
    ...check.write(request),
  };
  return check.result(value);
}

export function checkDeleteMember(request: DeleteMemberRequest): Checked<DeleteMemberFields> {
  const check = new FieldCheck();
  const value = {
    member: check.selector(request),
    // Compared only, so any URL that a roster may have from an earlier version is taken.
    peerUrl: request.peerUrl === "" ? "" : check.comparedUrl("peer_url", request.peerUrl),
    ...check.write(request),
  };
  return check.result(value);
}

export function checkUpdateAdminUrl(request: UpdateAdminURLRequest): Checked<UpdateAdminUrlFields> {
  const check = new FieldCheck();
  const value = {
    member: check.selector(request),
    adminUrls: check.urlList("admin_urls", request.adminUrls),
    ...check.write(request),
  };
  return check.result(value);
}

/** The request with its URLs in normal form. */
export function checkPublish(request: PublishRequest): Checked<PublishRequest> {
  const check = new FieldCheck();
  check.instanceId("instance_id", request.instanceId);
  check.version("version", request.version);
  check.requiredRequestId("request_id", request.requestId);
  const adminUrls = [...check.urlList("admin_urls", request.adminUrls)];
  // Empty from a version that does not say it.
  const peerUrl = request.peerUrl === "" ? "" : check.peerUrl("peer_url", request.peerUrl);
  return check.result({ ...request, adminUrls, peerUrl });
}

/** Whether a read is to be linearizable, which is also what "unspecified" means. */
export function checkConsistency(consistency: Consistency): Checked<boolean> {
  const check = new FieldCheck();
  check.consistency("consistency", consistency);
  return check.result(consistency !== Consistency.SERIALIZABLE);
}

/** What a watch is to send. */
export interface WatchFields {
  /** Null: not given. */
  readonly startRevision: number | null;
  readonly withLeader: boolean;
  readonly withProgress: boolean;
}

export function checkWatchMembers(request: WatchMembersRequest): Checked<WatchFields> {
  const { startRevision, withLeader, withProgress } = request;
  const check = new FieldCheck();
  const revision = check.revision("start_revision", startRevision);
  return check.result({ startRevision: revision === 0 ? null : revision, withLeader, withProgress });
}

/** Null: the request names no member. */
export function checkTransferLeadership(request: TransferLeadershipRequest): Checked<SelectorFields | null> {
  if (request.id === "" && request.name === "") return { ok: true, value: null };
  const check = new FieldCheck();
  return check.result(check.selector(request));
}

/** Normalises fields and collects violations. An invalid field keeps its value, which result() then never returns. */
class FieldCheck {
  private readonly violations: FieldViolation[] = [];

  result<T>(value: T): Checked<T> {
    return this.violations.length === 0
      ? { ok: true, value }
      : { ok: false, refusal: refuseInvalid(this.violations) };
  }

  name(field: string, name: string): string {
    this.note(field, validateName(name));
    return name;
  }

  /** Where clients reach a member. */
  url(field: string, text: string): string {
    return this.normalised(field, text, normaliseReachableUrl);
  }

  /** Where other members reach it. */
  peerUrl(field: string, text: string): string {
    return this.normalised(field, text, normalisePeerUrl);
  }

  comparedUrl(field: string, text: string): string {
    return this.normalised(field, text, normaliseUrl);
  }

  private normalised(field: string, text: string, normalise: typeof normaliseUrl): string {
    const checked = normalise(text);
    if (checked.ok) return checked.url;
    this.note(field, checked.problem);
    return text;
  }

  urlList(field: string, texts: readonly string[]): readonly string[] {
    if (texts.length === 0) this.note(field, "must have at least one URL");
    if (texts.length > ADMIN_URLS_MAX) {
      this.note(field, `must have at most ${ADMIN_URLS_MAX} URLs, not ${texts.length}`);
      return [];
    }
    const urls = texts.map((text, i) => this.url(`${field}[${i}]`, text));
    for (const [i, url] of urls.entries()) {
      const first = urls.indexOf(url);
      if (first < i)
        this.note(`${field}[${i}]`, `must be given once; it is ${field}[${first}]: ${quote(url)}`);
    }
    return urls;
  }

  selectors(
    field: string,
    members: readonly { readonly id: string; readonly name: string }[],
  ): readonly SelectorFields[] {
    return members.map((member, i) => this.selector(member, `${field}[${i}].`));
  }

  selector(request: { readonly id: string; readonly name: string }, path = ""): SelectorFields {
    if (request.id === "" && request.name === "")
      this.note(`${path}name`, "or id must be given to say which member is meant");
    if (request.name !== "") this.name(`${path}name`, request.name);
    const id = request.id === "" ? 0n : parseId(request.id);
    if (id === null) {
      this.note(
        `${path}id`,
        `must be 1 to 16 hex digits without leading zeros and not 0: ${quote(request.id)}`,
      );
    }
    return { id: id ?? 0n, name: request.name };
  }

  instanceId(field: string, bytes: Uint8Array): void {
    if (bytes.length !== INSTANCE_ID_BYTES) this.note(field, `must have ${INSTANCE_ID_BYTES} bytes`);
  }

  version(field: string, version: string): void {
    const fits = version.length >= 1 && version.length <= VERSION_LENGTH_MAX;
    if (!fits) this.note(field, `must have 1 to ${VERSION_LENGTH_MAX} characters`);
    else if (!/^[\x20-\x7e]*$/.test(version)) this.note(field, `must be printable ASCII: ${quote(version)}`);
  }

  requiredRequestId(field: string, requestId: string): void {
    this.note(field, requestId === "" ? "must not be empty" : validateRequestId(requestId));
  }

  consistency(field: string, value: Consistency): void {
    const known: readonly Consistency[] = [
      Consistency.UNSPECIFIED,
      Consistency.LINEARIZABLE,
      Consistency.SERIALIZABLE,
    ];
    if (!known.includes(value)) {
      const names = "CONSISTENCY_LINEARIZABLE (1) or CONSISTENCY_SERIALIZABLE (2)";
      this.note(field, `must be ${names}, or not given; ${value} is not known`);
    }
  }

  /** 0: not given. A log index is never larger than a number can express exactly. */
  revision(field: string, revision: bigint): number {
    const isSafe = revision >= 0n && revision <= BigInt(Number.MAX_SAFE_INTEGER);
    this.note(field, isSafe ? null : `must be from 0 to ${Number.MAX_SAFE_INTEGER}`);
    return Number(revision);
  }

  /** Whole milliseconds, rounded down. */
  settingMs(field: string, duration: Duration | undefined): number | undefined {
    if (duration === undefined) return undefined;
    const { seconds, nanos } = duration;
    const ms = Number(seconds) * 1000 + Math.floor(nanos / 1e6);
    const isZero = seconds === 0n && nanos === 0;
    const isDuration = nanos >= 0 && nanos < 1e9;
    if (!isZero && !(isDuration && ms >= SETTING_MS_MIN && ms <= SETTING_MS_MAX))
      this.note(field, "must be 0, or from 1 s to 365 days");
    return ms;
  }

  target(field: string, value: MemberTarget): { readonly target?: MemberTarget } {
    switch (value) {
      case MemberTarget.UNSPECIFIED:
      case MemberTarget.VOTER:
        return {};
      case MemberTarget.LEARNER:
      case MemberTarget.STANDBY:
        return { target: value };
      default: {
        const names = "MEMBER_TARGET_VOTER (1), MEMBER_TARGET_LEARNER (2) or MEMBER_TARGET_STANDBY (3)";
        this.note(field, `must be ${names}, or not given; ${String(value)} is not known`);
        return {};
      }
    }
  }

  write(request: {
    readonly requestId: string;
    readonly expectedRevision: bigint;
    readonly validateOnly: boolean;
    readonly note: string;
  }): WriteFields {
    this.note("request_id", validateRequestId(request.requestId));
    this.note("note", validateNote(request.note));
    return {
      requestId: request.requestId,
      expectedRevision: this.revision("expected_revision", request.expectedRevision),
      validateOnly: request.validateOnly,
      note: request.note,
    };
  }

  private note(field: string, problem: string | null): void {
    if (problem !== null) this.violations.push({ field, description: problem });
  }
}

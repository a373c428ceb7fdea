/**
 * Validates requests field by field and normalises them, without reading the roster.
 *
 * A check never throws: it returns the normalised fields, or one INVALID_REQUEST refusal that names every invalid field.
 * Checks that depend on the roster are rules (rules.ts). Pure.
 */
import type {
  AddMemberRequest,
  DeleteMemberRequest,
  UpdateAdminURLRequest,
  UpdateMemberRequest,
} from "../generated/muster/v1/membership_service";
import { parseId } from "./ids";
import { refuseInvalid } from "./refusal";
import type { FieldViolation, Refusal } from "./refusal";
import { quote } from "./text";
import { normaliseUrl } from "./url";

/** Longest member name, in characters. */
const NAME_LENGTH_MAX = 128;
/** Longest request_id, in characters. */
const REQUEST_ID_LENGTH_MAX = 64;
/** Most admin URLs of one member. Bounded because each of the 10,000 remembered outcomes may contain them. */
export const ADMIN_URLS_MAX = 32;

export type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly refusal: Refusal };

/** The fields that every write request has. */
export interface WriteFields {
  /** Empty: not given. */
  readonly requestId: string;
  /** 0: not given. */
  readonly expectedRevision: number;
  readonly validateOnly: boolean;
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

export function checkAddMember(request: AddMemberRequest): Checked<AddMemberFields> {
  const check = new FieldCheck();
  const value = {
    name: check.name("name", request.name),
    peerUrl: check.url("peer_url", request.peerUrl),
    adminUrls: request.adminUrl === "" ? [] : [check.url("admin_url", request.adminUrl)],
    ...check.write(request),
  };
  return check.result(value);
}

export function checkUpdateMember(request: UpdateMemberRequest): Checked<UpdateMemberFields> {
  const check = new FieldCheck();
  const value = {
    member: check.selector(request),
    newPeerUrl: check.url("new_peer_url", request.newPeerUrl),
    ...check.write(request),
  };
  return check.result(value);
}

export function checkDeleteMember(request: DeleteMemberRequest): Checked<DeleteMemberFields> {
  const check = new FieldCheck();
  const value = {
    member: check.selector(request),
    peerUrl: request.peerUrl === "" ? "" : check.url("peer_url", request.peerUrl),
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

  url(field: string, text: string): string {
    const checked = normaliseUrl(text);
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

  selector(request: { readonly id: string; readonly name: string }): SelectorFields {
    if (request.id === "" && request.name === "")
      this.note("name", "or id must be given to say which member is meant");
    if (request.name !== "") this.name("name", request.name);
    const id = request.id === "" ? 0n : parseId(request.id);
    if (id === null) {
      this.note("id", `must be 1 to 16 hex digits without leading zeros and not 0: ${quote(request.id)}`);
    }
    return { id: id ?? 0n, name: request.name };
  }

  write(request: {
    readonly requestId: string;
    readonly expectedRevision: bigint;
    readonly validateOnly: boolean;
  }): WriteFields {
    this.note("request_id", validateRequestId(request.requestId));
    const { expectedRevision } = request;
    if (expectedRevision < 0n || expectedRevision > BigInt(Number.MAX_SAFE_INTEGER)) {
      this.note("expected_revision", `must be from 0 to ${Number.MAX_SAFE_INTEGER}`);
    }
    return {
      requestId: request.requestId,
      expectedRevision: Number(expectedRevision),
      validateOnly: request.validateOnly,
    };
  }

  private note(field: string, problem: string | null): void {
    if (problem !== null) this.violations.push({ field, description: problem });
  }
}

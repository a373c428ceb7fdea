/**
 * Model of the roster for the linearizability checker. Each member name is a key, and keys are checked separately, because
 * linearizability is local. A read of the roster is a read of every name. Properties across names (a common revision, and
 * real time) are checked while the history grows (history.ts).
 */
import type { Call, History } from "./history";
import { checkLinearizable } from "./linearizability";
import type { Model, Operation } from "./linearizability";
import { DRAWN_PORTS } from "./operations";
import type { MemberSeen, WriteBody } from "./operations";
import { Violation } from "./violation";

/** The state of one name as clients see it. */
interface MemberView {
  /** Null when no member has the name. */
  readonly member: { readonly peerUrl: string; readonly adminUrl: string; readonly learner: boolean } | null;
  /** The revision of the last change or of the removal, as far as `bound` says. */
  readonly revision: number;
  /**
   * "after": the last change had an unknown outcome, and its revision is a later one. "from": a later one, or this one,
   * because a change may have changed nothing of the member, or only what is not looked at here.
   */
  readonly bound: "exact" | "after" | "from";
}

export type Input =
  | { readonly kind: "read" }
  | { readonly kind: "add"; readonly peerUrl: string; readonly learner: boolean }
  | { readonly kind: "remove" }
  | { readonly kind: "admin"; readonly adminUrl: string }
  | { readonly kind: "publish"; readonly adminUrl: string; readonly address: string }
  | { readonly kind: "move"; readonly peerUrl: string }
  | { readonly kind: "promote" }
  | { readonly kind: "demote" }
  /** Another member of the same name takes its place. */
  | { readonly kind: "replace"; readonly peerUrl: string }
  /** Another member that it was to replace is gone, which changed its record at this revision, and nothing that is looked at. */
  | { readonly kind: "touch"; readonly revision: number };

type Change = Exclude<Input, { kind: "read" }>;

export type Output =
  | { readonly kind: "read"; readonly seen: MemberView }
  /** An accepted change; `revision` is the member's revision after it. */
  | { readonly kind: "done"; readonly revision: number }
  /** An accepted change of several; `revision` is the member's revision if it changed this one. */
  | { readonly kind: "done together"; readonly revision: number }
  | { readonly kind: "refused"; readonly reason: string };

type Step = { readonly state: MemberView } | null;

export const memberModel: Model<MemberView, Input, Output> = {
  initial: { member: null, revision: 0, bound: "exact" },
  key: (state) => `${contents(state)} ${state.revision} ${state.bound}`,
  step: (state, input, output) => {
    if (input.kind === "read") return output?.kind === "read" ? read(state, output.seen) : null;
    if (output?.kind === "refused") return fitsRefusal(state, input, output.reason) ? { state } : null;
    if (input.kind === "touch") return touched(state, input.revision);
    const member = effect(state, input);
    if (output === null) return maybeDone(state, input, member);
    if (member === undefined || output.kind === "read") return null;
    const isSame = contents({ member }) === contents(state);
    if (output.kind === "done together" && isSame) return { state: unchanged(state, input) };
    const after: MemberView = { member, revision: output.revision, bound: "exact" };
    if (output.revision > state.revision) return { state: after };
    if (!isSame || output.revision < state.revision || state.bound === "after") return null;
    return { state: after };
  },
};

/** The change may have found nothing to do, or it undid a change that no read saw and that the history leaves out. */
function maybeDone(state: MemberView, input: Change, member: MemberView["member"] | undefined): Step {
  if (member === undefined) return { state };
  // A publish may change what is not looked at here, and another member in the same place is always a change.
  const isSeen = input.kind !== "publish" && input.kind !== "replace";
  if (isSeen && contents({ member }) === contents(state)) return { state: unchanged(state, input) };
  return { state: { member, revision: state.revision, bound: "after" } };
}

/** A learner that is demoted may get another target. */
function unchanged(state: MemberView, input: Change): MemberView {
  return input.kind === "demote" && state.bound === "exact" ? { ...state, bound: "from" } : state;
}

function touched(state: MemberView, revision: number): Step {
  if (state.member === null || revision <= state.revision) return null;
  return { state: { ...state, revision, bound: "exact" } };
}

function contents({ member }: Pick<MemberView, "member">): string {
  return member === null ? "-" : `${member.peerUrl} ${member.adminUrl} ${member.learner}`;
}

function read(state: MemberView, seen: MemberView): Step {
  if (contents(state) !== contents(seen)) return null;
  // A read does not show the revision of a removal.
  if (seen.member === null) return { state };
  if (state.bound === "exact") return state.revision === seen.revision ? { state } : null;
  if (seen.revision > state.revision) return { state: seen };
  return state.bound === "from" && seen.revision === state.revision ? { state: seen } : null;
}

/** The member after the change; undefined when the change would be refused. */
function effect(
  { member }: MemberView,
  input: Exclude<Change, { kind: "touch" }>,
): MemberView["member"] | undefined {
  if (input.kind === "add") {
    if (member !== null) return undefined;
    return { peerUrl: input.peerUrl, adminUrl: "", learner: input.learner };
  }
  if (member === null) return undefined;
  switch (input.kind) {
    case "remove":
      return null;
    case "admin":
      return { ...member, adminUrl: input.adminUrl };
    case "publish":
      return addressOf(member.peerUrl) === input.address || mayLeadAstray(member.peerUrl)
        ? { ...member, adminUrl: input.adminUrl }
        : undefined;
    case "move":
      return { ...member, peerUrl: input.peerUrl };
    case "promote":
    case "demote":
      return { ...member, learner: input.kind === "demote" };
    case "replace":
      return { peerUrl: input.peerUrl === "" ? member.peerUrl : input.peerUrl, adminUrl: "", learner: true };
  }
}

function fitsRefusal({ member }: MemberView, input: Change, reason: string): boolean {
  if (input.kind === "publish" || input.kind === "move") return true; // by id, not only by name
  switch (reason) {
    case "MEMBER_NOT_FOUND":
    case "MEMBER_REMOVED":
      return member === null;
    case "MEMBER_NAME_EXISTS":
      return member !== null;
    case "LEARNER_NOT_READY":
      return member?.learner === true;
    default:
      return true; // says nothing of this name
  }
}

/** The machine of a URL: a machine that moved has another suffix. */
function addressOf(url: string): string {
  return url.slice(url.indexOf("//") + 2, url.lastIndexOf(":")).replace(/-.*/, "");
}

/** Whether an operator may have given this URL to a member that is elsewhere: it has a port that was drawn later. */
function mayLeadAstray(url: string): boolean {
  return Number(url.slice(url.lastIndexOf(":") + 1)) >= DRAWN_PORTS;
}

type MemberOperation = Operation<Input, Output>;

/** A record that a change of another member changed too, without a change of what is looked at here. */
export interface Touch {
  readonly name: string;
  readonly revision: number;
}

/**
 * @param touches which the calls do not say: they are taken from the log
 * @returns the number of names that the checker could not decide. @throws Violation
 */
export function checkHistory(history: History, touches: readonly Touch[]): { readonly undecided: number } {
  const byName = new Map<string, MemberOperation[]>();
  const add = (name: string, operation: MemberOperation | null): void => {
    if (operation === null) return;
    let list = byName.get(name);
    if (list === undefined) byName.set(name, (list = []));
    list.push(operation);
  };
  for (const call of history.calls)
    for (const { name, input } of inputsOf(call)) add(name, operationOf(call, input));
  for (const { name, revision } of touches)
    add(name, { input: { kind: "touch", revision }, output: null, begin: 0, end: Infinity, isPure: false });
  for (const call of history.calls) {
    if (call.outcome.kind !== "read") continue;
    const members = new Map(call.outcome.answer.members.map((member) => [member.name, member]));
    for (const [name, operations] of byName) {
      const output = { kind: "read", seen: viewOf(members.get(name)) } as const;
      operations.push({ input: { kind: "read" }, output, begin: call.begin, end: call.end, isPure: true });
    }
  }
  let undecided = 0;
  for (const [name, operations] of byName) {
    const founder = /^n(\d+)$/.exec(name);
    const initial = founderOf(history, name, founder === null ? 0 : Number(founder[1]));
    const verdict = checkLinearizable({ ...memberModel, initial }, resolved(operations));
    if (verdict === "undecided") undecided++;
    if (verdict === "not linearizable")
      throw new Violation(
        "linearizable",
        `the history of ${name} is not linearizable:\n${describe(operations)}`,
      );
  }
  return { undecided };
}

/**
 * The initial state of a name: a member of the first configuration exists before any call. Its revision is not exact,
 * because the bootstrap entries are in order of ids, not of names.
 */
function founderOf(history: History, name: string, number: number): MemberView {
  if (number < 1 || number > history.founders) return memberModel.initial;
  const member = { peerUrl: `http://h${number - 1}:7461`, adminUrl: "", learner: name === "" };
  return { member, revision: 0, bound: "after" };
}

function viewOf(record: MemberSeen | undefined): MemberView {
  if (record === undefined) return memberModel.initial;
  const { peerUrls, adminUrls, learner, updateRevision } = record;
  const member = { peerUrl: peerUrls[0] ?? "", adminUrl: adminUrls[0] ?? "", learner };
  return { member, revision: updateRevision, bound: "exact" };
}

/**
 * Resolves changes of unknown outcome by what reads saw, because the search takes time exponential in their number. Each
 * change of a URL has a unique value, unless a member goes back to an address that it had. A change that no read saw is left
 * out, as if it had come last; but not one of the peer URL before a publish, or a change to the same URL, that was answered,
 * since one that changes nothing is answered with the revision of the change before it. A change that a read saw did happen, before the end of the
 * first such read, and at the revision of the oldest member state that has its value, unless that is the revision of
 * another change.
 */
function resolved(operations: readonly MemberOperation[]): MemberOperation[] {
  const seen = new Map<string, { revision: number; end: number }>();
  const revisions = new Map<number, number>();
  const count = (revision: number): void => void revisions.set(revision, (revisions.get(revision) ?? 0) + 1);
  for (const { input, output, end } of operations) {
    if (input.kind === "touch") count(input.revision);
    if (output?.kind === "done" || output?.kind === "done together") count(output.revision);
    if (output?.kind !== "read" || output.seen.member === null) continue;
    const { member, revision } = output.seen;
    for (const url of [member.adminUrl, member.peerUrl]) {
      const before = seen.get(url) ?? { revision, end };
      seen.set(url, { revision: Math.min(before.revision, revision), end: Math.min(before.end, end) });
    }
  }
  const urlOf = (input: Input): string | null =>
    input.kind === "admin" ? input.adminUrl : input.kind === "move" ? input.peerUrl : null;
  const open = operations.flatMap(({ input, output }) => {
    const url = output === null ? urlOf(input) : null;
    return url === null ? [] : [url];
  });
  for (const url of open) count(seen.get(url)?.revision ?? 0);
  // One of an unknown revision may have kept the URL.
  const isReplaced = operations.some(({ input, output }) => input.kind === "replace" && output === null);
  return operations.flatMap((operation) => {
    const url = operation.output === null ? urlOf(operation.input) : null;
    if (url === null || (isReplaced && operation.input.kind === "move")) return [operation];
    const found = seen.get(url);
    if (found === undefined) {
      const isAnswered = ({ input, output, end }: MemberOperation): boolean =>
        (input.kind === "publish" || (input.kind === "move" && input.peerUrl === url)) &&
        output?.kind === "done" &&
        end > operation.begin;
      return operation.input.kind === "move" && operations.some(isAnswered) ? [operation] : [];
    }
    const { revision, end } = found;
    if (revisions.get(revision) !== 1) return [operation];
    // A member that returns to an address that it had: its URL is not unique, and the search decides.
    if (end < operation.begin) return [operation];
    // Just before that end: positions are whole numbers, so this one is unused.
    return [{ ...operation, output: { kind: "done", revision }, end: end - 0.5, order: revision }];
  });
}

function operationOf(call: Call, input: Input): MemberOperation | null {
  const { begin, end, outcome } = call;
  const body = call.operation?.body;
  switch (outcome.kind) {
    case "wrote": {
      const { answer } = outcome;
      // The answer to a removal contains the member as it was before.
      const revision = input.kind === "remove" ? answer.revision : (answer.member?.updateRevision ?? 0);
      const order = revision === answer.revision ? revision : undefined;
      if (body?.rpc === "ChangeMembers" && input.kind !== "remove") {
        const together = { kind: "done together", revision: answer.revision } as const;
        return { input, output: together, begin, end, isPure: false };
      }
      return { input, output: { kind: "done", revision }, begin, end, isPure: false, order };
    }
    case "refused":
      return { input, output: { kind: "refused", reason: outcome.reason }, begin, end, isPure: true };
    case "open":
    case "unknown":
      return { input, output: null, begin, end: Infinity, isPure: false };
    case "void":
    case "read":
      return null;
  }
}

/** The names that a call reads or changes, with the operation on each. */
function inputsOf({ operation, outcome }: Call): { readonly name: string; readonly input: Input }[] {
  if (operation === null || operation.validateOnly) return [];
  const { body } = operation;
  switch (body.rpc) {
    case "UpdateClusterSettings":
      return [];
    case "ChangeMembers": {
      // A refusal may be caused by any of the names, so it says nothing about one of them.
      if (outcome.kind === "refused") return [];
      const all = (names: readonly string[], kind: "promote" | "demote" | "remove") =>
        names.map((name) => ({ name, input: { kind } }));
      return [...all(body.promote, "promote"), ...all(body.demote, "demote"), ...all(body.remove, "remove")];
    }
    case "ReplaceMember": {
      const { name, newName, peerUrl } = body;
      if (newName === name) return [{ name, input: { kind: "replace", peerUrl } }];
      return outcome.kind === "refused"
        ? []
        : [{ name: newName, input: { kind: "add", peerUrl, learner: true } }];
    }
    default:
      return [{ name: body.name, input: inputOf(body) }];
  }
}

type OneMember = Exclude<WriteBody, { rpc: "ReplaceMember" | "ChangeMembers" | "UpdateClusterSettings" }>;

function inputOf(body: OneMember): Input {
  switch (body.rpc) {
    case "AddMember":
      return { kind: "add", peerUrl: body.peerUrl, learner: true };
    case "DeleteMember":
      return { kind: "remove" };
    case "UpdateAdminURL":
      return { kind: "admin", adminUrl: body.adminUrl };
    case "UpdateMember":
      return { kind: "move", peerUrl: body.peerUrl };
    case "PromoteMember":
      return { kind: "promote" };
    case "Publish":
      return { kind: "publish", adminUrl: body.adminUrl, address: addressOf(body.adminUrl) };
  }
}

function describe(operations: readonly MemberOperation[]): string {
  const lines = [...operations].sort((a, b) => a.begin - b.begin);
  return lines
    .slice(0, 80)
    .map(
      ({ input, output, begin, end }) =>
        `  ${begin}..${end} ${JSON.stringify(input)} -> ${JSON.stringify(output)}`,
    )
    .join("\n");
}

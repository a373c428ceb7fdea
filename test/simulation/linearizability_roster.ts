/**
 * The roster as an object for the linearizability checker: one key a member name, keys checked apart (linearizability is
 * local). Every read of the roster is a read of every name. What spans names (one revision for all, and real time) is
 * checked as the history grows (history.ts).
 */
import type { Call, History } from "./history";
import { checkLinearizable } from "./linearizability";
import type { Model, Operation } from "./linearizability";
import type { WriteBody } from "./operations";
import { Violation } from "./violation";

/** A member as clients see it; null: no member has the name. */
type MemberView = { readonly peerUrl: string; readonly adminUrl: string; readonly learner: boolean } | null;

type Input =
  | { readonly kind: "read" }
  | { readonly kind: "add"; readonly peerUrl: string; readonly learner: boolean }
  | { readonly kind: "remove" }
  | { readonly kind: "admin"; readonly adminUrl: string }
  | { readonly kind: "publish"; readonly adminUrl: string; readonly address: string }
  | { readonly kind: "move"; readonly peerUrl: string }
  | { readonly kind: "promote" };

type Output =
  | { readonly kind: "read"; readonly member: MemberView }
  | { readonly kind: "done" }
  | { readonly kind: "refused"; readonly reason: string };

const SAME = (state: MemberView): { readonly state: MemberView } => ({ state });

export const memberModel: Model<MemberView, Input, Output> = {
  initial: null,
  key: (state) => (state === null ? "-" : `${state.peerUrl} ${state.adminUrl} ${state.learner}`),
  step: (state, input, output) => {
    if (input.kind === "read") {
      return output?.kind === "read" && memberModel.key(state) === memberModel.key(output.member) ? SAME(state) : null;
    }
    if (output?.kind === "refused") return fitsRefusal(state, input, output.reason) ? SAME(state) : null;
    const after = effect(state, input);
    // Of unknown outcome: it may have found nothing to do.
    if (after === undefined) return output === null ? SAME(state) : null;
    return { state: after };
  },
};

/** Undefined: it would be refused. */
function effect(state: MemberView, input: Exclude<Input, { kind: "read" }>): MemberView | undefined {
  if (input.kind === "add") {
    if (state !== null) return undefined;
    return { peerUrl: input.peerUrl, adminUrl: "", learner: input.learner };
  }
  if (state === null) return undefined;
  switch (input.kind) {
    case "remove":
      return null;
    case "admin":
      return { ...state, adminUrl: input.adminUrl };
    case "publish":
      return addressOf(state.peerUrl) === input.address ? { ...state, adminUrl: input.adminUrl } : undefined;
    case "move":
      return { ...state, peerUrl: input.peerUrl };
    case "promote":
      return state.learner ? { ...state, learner: false } : undefined;
  }
}

function fitsRefusal(state: MemberView, input: Input, reason: string): boolean {
  if (input.kind === "publish") return true; // by id, not by name
  switch (reason) {
    case "MEMBER_NOT_FOUND":
    case "MEMBER_REMOVED":
      return state === null;
    case "MEMBER_NAME_EXISTS":
      return state !== null;
    case "NOT_A_LEARNER":
      return state !== null && !state.learner;
    default:
      return true; // says nothing of this name
  }
}

function addressOf(url: string): string {
  return url.slice(url.indexOf("//") + 2, url.lastIndexOf(":"));
}

type MemberOperation = Operation<Input, Output>;

/** @returns how many names the checker gave up on. @throws Violation */
export function checkHistory(history: History): { readonly undecided: number } {
  const byName = new Map<string, MemberOperation[]>();
  for (const call of history.calls) {
    for (const { name, input } of inputsOf(call)) {
      const operation = operationOf(call, input);
      if (operation === null) continue;
      const list = byName.get(name);
      if (list === undefined) byName.set(name, [operation]);
      else list.push(operation);
    }
  }
  // The first configuration is there before anybody asks: its first appearance counts as an add of unknown outcome.
  for (const call of history.calls) {
    if (call.outcome.kind !== "read") continue;
    const { answer } = call.outcome;
    const members = new Map(answer.members.map((member) => [member.name, member]));
    for (const [name, operations] of byName) {
      const found = members.get(name);
      const member =
        found === undefined
          ? null
          : { peerUrl: found.peerUrls[0] ?? "", adminUrl: found.adminUrls[0] ?? "", learner: found.learner };
      operations.push({
        input: { kind: "read" },
        output: { kind: "read", member },
        begin: call.begin,
        end: call.end,
      });
    }
  }
  let undecided = 0;
  for (const [name, operations] of byName) {
    const founder = /^n(\d+)$/.exec(name);
    const initial = founderOf(history, name, founder === null ? 0 : Number(founder[1]));
    const verdict = checkLinearizable({ ...memberModel, initial }, withoutUnseen(operations));
    if (verdict === "undecided") undecided++;
    if (verdict === "not linearizable")
      throw new Violation("linearizable", `the history of ${name} is not linearizable:\n${describe(operations)}`);
  }
  return { undecided };
}

/** The member of the first configuration with this name, or null. */
function founderOf(history: History, name: string, number: number): MemberView {
  if (number < 1 || number > history.founders) return null;
  return { peerUrl: `http://h${number - 1}:7461`, adminUrl: "", learner: name === "" };
}

/**
 * A change of a URL whose outcome nobody knows, and whose value nobody ever saw, can as well have come last: it is left
 * out, since the search takes time exponential in the number of open operations.
 */
function withoutUnseen(operations: readonly MemberOperation[]): MemberOperation[] {
  const seen = new Set<string>();
  for (const { output } of operations) {
    if (output?.kind === "read" && output.member !== null) seen.add(output.member.adminUrl).add(output.member.peerUrl);
  }
  return operations.filter(({ input, output }) => {
    if (output !== null) return true;
    if (input.kind === "admin") return seen.has(input.adminUrl);
    if (input.kind === "move") return seen.has(input.peerUrl);
    return true;
  });
}

function operationOf(call: Call, input: Input): MemberOperation | null {
  const { begin, end, outcome } = call;
  switch (outcome.kind) {
    case "wrote":
      return { input, output: { kind: "done" }, begin, end };
    case "refused":
      return { input, output: { kind: "refused", reason: outcome.reason }, begin, end };
    case "open":
    case "unknown":
      return { input, output: null, begin, end: Infinity };
    case "void":
    case "read":
      return null;
  }
}

/** What a call does to which names. */
function inputsOf({ operation, outcome }: Call): { readonly name: string; readonly input: Input }[] {
  if (operation === null || operation.validateOnly) return [];
  const { body } = operation;
  if (body.rpc !== "ReplaceMember") return [{ name: body.name, input: inputOf(body) }];
  // A refusal may be about either name.
  if (outcome.kind === "refused") return [];
  return [
    { name: body.name, input: { kind: "remove" } },
    { name: body.newName, input: { kind: "add", peerUrl: body.peerUrl, learner: false } },
  ];
}

function inputOf(body: Exclude<WriteBody, { rpc: "ReplaceMember" }>): Input {
  switch (body.rpc) {
    case "AddMember":
      return { kind: "add", peerUrl: body.peerUrl, learner: body.learner };
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
    .map(({ input, output, begin, end }) => `  ${begin}..${end} ${JSON.stringify(input)} -> ${JSON.stringify(output)}`)
    .join("\n");
}

/**
 * Model of the register of the Jepsen histories: read, write and compare-and-set (cas). The initial value is nil; a cas
 * fails when the current value is not the expected one.
 */
import type { Model, Operation } from "../linearizability";

export type RegisterInput =
  | { readonly kind: "read" }
  | { readonly kind: "write"; readonly value: number }
  | { readonly kind: "cas"; readonly from: number; readonly to: number };
export type RegisterOutput =
  | { readonly kind: "value"; readonly value: number | null }
  | { readonly kind: "ok" }
  | { readonly kind: "mismatch" };
export type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

export const registerModel: Model<number | null, RegisterInput, RegisterOutput> = {
  initial: null,
  key: String,
  step: (state, input, output) => {
    switch (input.kind) {
      case "read":
        return output === null || (output.kind === "value" && output.value === state) ? { state } : null;
      case "write":
        return { state: input.value };
      case "cas": {
        const fits = state === input.from;
        if (output?.kind === "ok" && !fits) return null;
        if (output?.kind === "mismatch" && fits) return null;
        return { state: fits ? input.to : state };
      }
    }
  },
};

/** A line: process, kind of event, function, value. */
const LINE = /jepsen\.util - (\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(.*)$/;

/** @throws Error for a line of another form */
export function parseRegister(text: string): RegisterOperation[] {
  const open = new Map<number, { readonly input: RegisterInput; readonly begin: number }>();
  const operations: RegisterOperation[] = [];
  let time = 0;
  for (const line of text.split("\n")) {
    const match = LINE.exec(line);
    if (match === null) {
      if (line.trim() !== "" && !line.includes("jepsen")) throw new Error(`no line of a history: ${line}`);
      continue;
    }
    const [, id = "", event = "", name = "", value = ""] = match;
    const process = Number(id);
    time++;
    if (event === "invoke") {
      open.set(process, { input: inputOf(name, value), begin: time });
      continue;
    }
    const call = open.get(process);
    if (call === undefined) throw new Error(`an end without a beginning: ${line}`);
    open.delete(process);
    const ended = endOf(call.input, event, value);
    if (ended === "nothing") continue;
    operations.push({
      ...call,
      output: ended,
      end: ended === null ? Infinity : time,
      isPure: ended !== null && (call.input.kind === "read" || ended.kind === "mismatch"),
    });
  }
  for (const call of open.values()) operations.push({ ...call, output: null, end: Infinity, isPure: false });
  return operations;
}

function inputOf(name: string, value: string): RegisterInput {
  if (name === "read") return { kind: "read" };
  const numbers = value.match(/\d+/g)?.map(Number) ?? [];
  const [first = 0, second = 0] = numbers;
  return name === "write" ? { kind: "write", value: first } : { kind: "cas", from: first, to: second };
}

/** Null when the outcome is unknown; "nothing" when the operation had no effect and its end shows nothing of the value. */
function endOf(input: RegisterInput, event: string, value: string): RegisterOutput | null | "nothing" {
  if (event === "info") return input.kind === "read" ? "nothing" : null;
  if (event === "ok") {
    if (input.kind !== "read") return { kind: "ok" };
    return { kind: "value", value: value.trim() === "nil" ? null : Number(value) };
  }
  // A failed cas found another value than expected; a failed read or write did not happen.
  return input.kind === "cas" ? { kind: "mismatch" } : "nothing";
}

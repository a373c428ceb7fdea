/** Model of the key-value store of the kv histories: get, put, append on strings; keys are independent. */
import type { Model, Operation } from "../linearizability";

export type KvInput =
  | { readonly kind: "get" }
  | { readonly kind: "put"; readonly value: string }
  | { readonly kind: "append"; readonly value: string };
/** The output of a get; put and append have none. */
export type KvOutput = { readonly value: string };
export type KvOperation = Operation<KvInput, KvOutput>;

export const kvModel: Model<string, KvInput, KvOutput> = {
  initial: "",
  key: (state) => state,
  step: (state, input, output) => {
    switch (input.kind) {
      case "get":
        return output === null || output.value === state ? { state } : null;
      case "put":
        return { state: input.value };
      case "append":
        return { state: state + input.value };
    }
  },
};

const LINE =
  /^\{:process (\d+), :type :(invoke|ok), :f :(get|put|append), :key "(.*?)", :value (nil|"(.*)")\}$/;

/** @returns the operations by key. @throws Error for a line of another form */
export function parseKv(text: string): Map<string, KvOperation[]> {
  const open = new Map<number, { readonly key: string; readonly input: KvInput; readonly begin: number }>();
  const byKey = new Map<string, KvOperation[]>();
  const add = (key: string, operation: KvOperation): void => {
    const list = byKey.get(key);
    if (list === undefined) byKey.set(key, [operation]);
    else list.push(operation);
  };
  let time = 0;
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const match = LINE.exec(line.trim());
    if (match === null) throw new Error(`no line of a history: ${line}`);
    const [, id = "", event = "", name = "", key = "", , value = ""] = match;
    const process = Number(id);
    time++;
    if (event === "invoke") {
      const input: KvInput = name === "get" ? { kind: "get" } : { kind: name as "put" | "append", value };
      open.set(process, { key, input, begin: time });
      continue;
    }
    const call = open.get(process);
    if (call === undefined) throw new Error(`an end without a beginning: ${line}`);
    open.delete(process);
    const { input, begin } = call;
    add(call.key, { input, begin, end: time, output: { value }, isPure: input.kind === "get" });
  }
  for (const { key, input, begin } of open.values())
    add(key, { input, begin, end: Infinity, output: null, isPure: false });
  return byKey;
}

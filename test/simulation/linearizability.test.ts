/** Tests of the linearizability checker itself: linearizable histories, and the same histories made invalid. */
import { checkLinearizable } from "./linearizability";
import { memberModel } from "./linearizability_roster";
import type { Input, Output } from "./linearizability_roster";
import type { Operation } from "./linearizability";
import { kvModel, parseKv } from "./histories/kv";
import { parseRegister, registerModel } from "./histories/register";
import type { RegisterInput, RegisterOperation, RegisterOutput } from "./histories/register";
import { SimRandom } from "./random";

const check = (operations: readonly RegisterOperation[]) => checkLinearizable(registerModel, operations);

const write = (value: number, begin: number, end: number): RegisterOperation => ({
  input: { kind: "write", value },
  output: end === Infinity ? null : { kind: "ok" },
  begin,
  end,
  isPure: false,
});
const read = (value: number | null, begin: number, end: number): RegisterOperation => ({
  input: { kind: "read" },
  output: { kind: "value", value },
  begin,
  end,
  isPure: true,
});

describe("the linearizability checker", () => {
  test("accepts an empty history and a sequential one", () => {
    expect(check([])).toBe("linearizable");
    expect(check([read(null, 0, 1), write(1, 2, 3), read(1, 4, 5)])).toBe("linearizable");
    expect(check([write(1, 0, 1), read(null, 2, 3)])).toBe("not linearizable");
    expect(check([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)])).toBe("not linearizable");
  });

  test("concurrent operations take effect in any order, but in a single one", () => {
    expect(check([write(1, 0, 9), write(2, 1, 8), read(1, 2, 3), read(2, 4, 5)])).toBe("linearizable");
    expect(check([write(1, 0, 9), write(2, 1, 8), read(2, 2, 3), read(1, 4, 5)])).toBe("linearizable");
    expect(check([write(1, 0, 9), write(2, 1, 8), read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)])).toBe(
      "not linearizable",
    );
  });

  test("a write of unknown outcome may take effect late or never, but not before it began", () => {
    const unknown = write(1, 2, Infinity);
    expect(check([unknown, read(null, 3, 4), read(1, 5, 6)])).toBe("linearizable");
    expect(check([unknown, read(null, 3, 4), read(null, 5, 6)])).toBe("linearizable");
    expect(check([unknown, read(1, 0, 1)])).toBe("not linearizable");
    expect(check([unknown, read(1, 3, 4), read(null, 5, 6)])).toBe("not linearizable");
    // An operation takes effect at most once.
    expect(check([unknown, write(2, 3, 4), read(1, 5, 6), write(2, 7, 8), read(1, 9, 10)])).toBe(
      "not linearizable",
    );
    const again = write(1, 2.5, Infinity);
    expect(check([unknown, again, read(1, 5, 6), write(2, 7, 8), read(1, 9, 10)])).toBe("linearizable");
  });

  test("an answer with a revision fixes the position of its operation among the changes", () => {
    const at = (order: number, operation: RegisterOperation): RegisterOperation => ({ ...operation, order });
    expect(check([at(2, write(1, 0, 9)), at(1, write(2, 1, 8)), read(1, 10, 11)])).toBe("linearizable");
    expect(check([at(2, write(1, 0, 9)), at(1, write(2, 1, 8)), read(2, 10, 11)])).toBe("not linearizable");
  });

  test("a read that shows more of the state than was known is one choice among others", () => {
    const view = (peerUrl: string, adminUrl: string, revision: number) => ({
      member: { peerUrl, adminUrl, learner: false },
      revision,
      bound: "exact" as const,
    });
    const seen = (begin: number, end: number, value: ReturnType<typeof view>): Operation<Input, Output> => ({
      input: { kind: "read" },
      output: { kind: "read", seen: value },
      begin,
      end,
      isPure: true,
    });
    const done = (begin: number, end: number, revision: number, input: Input): Operation<Input, Output> => ({
      input,
      output: { kind: "done", revision },
      begin,
      end,
      isPure: false,
      order: revision,
    });
    const history = [
      done(1, 2, 16, { kind: "add", peerUrl: "http://h:1", learner: false }),
      done(3, 12, 34, { kind: "admin", adminUrl: "http://a:2" }),
      { ...done(4, Infinity, 0, { kind: "move", peerUrl: "http://h:3" }), output: null, order: undefined },
      // It would also be valid before the change to a:2, because the position of the unknown move is open.
      seen(5, 17, view("http://h:3", "", 38)),
      seen(13, 14, view("http://h:3", "http://a:2", 34)),
      done(15, 16, 38, { kind: "admin", adminUrl: "" }),
    ];
    expect(checkLinearizable(memberModel, history)).toBe("linearizable");
  });

  test("a search that takes too long is undecided", () => {
    expect(checkLinearizable(registerModel, [write(1, 0, 1), read(2, 2, 3)], 0)).toBe("undecided");
  });

  test("reads both kinds of history", () => {
    const jepsen = "INFO  jepsen.util - 0\t:invoke\t:write\t3\nINFO  jepsen.util - 1\t:invoke\t:cas\t[3 4]\n";
    const ends = "INFO  jepsen.util - 0\t:ok\t:write\t3\nINFO  jepsen.util - 1\t:fail\t:cas\t[3 4]\n";
    expect(check(parseRegister(jepsen + ends))).toBe("linearizable");
    expect(() => parseRegister("something else")).toThrow("no line of a history");
    const line = (type: string, f: string, value: string): string =>
      `{:process 0, :type :${type}, :f :${f}, :key "k", :value ${value}}`;
    const kv = [line("invoke", "append", '"a"'), line("ok", "append", '"a"'), line("invoke", "get", "nil")];
    const good = parseKv([...kv, line("ok", "get", '"a"')].join("\n")).get("k") ?? [];
    const bad = parseKv([...kv, line("ok", "get", '""')].join("\n")).get("k") ?? [];
    expect(checkLinearizable(kvModel, good)).toBe("linearizable");
    expect(checkLinearizable(kvModel, bad)).toBe("not linearizable");
  });
});

/** A history of a register that is linearizable by construction: every operation takes effect between begin and end. */
function goodHistory(seed: number): RegisterOperation[] {
  const random = new SimRandom(seed);
  const operations: (RegisterOperation & { readonly at: number })[] = [];
  let value: number | null = null;
  for (let i = 1; i <= 40; i++) {
    // Takes effect at 10 i; consecutive operations overlap.
    const at = 10 * i;
    const begin = at - random.between(1, 25) - i / 1000;
    const end = at + random.between(1, 25) + i / 1000;
    let input: RegisterInput = { kind: "read" };
    let output: RegisterOutput = { kind: "value", value };
    if (random.chance(0.4)) {
      input = { kind: "write", value: i };
      output = { kind: "ok" };
      value = i;
    }
    operations.push({ input, output, begin, end, at, isPure: input.kind === "read" });
  }
  return operations.map(({ at: _at, ...operation }) => operation);
}

type Mutation = (operations: RegisterOperation[], random: SimRandom) => RegisterOperation[] | null;

const isRead = ({ input }: Operation<RegisterInput, RegisterOutput>): boolean => input.kind === "read";
const valueOf = ({ input, output }: RegisterOperation): number | null =>
  input.kind === "write" ? input.value : output?.kind === "value" ? output.value : null;

/** Each mutation certainly makes a history invalid, because every write has a unique value. */
const MUTATIONS: Readonly<Record<string, Mutation>> = {
  "a value that nobody wrote": (operations, random) => {
    const target = random.pick(operations.filter(isRead));
    return target === null ? null : operations.map((o) => (o === target ? read(999, o.begin, o.end) : o));
  },
  "a write that got lost": (operations, random) => {
    const seen = new Set(operations.filter(isRead).map(valueOf));
    const target = random.pick(operations.filter((o) => !isRead(o) && seen.has(valueOf(o))));
    return target === null ? null : operations.filter((o) => o !== target);
  },
  "a value from before a write that had ended": (operations, random) => {
    const target = random.pick(
      operations.filter((o) => isRead(o) && operations.some((w) => !isRead(w) && w.end < o.begin)),
    );
    return target === null ? null : operations.map((o) => (o === target ? read(null, o.begin, o.end) : o));
  },
  "a value before it was written": (operations, random) => {
    const target = random.pick(operations.filter((o) => isRead(o) && valueOf(o) !== null));
    if (target === null) return null;
    return operations.map((o) => (o === target ? read(valueOf(o), -1000.5, -1000) : o));
  },
};

describe("linearizable histories made invalid", () => {
  test.each(Object.entries(MUTATIONS))("%s: 25 of 25 are rejected", (_name, mutate) => {
    let broken = 0;
    for (let seed = 1; broken < 25; seed++) {
      const good = goodHistory(seed);
      expect(check(good)).toBe("linearizable");
      const bad = mutate(good, new SimRandom(seed + 1000));
      if (bad === null) continue;
      expect(check(bad)).toBe("not linearizable");
      broken++;
    }
  });
});

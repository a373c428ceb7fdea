/** What every unary call goes through on any wire: whatever the handler does, the caller gets an answer or a status. */
import { OpenCall } from "../../src/base/call";
import type { Call } from "../../src/base/call";
import { Deadline } from "../../src/base/deadline";
import { Garbage } from "../../src/rpc/definition";
import { RpcError, StatusCode, refusalError } from "../../src/rpc/rpc_error";
import { answerUnary } from "../../src/rpc/unary";
import { ManualClock } from "../base/support/manual_clock";

const call = new OpenCall({ method: "Test", deadline: Deadline.of(new ManualClock(), 1000, 1000) });
const translated = new RpcError(StatusCode.INTERNAL, "translated", null);
const seen: [unknown, Call][] = [];

beforeEach(() => {
  seen.length = 0;
});

function translate(error: unknown, of: Call): RpcError {
  seen.push([error, of]);
  return translated;
}

const failureOf = (answer: Promise<unknown>): Promise<unknown> =>
  answer.then(
    () => null,
    (error: unknown) => error,
  );

test("an answer comes as the handler gave it, encoded or not", async () => {
  const handler = (request: string, of: Call): Promise<string> => Promise.resolve(`${request}! ${of.method}`);
  expect(await answerUnary(handler, "x", call, translate)).toBe("x! Test");
  const encoded = Buffer.from("encoded");
  expect(await answerUnary(() => Promise.resolve(encoded), "x", call, translate)).toBe(encoded);
  expect(seen).toEqual([]);
});

test("a request that does not decode never reaches the handler", async () => {
  let reached = false;
  const handler = (): Promise<string> => {
    reached = true;
    return Promise.resolve("");
  };
  const error = await failureOf(answerUnary(handler, new Garbage("index out of range"), call, translate));
  expect(reached).toBe(false);
  expect(error).toBeInstanceOf(RpcError);
  expect(error).toMatchObject({ code: StatusCode.INVALID_ARGUMENT, reason: "INVALID_REQUEST" });
  expect((error as RpcError).message).not.toContain("index out of range");
  expect(seen).toEqual([]);
});

const secret = new Error("secret");

test.each([
  [
    "throws",
    secret,
    () => {
      throw secret;
    },
  ],
  ["rejects", secret, () => Promise.reject(secret)],
  [
    "throws what is no Error",
    "secret",
    () => {
      // eslint-disable-next-line @typescript-eslint/only-throw-error -- what is tested
      throw "secret";
    },
  ],
])("a handler that %s: its caller gets the translator's status, once", async (_what, thrown, handler) => {
  const error = await failureOf(answerUnary<string, string>(handler, "x", call, translate));
  expect(error).toBe(translated);
  expect(seen).toEqual([[thrown, call]]);
});

test("an RpcError of the handler goes through the translator too", async () => {
  const passed = refusalError({ reason: "REVISION_MISMATCH", message: "as it was", metadata: {} });
  const asItIs = (error: unknown): RpcError => error as RpcError;
  expect(await failureOf(answerUnary(() => Promise.reject(passed), "x", call, asItIs))).toBe(passed);
});

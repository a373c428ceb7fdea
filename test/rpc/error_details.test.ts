/** Error details: what is encoded is read back, any text can be sent, and no received bytes throw. */
import fc from "fast-check";
import type { Any } from "../../src/generated/google/protobuf/any";
import { BadRequest, ErrorInfo, RetryInfo } from "../../src/generated/google/rpc/error_details";
import { Status } from "../../src/generated/google/rpc/status";
import {
  decodeDetails,
  encodeDetails,
  fromDuration,
  toDuration,
  wellFormed,
} from "../../src/rpc/error_details";

const NOTHING = {
  message: undefined,
  reason: undefined,
  metadata: new Map(),
  violations: [],
  retryDelayMs: undefined,
};

const NOT_FOUND = 5;

const any = (name: string, bytes: Uint8Array): Any => ({
  typeUrl: `type.googleapis.com/google.rpc.${name}`,
  value: Buffer.from(bytes),
});

const infoOf = (domain: string, reason = "MEMBER_NOT_FOUND", metadata = new Map<string, string>()): Any =>
  any("ErrorInfo", ErrorInfo.encode({ reason, domain, metadata }).finish());

const statusOf = (...details: Any[]): Uint8Array =>
  Status.encode({ code: NOT_FOUND, message: "text", details }).finish();

describe("encodeDetails", () => {
  test("packs code, text, reason, violations and delay in this order", () => {
    const bytes = encodeDetails({
      code: 3,
      message: "name: too long",
      reason: "INVALID_REQUEST",
      metadata: { field_count: "1", first: "name" },
      violations: [{ field: "name", description: "too long" }],
      retryDelayMs: 1500,
    });
    const metadata = new Map([
      ["field_count", "1"],
      ["first", "name"],
    ]);
    const violation = { field: "name", description: "too long", reason: "", localizedMessage: undefined };
    const wanted = Status.encode({
      code: 3,
      message: "name: too long",
      details: [
        infoOf("muster.v1", "INVALID_REQUEST", metadata),
        any("BadRequest", BadRequest.encode({ fieldViolations: [violation] }).finish()),
        any("RetryInfo", RetryInfo.encode({ retryDelay: { seconds: 1n, nanos: 500_000_000 } }).finish()),
      ],
    }).finish();
    expect(bytes).toEqual(Buffer.from(wanted));
  });

  test.each([{}, { violations: [], retryDelayMs: null }])("packs the reason alone: %j", (rest) => {
    const bytes = encodeDetails({ code: 9, message: "no", reason: "LAST_VOTER", metadata: {}, ...rest });
    expect(Status.decode(bytes).details).toEqual([infoOf("muster.v1", "LAST_VOTER")]);
  });

  test("a delay of 0 is sent", () => {
    const bytes = encodeDetails({
      code: 14,
      message: "",
      reason: "NO_LEADER",
      metadata: {},
      retryDelayMs: 0,
    });
    expect(decodeDetails(bytes).retryDelayMs).toBe(0);
  });

  test("any text can be sent: it is well-formed and short", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 50 }), fc.nat(5000), (piece, times) => {
        const message = `\ud800${piece.repeat(times)}`;
        const decoded = decodeDetails(
          encodeDetails({ code: 2, message, reason: "X", metadata: { key: `${piece.repeat(99)}\udc00` } }),
        );
        expect(decoded.message).toBe(wellFormed(message));
        expect(decoded.message?.length).toBeLessThanOrEqual(2048);
        const value = decoded.metadata.get("key") ?? "";
        expect(value.length).toBeLessThanOrEqual(512);
        expect(() => encodeURI(`${decoded.message ?? ""}${value}`)).not.toThrow();
      }),
    );
  });
});

describe("decodeDetails", () => {
  test("reads back what encodeDetails wrote", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 40 });
    const error = fc.record({
      code: fc.integer({ min: 1, max: 16 }),
      message: text,
      reason: fc.stringMatching(/^[A-Z][A-Z_]{0,30}$/),
      metadata: fc.dictionary(fc.stringMatching(/^[a-z][a-z_]{0,20}$/), text),
      violations: fc.array(fc.record({ field: text, description: text }), { maxLength: 5 }),
      retryDelayMs: fc.option(fc.nat()),
    });
    fc.assert(
      fc.property(error, (sent) => {
        expect(decodeDetails(encodeDetails(sent))).toEqual({
          message: sent.message,
          reason: sent.reason,
          metadata: new Map(Object.entries(sent.metadata)),
          violations: sent.violations,
          retryDelayMs: sent.retryDelayMs ?? undefined,
        });
      }),
    );
  });
});

describe("decodeDetails of untrusted bytes", () => {
  test.each([undefined, Buffer.alloc(0), Buffer.from([0xff]), Buffer.from([0x1a, 0x7f, 0x01])])(
    "finds nothing in missing or damaged bytes %#",
    (bytes) => {
      expect(decodeDetails(bytes)).toEqual(NOTHING);
    },
  );

  test("random bytes never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        decodeDetails(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  test("one changed or missing byte never throws", () => {
    const whole = encodeDetails({
      code: 3,
      message: "m",
      reason: "INVALID_REQUEST",
      metadata: { a: "b" },
      violations: [{ field: "f", description: "d" }],
      retryDelayMs: 1,
    });
    for (let at = 0; at < whole.length; at++) {
      decodeDetails(whole.subarray(0, at));
      for (const value of [0x00, 0x7f, 0x80, 0xff]) {
        const changed = Buffer.from(whole);
        changed[at] = value;
        decodeDetails(changed);
      }
    }
  });

  test("a reason of another domain, or an empty one, is left out with its text", () => {
    expect(decodeDetails(statusOf(infoOf("example.com")))).toEqual(NOTHING);
    expect(decodeDetails(statusOf(infoOf("muster.v1", "")))).toEqual(NOTHING);
    const both = decodeDetails(statusOf(infoOf("muster.v1"), infoOf("example.com", "QUOTA")));
    expect(both).toMatchObject({ reason: "MEMBER_NOT_FOUND", message: "text" });
  });

  test("one damaged detail does not take the others with it", () => {
    for (const name of ["ErrorInfo", "BadRequest", "RetryInfo", "Help"]) {
      const damaged = any(name, Buffer.from([0xff]));
      for (const bytes of [statusOf(infoOf("muster.v1"), damaged), statusOf(damaged, infoOf("muster.v1"))]) {
        expect(decodeDetails(bytes)).toEqual({ ...NOTHING, reason: "MEMBER_NOT_FOUND", message: "text" });
      }
    }
  });

  test("the prefix of a type URL does not matter", () => {
    const info = infoOf("muster.v1");
    const renamed = { ...info, typeUrl: "types.example.com/a/google.rpc.ErrorInfo" };
    expect(decodeDetails(statusOf(renamed)).reason).toBe("MEMBER_NOT_FOUND");
  });
});

describe("wellFormed", () => {
  test("cuts without leaving half a character", () => {
    expect(wellFormed("ab\u{1f600}cd", 4)).toBe("ab\ufffd\u2026");
    expect(wellFormed("abcd", 4)).toBe("abcd");
  });

  test("replaces lone surrogates and nothing else", () => {
    expect(wellFormed("a\ud800b\udc00c\u{1f600}")).toBe("a\ufffdb\ufffdc\u{1f600}");
  });
});

describe("durations", () => {
  test.each([
    [0, 0n, 0],
    [999, 0n, 999_000_000],
    [1500, 1n, 500_000_000],
    [1500.9, 1n, 500_000_000],
    [-1, 0n, 0],
    [-5, 0n, 0],
    [999.9, 0n, 999_000_000],
    [61_001, 61n, 1_000_000],
  ])("%d ms", (ms, seconds, nanos) => {
    expect(toDuration(ms)).toEqual({ seconds, nanos });
  });

  test("a received one may have fractions and is never negative", () => {
    expect(fromDuration({ seconds: 0n, nanos: 1 })).toBe(1e-6);
    expect(fromDuration({ seconds: -5n, nanos: -1 })).toBe(0);
    expect(fromDuration({ seconds: 2n ** 63n - 1n, nanos: 0 })).toBeGreaterThan(1e21);
  });

  test("whole milliseconds are read back", () => {
    fc.assert(
      fc.property(fc.nat(), (ms) => {
        expect(fromDuration(toDuration(ms))).toBe(ms);
      }),
    );
  });
});

/** The endpoints of a client: hints, those of the roster, and which of them say that they serve. */
import { status } from "@grpc/grpc-js";
import { MusterError } from "../../src/client";
import type { Channel } from "../../src/client/attempt";
import { parseEndpoints } from "../../src/client/endpoints";
import { EndpointPool } from "../../src/client/pool";
import { Rounds } from "../../src/client/rounds";
import { HealthCheckResponse_ServingStatus as Serving } from "../../src/generated/grpc/health/v1/health";
import { MembershipServiceService } from "../../src/generated/muster/v1/membership_service";
import { StreamChannel, until } from "./support/stream_channel";

const { getMembers } = MembershipServiceService;
const ATTEMPT = { timeoutMs: 100, requestId: undefined, number: 1, signal: undefined };

/** Answers at once, unless held. */
class UnaryChannel extends StreamChannel {
  release: (() => void) | null = null;
  held = false;

  override unary(): Promise<never> {
    if (!this.held) return Promise.resolve(undefined as never);
    return new Promise((resolve) => (this.release = () => resolve(undefined as never)));
  }
}

let now: number;
let dialled: Map<string, UnaryChannel>;

interface PoolOptions {
  readonly followRoster?: boolean;
  readonly ownCredentials?: boolean;
  readonly healthCheck?: boolean;
}

function pool(hints: string[], options: PoolOptions = {}): EndpointPool {
  return new EndpointPool({
    hints: parseEndpoints(hints),
    dial: ({ authority, tls }) => {
      const channel = new UnaryChannel(`${tls ? "https://" : ""}${authority}`);
      dialled.set(authority, channel);
      return channel;
    },
    followRoster: true,
    ownCredentials: false,
    healthCheck: true,
    ...options,
    clock: { now: () => now, sleep: () => Promise.resolve() },
  });
}

const names = (made: EndpointPool): string[] => made.channels().map(({ authority }) => authority);
const see = (made: EndpointPool, revision: number, urls: string[], clusterId = "c"): void =>
  made.see({ clusterId, revision: BigInt(revision), members: urls.map((url) => ({ adminUrls: [url] })) });
const dial = (authority: string): UnaryChannel => {
  const channel = dialled.get(authority);
  if (channel === undefined) throw new Error(`${authority} was not dialled`);
  return channel;
};

beforeEach(() => {
  now = 0;
  dialled = new Map();
});

describe("the roster's endpoints", () => {
  test("follow the newest roster; the configured ones stay, first and once", () => {
    const made = pool(["a:1", "b:1"]);
    see(made, 5, ["http://b:1", "http://c:1", "http://d:1"]);
    expect(names(made)).toEqual(["a:1", "b:1", "c:1", "d:1"]);
    see(made, 6, ["http://d:1", "http://e:1"]);
    expect(names(made)).toEqual(["a:1", "b:1", "d:1", "e:1"]);
    expect([dial("c:1").closed, dial("d:1").closed, dial("a:1").closed]).toEqual([true, false, false]);
    expect(dialled.size).toBe(5);
  });

  test.each<[string, number, string]>([
    ["an older one", 4, "c"],
    ["the same one", 5, "c"],
    ["one of another cluster", 9, "c2"],
    ["what is none", 0, "c"],
  ])("%s changes nothing", (_what, revision, clusterId) => {
    const made = pool(["a:1"]);
    see(made, 5, ["http://b:1"]);
    see(made, revision, ["http://x:1"], clusterId);
    expect(names(made)).toEqual(["a:1", "b:1"]);
  });

  test("an address that can't be used is left out, and there is a bound", () => {
    const made = pool(["a:1"]);
    see(made, 5, ["ftp://x:1", "", ...Array.from({ length: 100 }, (_, i) => `http://m${i}:1`)]);
    expect(made.channels()).toHaveLength(65);
  });

  test("can be switched off", () => {
    const made = pool(["a:1"], { followRoster: false });
    see(made, 5, ["http://b:1"]);
    expect(names(made)).toEqual(["a:1"]);
  });

  test("don't lead from TLS to plain text, unless the credentials are the client's own", () => {
    const made = pool(["https://a:1"]);
    see(made, 5, ["http://b:1", "https://c:1"]);
    expect(names(made)).toEqual(["https://a:1", "https://c:1"]);
    const own = pool(["https://a:1"], { ownCredentials: true });
    see(own, 5, ["http://a:1", "http://b:1"]);
    expect(names(own)).toEqual(["https://a:1", "b:1"]);
  });

  test("a dropped one closes when its last attempt has ended, and takes no other", async () => {
    const made = pool(["a:1"]);
    see(made, 5, ["http://b:1"]);
    const dropped = made.channels()[1] as Channel;
    dial("b:1").held = true;
    const running = dropped.unary(getMembers, { consistency: 0 }, ATTEMPT);
    see(made, 6, []);
    expect(dial("b:1").closed).toBe(false);
    dial("b:1").release?.();
    await running;
    expect(dial("b:1").closed).toBe(true);
    const refused = dropped.unary(getMembers, { consistency: 0 }, ATTEMPT);
    await expect(refused).rejects.toMatchObject({ code: status.UNAVAILABLE, sent: false });
    expect(await dropped.ready?.(ATTEMPT)).toBeInstanceOf(MusterError);
  });
});

describe("health", () => {
  async function used(options: PoolOptions = {}, hints = ["a:1", "b:1"]): Promise<Channel> {
    const made = pool(hints, options);
    now += 1000;
    const channel = made.channels()[0] as Channel;
    await channel.unary(getMembers, { consistency: 0 }, ATTEMPT);
    return channel;
  }

  test("is watched on an endpoint that answered, with one stream", async () => {
    const channel = await used();
    await channel.unary(getMembers, { consistency: 0 }, ATTEMPT);
    const { streams } = dial("a:1");
    expect(streams.map(({ path }) => path)).toEqual(["/grpc.health.v1.Health/Watch"]);
    expect(channel.serving).toBe(true);
    streams[0]?.push({ status: Serving.NOT_SERVING });
    await until(() => channel.serving === false);
    streams[0]?.push({ status: Serving.SERVING });
    await until(() => channel.serving === true);
  });

  test("is not known after a lost stream, and watched again with a later use", async () => {
    const channel = await used();
    dial("a:1").last.push({ status: Serving.NOT_SERVING });
    await until(() => channel.serving === false);
    dial("a:1").last.lose();
    await until(() => channel.serving === true);
    await channel.unary(getMembers, { consistency: 0 }, ATTEMPT);
    expect(dial("a:1").streams).toHaveLength(1);
    now += 5000;
    await channel.unary(getMembers, { consistency: 0 }, ATTEMPT);
    expect(dial("a:1").streams).toHaveLength(2);
  });

  test("is not asked again where there is no such service", async () => {
    const channel = await used();
    dial("a:1").last.fail(new MusterError({ code: status.UNIMPLEMENTED, message: "" }));
    await until(() => dial("a:1").last.closed);
    now += 1e6;
    await new Promise((resolve) => setImmediate(resolve));
    await channel.unary(getMembers, { consistency: 0 }, ATTEMPT);
    expect(dial("a:1").streams).toHaveLength(1);
  });

  test.each<[string, PoolOptions, string[]]>([
    ["when it is switched off", { healthCheck: false }, ["a:1", "b:1"]],
    ["when there is no choice", {}, ["a:1"]],
  ])("is not watched %s", async (_when, options, hints) => {
    await used(options, hints);
    expect(dial("a:1").streams).toEqual([]);
  });

  test("is not watched by a client that has just begun, and ends with close()", async () => {
    const made = pool(["a:1", "b:1"]);
    const channel = made.channels()[0] as Channel;
    await channel.unary(getMembers, { consistency: 0 }, ATTEMPT);
    expect(dial("a:1").streams).toEqual([]);
    now = 1000;
    await channel.unary(getMembers, { consistency: 0 }, ATTEMPT);
    channel.close();
    await until(() => dial("a:1").last.closed);
  });
});

describe("rounds", () => {
  const [a, b, c] = ["a", "b", "c"].map((name) => new StreamChannel(name)) as [
    StreamChannel,
    StreamChannel,
    StreamChannel,
  ];
  beforeEach(() => {
    for (const channel of [a, b, c]) channel.serving = true;
  });

  test("begin where the call began, and an endpoint that does not serve comes last", () => {
    const rounds = new Rounds(() => [a, b, c], b);
    expect(rounds.candidates()).toEqual([b, c, a]);
    b.serving = false;
    expect(rounds.candidates()).toEqual([c, a]);
    rounds.tried(c);
    rounds.tried(a);
    expect(rounds.candidates()).toEqual([b]);
    expect([rounds.attempt, rounds.endpoints, rounds.made]).toEqual([2, 3, 2]);
    rounds.tried(b);
    expect(rounds.attempt).toBe(3);
    b.serving = true;
    expect(rounds.candidates()).toEqual([b, c, a]);
  });

  test("when none serves, all are asked", () => {
    for (const channel of [a, b, c]) channel.serving = false;
    expect(new Rounds(() => [a, b, c], undefined).candidates()).toEqual([a, b, c]);
  });

  test("take up endpoints that came, with the pauses of as many rounds", () => {
    let channels = [a];
    const rounds = new Rounds(() => channels, a);
    rounds.candidates();
    rounds.tried(a);
    channels = [a, b, c];
    expect(rounds.candidates()).toEqual([a, b, c]);
    expect([rounds.attempt, rounds.endpoints]).toEqual([3, 3]);
    rounds.restartAfter(a);
    expect(rounds.candidates()).toEqual([b, c, a]);
    expect(rounds.attempt).toBe(0);
  });
});

/**
 * Asks many members side by side what each one knows: its own view of the cluster, a linearizable one, and its health.
 * For the commands that must work when the cluster does not.
 */
import { Consistency, MusterClient, MusterError, parseEndpoint } from "../client";
import type { Clock, GetClusterResponse } from "../client";

/** What one address answered. */
export interface Answer {
  /** host:port, as it was asked. */
  readonly address: string;
  /** The member's own view, without a quorum; null: no answer. */
  readonly own: GetClusterResponse | null;
  /** The leader's view, confirmed by a quorum, by way of this member; null: not confirmed. */
  readonly confirmed: GetClusterResponse | null;
  /** Whether the member's health service says SERVING; null: it said nothing. */
  readonly serving: boolean | null;
  /** Why there is no own view; empty when there is one. */
  readonly problem: string;
  /** Why there is no confirmed view; empty when there is one, or when it was not asked for. */
  readonly unconfirmed: string;
}

/** The calls to one address. Each is one that a MusterClient makes. */
interface AddressClient {
  getCluster(
    input: { readonly consistency: Consistency },
    options: { readonly timeoutMs: number },
  ): Promise<GetClusterResponse>;
  checkHealth(options: { readonly timeoutMs: number }): Promise<boolean>;
  close(): void;
}

interface SurveyOptions {
  readonly endpoints: readonly string[];
  /** Milliseconds left for the whole command. */
  readonly remainingMs: () => number;
  /** False: only each member's own view. @default true */
  readonly confirm?: boolean;
  /** @default the machine's clock */
  readonly clock?: Clock | undefined;
  /** @default a MusterClient of this address alone */
  readonly connect?: (address: string) => AddressClient;
}

/** The least time that a call gets, in milliseconds: less would fail on a cluster that is well. */
const CALL_MS_MIN = 50;

/** Asks every endpoint, then the admin URLs of every roster that came. Rejects never; what failed is in the answers. */
export async function survey(options: SurveyOptions): Promise<Answer[]> {
  const { endpoints, remainingMs, confirm = true, clock } = options;
  const connect =
    options.connect ??
    ((address: string) =>
      new MusterClient({ endpoints: [address], waitForConnection: false, followRoster: false, clock }));
  const share = (part: number): { timeoutMs: number } => ({
    timeoutMs: Math.max(CALL_MS_MIN, remainingMs() * part),
  });
  const asked = new Map<string, { readonly client: AddressClient; answer: Answer }>();
  const askAll = async (addresses: readonly string[], limit: { timeoutMs: number }): Promise<void> => {
    const fresh = new Map<string, string>();
    for (const address of addresses) {
      const { authority } = parseEndpoint(address);
      if (!asked.has(authority)) fresh.set(authority, address);
    }
    await Promise.all(
      [...fresh].map(async ([authority, address]) => {
        const client = connect(address);
        asked.set(authority, { client, answer: await ownView(client, authority, limit) });
      }),
    );
  };
  try {
    await askAll(endpoints, share(0.35));
    await askAll(rosterAddresses([...asked.values()].map(({ answer }) => answer)), share(0.4));
    if (confirm) {
      const limit = share(0.9);
      await Promise.all(
        [...asked.values()].map(async (entry) => {
          if (entry.answer.own !== null)
            entry.answer = { ...entry.answer, ...(await confirmedView(entry.client, limit)) };
        }),
      );
    }
    return [...asked.values()].map(({ answer }) => answer);
  } finally {
    for (const { client } of asked.values()) client.close();
  }
}

/** The admin URLs of all rosters. Text that is no address is left out: it came from a peer. */
function rosterAddresses(answers: readonly Answer[]): string[] {
  const urls = answers.flatMap(({ own }) =>
    (own?.members ?? []).flatMap(({ member }) => member?.adminUrls ?? []),
  );
  return [...new Set(urls)].filter((url) => {
    try {
      parseEndpoint(url);
      return true;
    } catch {
      return false;
    }
  });
}

async function ownView(
  client: AddressClient,
  address: string,
  limit: { timeoutMs: number },
): Promise<Answer> {
  const nothing = { address, own: null, confirmed: null, serving: null, problem: "", unconfirmed: "" };
  try {
    return { ...nothing, own: await client.getCluster({ consistency: Consistency.SERIALIZABLE }, limit) };
  } catch (error) {
    return { ...nothing, problem: textOf(error) };
  }
}

async function confirmedView(
  client: AddressClient,
  limit: { timeoutMs: number },
): Promise<Pick<Answer, "confirmed" | "serving" | "unconfirmed">> {
  const [confirmed, serving] = await Promise.allSettled([
    client.getCluster({ consistency: Consistency.LINEARIZABLE }, limit),
    client.checkHealth(limit),
  ]);
  return {
    confirmed: confirmed.status === "fulfilled" ? confirmed.value : null,
    unconfirmed: confirmed.status === "fulfilled" ? "" : textOf(confirmed.reason),
    serving: serving.status === "fulfilled" ? serving.value : null,
  };
}

function textOf(error: unknown): string {
  if (error instanceof MusterError) return `${error.label}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

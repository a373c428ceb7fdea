/**
 * `muster cluster --watch`: the cluster as it is now, until Ctrl-C. On a terminal the table of `muster cluster`, redrawn in
 * place; elsewhere one line whenever something is another than before.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { GetClusterResponse } from "../generated/muster/v1/membership_service";
import type { Io } from "./io";
import { readWithFallback } from "./options";
import type { CommandContext } from "./options";
import { clusterText, jsonLine, nameOf, printable, replacements, stateOf } from "./output";
import { changedSettings } from "./setting_list";
import { followed, untilStopped } from "./watch";

/** The state of members has no events, so it is read again this often, in milliseconds. */
const READ_EVERY_MS = 1000;
/** How long one reading may take, in milliseconds. */
const READ_MS_MAX = 5000;

/** To the first line; to the end of a line; to the end of the screen. ECMA-48: CUP, EL, ED. */
const [HOME, CLEAR_LINE, CLEAR_REST] = ["\u001b[H", "\u001b[K", "\u001b[J"];

export function watchCluster(context: CommandContext, serializable: boolean): Promise<void> {
  return untilStopped(context.io, async (signal) => {
    const view = new View(context);
    const news = new News(context, signal);
    while (!signal.aborted) {
      view.show(await reading(context, serializable));
      await news.wait();
    }
    view.end();
  });
}

/** The cluster, or why there is no answer, and a note on how far the answer can be trusted. */
interface Reading {
  readonly answer: GetClusterResponse | null;
  readonly note: string;
}

async function reading({ client, io }: CommandContext, serializable: boolean): Promise<Reading> {
  let note = "";
  const noting: Io = { ...io, stderr: { write: (text) => (note += text) } };
  try {
    const { answer } = await readWithFallback(
      { io: noting, remainingMs: () => READ_MS_MAX },
      serializable,
      (consistency, options) => client.getCluster({ consistency }, options),
    );
    return { answer, note };
  } catch (error) {
    return {
      answer: null,
      note: `muster: ${printable(error instanceof Error ? error.message : "no answer")}\n`,
    };
  }
}

/** Waits until there may be something new: a change, another leader, or some time. */
class News {
  private wake: () => void = () => undefined;

  constructor(
    private readonly context: CommandContext,
    private readonly signal: AbortSignal,
  ) {
    void this.follow();
  }

  private async follow(): Promise<void> {
    const { io, endpoints } = this.context;
    // What is lost here is seen at the next reading.
    const quiet: Io = { ...io, stderr: { write: () => undefined } };
    while (!this.signal.aborted) {
      try {
        for await (const _ of followed(quiet, endpoints, { withLeader: true }, this.signal)) this.wake();
      } catch {
        await sleep(READ_EVERY_MS, undefined, { signal: this.signal }).catch(() => undefined);
      }
    }
  }

  async wait(): Promise<void> {
    const news = new AbortController();
    this.wake = () => {
      news.abort();
    };
    const signal = AbortSignal.any([news.signal, this.signal]);
    await sleep(READ_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

class View {
  private last = "";

  constructor(private readonly context: CommandContext) {}

  show({ answer, note }: Reading): void {
    const { io, output } = this.context;
    if (output === "json") this.write(answer === null ? "" : jsonLine(GetClusterResponse, answer), note);
    else if (io.stdout.isTerminal === true)
      this.redraw(`${answer === null ? "" : clusterText(answer)}\n${note}`);
    else this.write(answer === null ? "" : `${lineOf(answer)}\n`, note);
  }

  /** Leaves the cursor below the table. */
  end(): void {
    if (this.context.io.stdout.isTerminal === true && this.context.output !== "json")
      this.context.io.stdout.write("\n");
  }

  private write(text: string, note: string): void {
    if (`${text}${note}` === this.last) return;
    this.last = `${text}${note}`;
    this.context.io.stdout.write(text);
    this.context.io.stderr.write(note);
  }

  /** Each line is cleared after it is written and the screen is never empty, so that nothing flickers. */
  private redraw(text: string): void {
    const hint = "Ctrl-C ends this";
    const lines = `${text}${hint}`.split("\n").map((line) => `${line}${CLEAR_LINE}`);
    this.context.io.stdout.write(`${HOME}${lines.join("\n")}${CLEAR_REST}`);
  }
}

/** The cluster in one line, without what changes all the time. */
function lineOf(cluster: GetClusterResponse): string {
  const { header, members, failuresTolerated, failuresToleratedKnown, settings } = cluster;
  const known = members.flatMap(({ member }) => (member === undefined ? [] : [member]));
  const leaderId = header?.leaderId ?? "";
  const leader = leaderId === "" ? "no leader" : `leader ${nameOf(known, leaderId)}`;
  const spare = failuresToleratedKnown ? `, ${String(failuresTolerated)} more may fail` : "";
  const states = members.map((status) => `${printable(status.member?.name ?? "")} ${stateOf(status)}`);
  const changed = changedSettings(settings);
  const others = [...replacements(known), ...(changed === "" ? [] : [`settings ${changed}`])];
  const text = [`${leader}${spare}`, states.join(", "), ...others].join("; ");
  return `revision ${String(header?.revision ?? 0n)}: ${text}`;
}
